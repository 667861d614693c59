//! A chat as fast as the server goes: deliveries per second with a fixed number of messages on their way.

use super::{Usage, WARM_UP, Window, capacity};
use crate::{
    Target,
    fleet::Fleet,
    tally::{Delays, Deliveries, Phase, Tally},
};
use anyhow::Result;
use serde::Serialize;
use std::time::Duration;

#[derive(Serialize)]
pub struct Report {
    connected: usize,
    closed: u64,
    #[serde(flatten)]
    deliveries: Deliveries,
    /// Deliveries that arrived within the measured time.
    arrived: u64,
    deliveries_per_s: f64,
    delay_ms: Delays,
    /// What the generator takes from the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity_per_s: Option<f64>,
    #[serde(flatten)]
    usage: Usage,
}

pub async fn run(target: &Target, in_flight: u32, duration: Duration, capacity_batch: Option<u32>) -> Result<Report> {
    let fleet = Fleet::open(target, Tally::new(None)?).await?;
    fleet.fill(Phase::Margin, in_flight, WARM_UP).await?;
    let window = Window::open(target.pid)?;
    let before = fleet.tally(Tally::arrived);
    fleet.fill(Phase::Normal, in_flight, duration).await?;
    let arrived = fleet.tally(Tally::arrived) - before;
    let usage = window.close()?;
    fleet.drain().await;
    let capacity_per_s = match capacity_batch {
        Some(batch) => Some(capacity::measure(&fleet, target.rooms.len(), batch).await?),
        None => None,
    };
    Ok(Report {
        connected: fleet.len(),
        closed: fleet.tally(Tally::closed),
        deliveries: fleet.tally(Tally::deliveries),
        arrived,
        deliveries_per_s: arrived as f64 / usage.elapsed_s,
        delay_ms: fleet.tally(Tally::normal_delays),
        capacity_per_s,
        usage,
    })
}

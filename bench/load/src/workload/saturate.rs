//! A chat as fast as the server goes: deliveries per second with a fixed number of messages on their way.

use super::{Usage, WARM_UP, Window};
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
    #[serde(flatten)]
    usage: Usage,
}

pub async fn run(target: &Target, in_flight: u32, duration: Duration) -> Result<Report> {
    let fleet = Fleet::open(target, Tally::new(None)?).await?;
    fleet.fill(Phase::Margin, in_flight, WARM_UP).await?;
    let window = Window::open(target.pid)?;
    let before = fleet.tally(Tally::arrived);
    fleet.fill(Phase::Normal, in_flight, duration).await?;
    let arrived = fleet.tally(Tally::arrived) - before;
    let usage = window.close()?;
    fleet.drain().await;
    Ok(Report {
        connected: fleet.len(),
        closed: fleet.tally(Tally::closed),
        deliveries: fleet.tally(Tally::deliveries),
        arrived,
        deliveries_per_s: arrived as f64 / usage.elapsed_s,
        delay_ms: fleet.tally(Tally::normal_delays),
        usage,
    })
}

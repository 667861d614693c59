//! A chat while a listener in the server's JavaScript hears every message: first as fast as the server goes, then at a
//! fixed rate, the delay of the server's event loop measured in both, and at the end whether the listener heard it all.

use super::{Usage, WARM_UP, Window, ask, capacity};
use crate::{
    Target,
    fleet::Fleet,
    tally::{Delays, Deliveries, Phase, Tally},
};
use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;

#[derive(Serialize)]
pub struct Report {
    connected: usize,
    closed: u64,
    #[serde(flatten)]
    deliveries: Deliveries,
    /// Messages of the whole run: what the listener must have heard.
    sent: usize,
    /// Deliveries that arrived within the saturated part.
    arrived: u64,
    deliveries_per_s: f64,
    /// Delays of both parts.
    delay_ms: Delays,
    /// What the generator takes from the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity_per_s: Option<f64>,
    /// Of the saturated part.
    #[serde(flatten)]
    usage: Usage,
}

pub async fn run(
    target: &Target,
    in_flight: u32,
    rate: u32,
    duration: Duration,
    capacity_batch: Option<u32>,
) -> Result<Report> {
    ask(&json!({ "listen": null }));
    let fleet = Fleet::open(target, Tally::new(None)?).await?;
    fleet.fill(Phase::Margin, in_flight, WARM_UP).await?;
    ask(&json!({ "loopDelay": "saturated" }));
    let window = Window::open(target.pid)?;
    let before = fleet.tally(Tally::arrived);
    fleet.fill(Phase::Normal, in_flight, duration).await?;
    let arrived = fleet.tally(Tally::arrived) - before;
    let usage = window.close()?;
    ask(&json!({ "loopDelay": null }));
    fleet.drain().await;
    fleet.pace(Phase::Margin, rate, WARM_UP).await?;
    ask(&json!({ "loopDelay": "steady" }));
    fleet.pace(Phase::Normal, rate, duration).await?;
    ask(&json!({ "loopDelay": null }));
    fleet.drain().await;
    let sent = fleet.tally(Tally::sent);
    ask(&json!({ "heard": sent }));
    let capacity_per_s = match capacity_batch {
        Some(batch) => Some(capacity::measure(&fleet, target.rooms.len(), batch).await?),
        None => None,
    };
    Ok(Report {
        connected: fleet.len(),
        closed: fleet.tally(Tally::closed),
        deliveries: fleet.tally(Tally::deliveries),
        sent,
        arrived,
        deliveries_per_s: arrived as f64 / usage.elapsed_s,
        delay_ms: fleet.tally(Tally::normal_delays),
        capacity_per_s,
        usage,
    })
}

//! Clients that only listen while a script in the server broadcasts: events counted by name.

use super::{Usage, WARM_UP, Window, ask};
use crate::{
    Target,
    fleet::Fleet,
    tally::{Deliveries, Tally},
};
use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

#[derive(Serialize)]
pub struct Report {
    connected: usize,
    closed: u64,
    #[serde(flatten)]
    deliveries: Deliveries,
    /// Events that arrived within the measured time.
    arrived: u64,
    deliveries_per_s: f64,
    #[serde(flatten)]
    usage: Usage,
}

pub async fn run(target: &Target, event: &str, start: &Value, duration: Duration) -> Result<Report> {
    let fleet = Fleet::open(target, Tally::new(Some(event))?).await?;
    ask(start);
    tokio::time::sleep(WARM_UP).await;
    let window = Window::open(target.pid)?;
    let before = fleet.tally(Tally::counted_events).deliveries;
    tokio::time::sleep(duration).await;
    let arrived = fleet.tally(Tally::counted_events).deliveries - before;
    let usage = window.close()?;
    Ok(Report {
        connected: fleet.len(),
        closed: fleet.tally(Tally::closed),
        deliveries: fleet.tally(Tally::counted_events),
        arrived,
        deliveries_per_s: arrived as f64 / usage.elapsed_s,
        usage,
    })
}

//! Clients that only listen while a script in the server broadcasts: events counted by name.

use super::{Usage, WARM_UP, Window, ask};
use crate::{Target, fleet::Fleet, tally::Tally};
use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

#[derive(Serialize)]
pub struct Report {
    connected: usize,
    closed: u64,
    deliveries: u64,
    deliveries_per_s: f64,
    #[serde(flatten)]
    usage: Usage,
}

pub async fn run(target: &Target, event: &str, start: &Value, duration: Duration) -> Result<Report> {
    let fleet = Fleet::open(target, Tally::new(Some(event))?).await?;
    ask(start);
    tokio::time::sleep(WARM_UP).await;
    let window = Window::open(target.pid)?;
    let before = fleet.tally(Tally::counted_events);
    tokio::time::sleep(duration).await;
    let deliveries = fleet.tally(Tally::counted_events) - before;
    let usage = window.close()?;
    Ok(Report {
        connected: fleet.len(),
        closed: fleet.tally(Tally::closed),
        deliveries,
        deliveries_per_s: deliveries as f64 / usage.elapsed_s,
        usage,
    })
}

//! A chat at a fixed rate while the server's JavaScript is blocked once: delays before and during the block.

use super::{Usage, WARM_UP, Window, ask};
use crate::{
    Target,
    fleet::Fleet,
    tally::{Delays, Deliveries, Phase, Tally},
};
use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;

/// Load after the block.
const AFTER: Duration = Duration::from_secs(1);

#[derive(Serialize)]
pub struct Report {
    connected: usize,
    closed: u64,
    #[serde(flatten)]
    deliveries: Deliveries,
    /// Messages sent before the block.
    before_ms: Delays,
    /// Messages sent while the block lasted.
    during_ms: Delays,
    #[serde(flatten)]
    usage: Usage,
}

pub async fn run(target: &Target, rate: u32, before: Duration, block: Duration) -> Result<Report> {
    let fleet = Fleet::open(target, Tally::new(None)?).await?;
    fleet.pace(Phase::Margin, rate, WARM_UP).await?;
    let window = Window::open(target.pid)?;
    fleet.pace(Phase::Normal, rate, before).await?;
    // A message on its way when the block begins belongs to neither side.
    fleet.drain().await;
    ask(&json!({ "block": u64::try_from(block.as_millis())? }));
    fleet.pace(Phase::Blocked, rate, block).await?;
    fleet.pace(Phase::Margin, rate, AFTER).await?;
    fleet.drain().await;
    let usage = window.close()?;
    Ok(Report {
        connected: fleet.len(),
        closed: fleet.tally(Tally::closed),
        deliveries: fleet.tally(Tally::deliveries),
        before_ms: fleet.tally(Tally::normal_delays),
        during_ms: fleet.tally(Tally::blocked_delays),
        usage,
    })
}

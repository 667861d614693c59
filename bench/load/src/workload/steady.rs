//! A chat at a fixed rate: what one delivery costs the server.

use super::{Usage, WARM_UP, Window, seconds_of};
use crate::{
    Target,
    fleet::Fleet,
    process::resident_bytes,
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
    delay_ms: Delays,
    /// Growth from before the first connection to the end.
    rss_bytes_per_connection: f64,
    /// CPU time of the further processes in the measured time, in their order.
    more_cpu_s: Vec<f64>,
    #[serde(flatten)]
    usage: Usage,
}

pub async fn run(target: &Target, rate: u32, duration: Duration) -> Result<Report> {
    let rss_before_bytes = resident_bytes(target.pid)?;
    let fleet = Fleet::open(target, Tally::new(None)?).await?;
    fleet.pace(Phase::Margin, rate, WARM_UP).await?;
    fleet.drain().await;
    let window = Window::open(target.pid)?;
    let more_before = seconds_of(&target.more_pids)?;
    fleet.pace(Phase::Normal, rate, duration).await?;
    fleet.drain().await;
    let more_after = seconds_of(&target.more_pids)?;
    let usage = window.close()?;
    let grown = usage.server_rss_bytes.saturating_sub(rss_before_bytes);
    Ok(Report {
        connected: fleet.len(),
        closed: fleet.tally(Tally::closed),
        deliveries: fleet.tally(Tally::deliveries),
        delay_ms: fleet.tally(Tally::normal_delays),
        rss_bytes_per_connection: grown as f64 / target.clients as f64,
        more_cpu_s: more_after
            .iter()
            .zip(more_before)
            .map(|(after, before)| after - before)
            .collect(),
        usage,
    })
}

//! Connections that sit in rooms and do nothing: what one of them costs in memory.

use super::{Usage, Window};
use crate::{Target, fleet::Fleet, process::resident_bytes, tally::Tally};
use anyhow::Result;
use serde::Serialize;
use std::time::Duration;

#[derive(Serialize)]
pub struct Report {
    connected: usize,
    closed: u64,
    rss_before_bytes: u64,
    rss_bytes_per_connection: f64,
    #[serde(flatten)]
    usage: Usage,
}

pub async fn run(target: &Target, settle: Duration) -> Result<Report> {
    let rss_before_bytes = resident_bytes(target.pid)?;
    let window = Window::open(target.pid)?;
    let fleet = Fleet::open(target, Tally::new(None)?).await?;
    tokio::time::sleep(settle).await;
    let usage = window.close()?;
    let grown = usage.server_rss_bytes.saturating_sub(rss_before_bytes);
    Ok(Report {
        connected: fleet.len(),
        closed: fleet.tally(Tally::closed),
        rss_before_bytes,
        rss_bytes_per_connection: grown as f64 / target.clients as f64,
        usage,
    })
}

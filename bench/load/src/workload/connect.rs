//! Connections as fast as the server takes them, each up to the answer to CONNECT.

use super::{Usage, Window};
use crate::{Target, fleet::Fleet, tally::Tally};
use anyhow::Result;
use serde::Serialize;

#[derive(Serialize)]
pub struct Report {
    connected: usize,
    closed: u64,
    connections_per_s: f64,
    server_cpu_us_per_connection: f64,
    #[serde(flatten)]
    usage: Usage,
}

pub async fn run(target: &Target) -> Result<Report> {
    let window = Window::open(target.pid)?;
    let fleet = Fleet::open(target, Tally::new(None)?).await?;
    let usage = window.close()?;
    let connected = fleet.len() as f64;
    Ok(Report {
        connected: fleet.len(),
        closed: fleet.tally(Tally::closed),
        connections_per_s: connected / usage.elapsed_s,
        server_cpu_us_per_connection: usage.server_cpu_s * 1e6 / connected,
        usage,
    })
}

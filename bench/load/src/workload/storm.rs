//! All connections come and go, again and again: what memory the server keeps after each round.

use super::{Usage, Window};
use crate::{
    Target,
    fleet::Fleet,
    process::{open_files, resident_bytes},
    tally::Tally,
};
use anyhow::{Result, ensure};
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long the server may take to notice that all connections are gone.
const END_LIMIT: Duration = Duration::from_secs(30);

pub(super) const LOOK_PERIOD: Duration = Duration::from_millis(100);

#[derive(Serialize)]
pub struct Report {
    connected: usize,
    closed: u64,
    rss_before_bytes: u64,
    /// After each round.
    rss_bytes: Vec<u64>,
    #[serde(flatten)]
    usage: Usage,
}

pub async fn run(target: &Target, rounds: usize, settle: Duration) -> Result<Report> {
    let rss_before_bytes = resident_bytes(target.pid)?;
    let files = open_files(target.pid)?;
    let window = Window::open(target.pid)?;
    let (mut connected, mut closed) = (0, 0);
    let mut rss_bytes = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let fleet = Fleet::open(target, Tally::new(None)?).await?;
        connected += fleet.len();
        closed += fleet.tally(Tally::closed);
        fleet.close().await;
        wait_for_end(target, files).await?;
        sleep(settle).await;
        rss_bytes.push(resident_bytes(target.pid)?);
    }
    Ok(Report {
        connected,
        closed,
        rss_before_bytes,
        rss_bytes,
        usage: window.close()?,
    })
}

/// Waits until the server has closed the files of all connections, give or take its own.
pub(super) async fn wait_for_end(target: &Target, files: usize) -> Result<()> {
    let begun = Instant::now();
    while open_files(target.pid)? > files + target.clients / 100 {
        ensure!(
            begun.elapsed() < END_LIMIT,
            "the server keeps connections that have ended"
        );
        sleep(LOOK_PERIOD).await;
    }
    Ok(())
}

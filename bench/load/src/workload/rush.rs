//! Many clients that come at once, as after a restart, while a few others chat: how long until all are in their rooms, what
//! that costs, how the chat fares, and what memory is left when they have gone again.

use super::{
    Usage, WARM_UP, Window,
    storm::{LOOK_PERIOD, wait_for_end},
};
use crate::{
    Target,
    fleet::Fleet,
    process::{open_files, resident_bytes},
    tally::{Delays, Deliveries, Phase, Tally},
};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    cell::Cell,
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Clients that chat, in the first room.
const CHATTERS: usize = 20;

#[derive(Serialize)]
pub struct Report {
    connected: usize,
    closed: u64,
    #[serde(flatten)]
    deliveries: Deliveries,
    /// Until every client was in its room.
    all_in_s: f64,
    /// Of the chat meanwhile.
    delay_ms: Delays,
    rss_before_bytes: u64,
    rss_peak_bytes: u64,
    rss_after_bytes: u64,
    #[serde(flatten)]
    usage: Usage,
}

pub async fn run(target: &Target, rate: u32, settle: Duration) -> Result<Report> {
    let (first, others) = target.rooms.split_first().context("at least two rooms are needed")?;
    let chatters = Target {
        clients: CHATTERS,
        rooms: vec![first.clone()],
        ..target.clone()
    };
    let crowd = Target {
        rooms: others.to_vec(),
        ..target.clone()
    };
    let chat = Fleet::open(&chatters, Tally::new(None)?).await?;
    chat.pace(Phase::Margin, rate, WARM_UP).await?;
    let rss_before_bytes = resident_bytes(target.pid)?;
    let files = open_files(target.pid)?;
    let peak = Cell::new(rss_before_bytes);

    let window = Window::open(target.pid)?;
    let begun = Instant::now();
    let crowd_fleet = tokio::select! {
        fleet = Fleet::open(&crowd, Tally::new(None)?) => fleet?,
        failed = go_on(&chat, rate) => return Err(failed),
        failed = watch(target.pid, &peak) => return Err(failed),
    };
    let all_in_s = begun.elapsed().as_secs_f64();
    let usage = window.close()?;
    chat.drain().await;
    let (connected, closed) = (crowd_fleet.len(), crowd_fleet.tally(Tally::closed));
    crowd_fleet.close().await;
    wait_for_end(target, files).await?;
    sleep(settle).await;
    Ok(Report {
        connected: connected + chat.len(),
        closed: closed + chat.tally(Tally::closed),
        deliveries: chat.tally(Tally::deliveries),
        all_in_s,
        delay_ms: chat.tally(Tally::normal_delays),
        rss_before_bytes,
        rss_peak_bytes: peak.get(),
        rss_after_bytes: resident_bytes(target.pid)?,
        usage,
    })
}

/// Sends messages until it is dropped, or one cannot be sent.
async fn go_on(chat: &Fleet, rate: u32) -> anyhow::Error {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = chat.send(Phase::Normal) {
            return error;
        }
    }
}

/// Notes the most memory until it is dropped.
async fn watch(pid: u32, peak: &Cell<u64>) -> anyhow::Error {
    loop {
        match resident_bytes(pid) {
            Ok(bytes) => peak.set(peak.get().max(bytes)),
            Err(error) => return error,
        }
        sleep(LOOK_PERIOD).await;
    }
}

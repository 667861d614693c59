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
use tokio::{
    sync::oneshot,
    time::{MissedTickBehavior, interval, sleep},
};

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
    let crowd = Target {
        rooms: others.to_vec(),
        ..target.clone()
    };
    let chat = Chat::begin(target, first, rate).await?;
    let rss_before_bytes = resident_bytes(target.pid)?;
    let files = open_files(target.pid)?;
    let peak = Cell::new(rss_before_bytes);

    let window = Window::open(target.pid)?;
    let begun = Instant::now();
    let crowd_fleet = tokio::select! {
        fleet = Fleet::open(&crowd, Tally::new(None)?) => fleet?,
        failed = watch(target.pid, &peak) => return Err(failed),
    };
    let all_in_s = begun.elapsed().as_secs_f64();
    let usage = window.close()?;
    let (said, leave) = chat.end().await?;
    let (connected, closed) = (crowd_fleet.len(), crowd_fleet.tally(Tally::closed));
    crowd_fleet.close().await;
    wait_for_end(target, files).await?;
    sleep(settle).await;
    let rss_after_bytes = resident_bytes(target.pid)?;
    drop(leave);
    Ok(Report {
        connected: connected + CHATTERS,
        closed: closed + said.closed,
        deliveries: said.deliveries,
        all_in_s,
        delay_ms: said.delays,
        rss_before_bytes,
        rss_peak_bytes: peak.get(),
        rss_after_bytes,
        usage,
    })
}

/// What became of the chat.
struct Said {
    closed: u64,
    deliveries: Deliveries,
    delays: Delays,
}

/// The chat, on a thread of its own: on that of the crowd, its clients would wait for thousands of others to be served.
struct Chat {
    end: oneshot::Sender<()>,
    said: oneshot::Receiver<Result<Said>>,
    /// The clients stay until this is dropped.
    leave: oneshot::Sender<()>,
}

impl Chat {
    /// Resolves when it goes on in this room.
    async fn begin(target: &Target, room: &str, rate: u32) -> Result<Self> {
        let target = Target {
            clients: CHATTERS,
            rooms: vec![room.to_owned()],
            ..target.clone()
        };
        let ((end, ended), (leave, left)) = (oneshot::channel(), oneshot::channel());
        let ((goes_on, begun), (tell, said)) = (oneshot::channel(), oneshot::channel());
        std::thread::spawn(move || {
            let chatting = async {
                let fleet = Fleet::open(&target, Tally::new(None)?).await?;
                fleet.pace(Phase::Margin, rate, WARM_UP).await?;
                let _ = goes_on.send(());
                tokio::select! {
                    _ = ended => {}
                    failed = go_on(&fleet, rate) => return Err(failed),
                }
                fleet.drain().await;
                let said = Said {
                    closed: fleet.tally(Tally::closed),
                    deliveries: fleet.tally(Tally::deliveries),
                    delays: fleet.tally(Tally::normal_delays),
                };
                Ok((fleet, said))
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let (fleet, said) = match chatting.await {
                    Ok((fleet, said)) => (Some(fleet), Ok(said)),
                    Err(error) => (None, Err(error)),
                };
                let _ = tell.send(said);
                let _ = left.await;
                drop(fleet);
            });
        });
        match begun.await {
            Ok(()) => Ok(Self { end, said, leave }),
            Err(_) => Err(said
                .await
                .context("the chat")?
                .err()
                .context("the chat has not begun")?),
        }
    }

    /// Ends it; its clients stay until what is returned is dropped.
    async fn end(self) -> Result<(Said, oneshot::Sender<()>)> {
        let _ = self.end.send(());
        Ok((self.said.await.context("the chat")??, self.leave))
    }
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

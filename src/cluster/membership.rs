//! Being one of the instances: joining, the signs of life, and what is read anew when something was missed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    backlog::Backlog,
    bus::{Bus, BusError},
    channels::Channels,
    log::{Body, Log},
    message::{Beat, Message, RoomFacts},
    rooms::Rooms,
    status::{Stage, Status},
    sync::InstanceSync,
    tasks::Tasks,
};
use crate::service::Service;

/// Beats that another instance may take to tell what it knows.
const PATIENCE: u32 = 3;
/// Beats of ours that may be missing before the subscription is taken for dead.
const MOST_UNHEARD: u32 = 3;

/// The part that this instance has among all.
pub(super) struct Membership {
    pub(super) service: Arc<Service>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) log: Arc<Log>,
    pub(super) channels: Arc<Channels>,
    pub(super) rooms: Arc<Rooms>,
    pub(super) sync: Arc<InstanceSync>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) status: Arc<Status>,
    pub(super) tasks: Arc<Tasks>,
    pub(super) heartbeat_interval: Duration,
    pub(super) started_at: u64,
    pub(super) beats: Beats,
}

/// Beats of ours, on their way and back.
#[derive(Default)]
pub(super) struct Beats {
    /// How many have not come back.
    unheard: AtomicU32,
    /// Place of the last one in the log: one that waits there cannot have come back.
    place: AtomicU64,
}

impl Membership {
    /// The bus is there, for the first time or again.
    pub(super) fn bus_is_up(self: &Arc<Self>) {
        self.beats.unheard.store(0, Ordering::Relaxed);
        self.tasks.spawn(self.clone().join());
    }

    /// Learns what the others know, then reports ready.
    async fn join(self: Arc<Self>) {
        self.sync.instances().join();
        self.log.send(Body::Message(Message::Hello));
        self.beat();
        loop {
            match self.read_rooms().await {
                Ok(()) => break,
                Err(error) if error.is_unreachable() && self.bus.is_up() => {
                    tokio::time::sleep(self.heartbeat_interval).await;
                }
                // The bus has gone again, and this begins anew when it is back.
                Err(error) if error.is_unreachable() => return,
                Err(error) => {
                    self.status.report_error(&error);
                    break;
                }
            }
        }
        self.meet_everybody().await;
        if !self.bus.is_up() {
            return;
        }
        self.status.catch_up();
        self.backlog.fetch(|| self.sync.instances().eldest()).await;
        if self.bus.is_up() {
            self.status.change(Stage::Ready);
            self.beat();
        }
    }

    async fn read_rooms(&self) -> Result<(), BusError> {
        let known = self.service.hub.rooms(None);
        let known = known.iter().map(|room| RoomFacts::from(&room.info)).collect();
        let contents = self.rooms.read(known).await?;
        for room in contents.rooms {
            self.sync.learn_room(room);
        }
        for room_id in contents.deleted {
            self.service.forget_room(&room_id);
        }
        Ok(())
    }

    /// Learns of rooms what other instances may have told in vain.
    async fn reread_rooms(&self) {
        match self.read_rooms().await {
            Ok(()) => {}
            // Once the bus is back, they are read in any case.
            Err(error) if error.is_unreachable() => {}
            Err(error) => self.status.report_error(&error),
        }
    }

    /// Waits until every other instance has told what it knows; not for those that do not answer.
    async fn meet_everybody(&self) {
        let Ok(subscribed) = self.bus.subscribers(&self.channels.everyone).await else {
            return;
        };
        let others = usize::try_from(subscribed.saturating_sub(1)).unwrap_or(usize::MAX);
        let met = self.sync.has_met(others);
        let _ = tokio::time::timeout(self.heartbeat_interval * PATIENCE, met).await;
    }

    /// Beats for ever, and looks whether the beats come back. `on_beat` is called each time.
    pub(super) async fn keep_beating(self: Arc<Self>, on_beat: impl Fn()) {
        let mut interval = tokio::time::interval(self.heartbeat_interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            on_beat();
            if self.bus.is_up() {
                self.settle_doubt();
                self.beat_or_resubscribe();
            }
        }
    }

    /// Reads the rooms anew if something may have been missed of them.
    pub(super) fn settle_doubt(self: &Arc<Self>) {
        if self.sync.instances().take_doubt() {
            // Aside: beats are not to wait for it.
            let membership = self.clone();
            self.tasks.spawn(async move { membership.reread_rooms().await });
        }
    }

    fn beat_or_resubscribe(&self) {
        let Beats { unheard, place } = &self.beats;
        let (_, sent) = self.log.progress();
        if sent >= place.load(Ordering::Relaxed) && unheard.fetch_add(1, Ordering::Relaxed) >= MOST_UNHEARD {
            unheard.store(0, Ordering::Relaxed);
            self.bus.resubscribe();
        } else {
            self.beat();
            place.store(self.log.progress().0, Ordering::Relaxed);
        }
    }

    /// Tells all instances, ourselves among them, that this one lives.
    pub(super) fn beat(&self) {
        let stats = self.service.stats().into();
        let is_ready = self.status.stage() == Stage::Ready;
        self.log.send_where(|next_seq, digest| {
            Body::Message(Message::Beat(Beat {
                next_seq,
                digest,
                is_ready,
                started_at: self.started_at,
                stats,
            }))
        });
    }

    /// A beat of ours came back.
    pub(super) fn own_beat_arrived(&self) {
        self.beats.unheard.store(0, Ordering::Relaxed);
        self.sync.own_beat_arrived(self.heartbeat_interval / 2);
    }
}

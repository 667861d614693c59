//! Joining the cluster, the signs of life, what is told of faults, and leaving.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::Value;

use super::{
    Cluster, Status,
    log::Body,
    message::{Beat, HistoryPart, Message, PacketParts, RoomFacts},
};
use crate::{
    hub::Room,
    ports::{EventKind, ServiceEvent},
    redis::{ConnectionError, Observer},
};

/// Beats that another instance may take to tell what it knows.
const PATIENCE: u32 = 3;
/// Beats of ours that may be missing before the subscription is taken for dead.
const MOST_UNHEARD: u32 = 3;
/// How often a fault of one kind is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// How long `createRoom` waits for Redis, and how long an end waits for what is to be published.
const COURTESY: Duration = Duration::from_millis(500);
const FAREWELL: Duration = Duration::from_secs(1);
/// Messages of each room, and bytes in all, that a new instance is given; and bytes in one part.
const HISTORY_MESSAGES: usize = 1_000;
const HISTORY_BYTES: usize = 32 << 20;
const HISTORY_PART_BYTES: usize = 512 << 10;
/// How long a new instance waits for them.
const HISTORY_PATIENCE: Duration = Duration::from_secs(10);

/// Hears for the cluster, for as long as it exists.
pub(super) struct Ear(Weak<Cluster>);

impl Ear {
    pub(super) fn new(cluster: Weak<Cluster>) -> Self {
        Self(cluster)
    }

    fn cluster(&self) -> Option<Arc<Cluster>> {
        self.0.upgrade()
    }
}

impl Observer for Ear {
    fn message(&self, channel: &str, payload: Bytes) {
        let Some(cluster) = self.cluster() else { return };
        // What one message does must not end the hearing of all others.
        let arrived = std::panic::AssertUnwindSafe(|| cluster.arrived(channel, payload));
        if std::panic::catch_unwind(arrived).is_err() {
            tracing::error!(channel, "a message of the cluster panicked; it is lost");
        }
    }

    fn up(&self) {
        if let Some(cluster) = self.cluster() {
            cluster.unheard.store(0, Ordering::Relaxed);
            cluster.spawn(cluster.clone().join());
        }
    }

    fn down(&self, error: &ConnectionError) {
        if let Some(cluster) = self.cluster() {
            cluster.outbox.is_current.store(false, Ordering::Release);
            cluster.change(Status::Degraded);
            cluster
                .service
                .sink()
                .emit(ServiceEvent::Fault(error.code(), error.to_string()));
        }
    }
}

impl Cluster {
    /// Learns what the others know, then reports ready. Begun anew whenever Redis is back.
    async fn join(self: Arc<Self>) {
        self.instances.lock().join();
        self.outbox.log.say(Body::Message(Message::Hello));
        self.beat();
        loop {
            match self.read_directory().await {
                Ok(()) => break,
                Err(ConnectionError::Unreachable(_)) if self.connections.is_up() => {
                    tokio::time::sleep(self.heartbeat_interval).await;
                }
                // Redis has gone again, and this begins anew when it is back.
                Err(ConnectionError::Unreachable(_)) => return,
                Err(error) => {
                    self.report(error.code(), &error.to_string());
                    break;
                }
            }
        }
        self.meet_everybody().await;
        if !self.connections.is_up() {
            return;
        }
        self.outbox.is_current.store(true, Ordering::Release);
        self.ask_for_history().await;
        if self.connections.is_up() {
            self.change(Status::Ready);
            self.beat();
        }
    }

    async fn read_directory(&self) -> Result<(), ConnectionError> {
        let known = self.service.hub.rooms(None);
        let known = known.iter().map(|room| RoomFacts::from(&room.info)).collect();
        let contents = self.outbox.directory.read(&self.connections, known).await?;
        for room in contents.rooms {
            self.learn_room(room);
        }
        for room_id in contents.deleted {
            self.service.forget_room(&room_id);
        }
        Ok(())
    }

    /// Learns of rooms what other instances may have told in vain.
    async fn reread_directory(&self) {
        match self.read_directory().await {
            // Once Redis is back, it is read in any case.
            Ok(()) | Err(ConnectionError::Unreachable(_)) => {}
            Err(error) => self.report(error.code(), &error.to_string()),
        }
    }

    /// Waits until every other instance has told what it knows; not for those that do not answer.
    async fn meet_everybody(&self) {
        let Ok(subscribed) = self.connections.subscribers(&self.channels.everyone).await else {
            return;
        };
        let others = usize::try_from(subscribed.saturating_sub(1)).unwrap_or(usize::MAX);
        let met = async {
            loop {
                let news = self.knowledge.notified();
                if self.instances.lock().whole() >= others {
                    return;
                }
                news.await;
            }
        };
        let _ = tokio::time::timeout(self.heartbeat_interval * PATIENCE, met).await;
    }

    /// Gets the newest messages of every room from the eldest instance; when they are in Redis, they are read there.
    async fn ask_for_history(&self) {
        if self.outbox.storage.is_some() || *self.has_history.borrow() {
            return;
        }
        let eldest = self.instances.lock().eldest();
        if let Some(eldest) = eldest {
            self.outbox.log.say(Body::Inbox(eldest, Message::AskHistory));
            let mut arrived = self.has_history.subscribe();
            let _ = tokio::time::timeout(HISTORY_PATIENCE, arrived.wait_for(|arrived| *arrived)).await;
        }
        // Without others there is none; and one that has joined before has heard what was sent since.
        self.has_history.send_replace(true);
    }

    /// The newest messages of every room, in parts, for a new instance.
    pub(super) fn history_parts(&self) -> Vec<HistoryPart> {
        let mut parts = Vec::new();
        let (mut rooms, mut bytes, mut total) = (Vec::new(), 0, 0);
        for room in self.service.hub.rooms(None) {
            let messages = newest_messages(&room);
            let size: usize = messages.iter().map(|(packet, _)| packet.args.len()).sum();
            total += size;
            if messages.is_empty() || total > HISTORY_BYTES {
                continue;
            }
            bytes += size;
            rooms.push((room.info.id.to_string(), messages));
            if bytes >= HISTORY_PART_BYTES {
                let rooms = std::mem::take(&mut rooms);
                parts.push(HistoryPart { is_last: false, rooms });
                bytes = 0;
            }
        }
        parts.push(HistoryPart { is_last: true, rooms });
        parts
    }

    /// A room of the cluster that this instance may not know.
    pub(super) fn learn_room(&self, room: RoomFacts) {
        if self.outbox.directory.is_deleted(&room.id) {
            return;
        }
        if let Some(room) = self.service.learn_room(room.into()) {
            self.instances.lock().attach(&self.service, &room.info.id);
        }
    }

    /// Writes rooms that were created or deleted here into the directory. False when Redis is not there to take them.
    pub(super) async fn write_directory(&self) -> bool {
        match self.outbox.directory.write(&self.connections).await {
            Ok(()) => {}
            Err(ConnectionError::Unreachable(_)) => return false,
            Err(error) => self.report(error.code(), &error.to_string()),
        }
        self.connections.is_up()
    }

    /// Beats for ever, and looks whether the beats come back.
    pub(super) async fn keep_beating(self: Arc<Self>) {
        let mut interval = tokio::time::interval(self.heartbeat_interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Place of the last beat in the log: one that waits there cannot have come back.
        let mut place = 0;
        loop {
            interval.tick().await;
            self.outbox.expire();
            self.expire_answers();
            if !self.connections.is_up() {
                continue;
            }
            if self.instances.lock().take_doubt() {
                // Aside: beats are not to wait for it.
                let cluster = self.clone();
                self.spawn(async move { cluster.reread_directory().await });
            }
            let (_, sent) = self.outbox.log.progress();
            if sent >= place && self.unheard.fetch_add(1, Ordering::Relaxed) >= MOST_UNHEARD {
                self.unheard.store(0, Ordering::Relaxed);
                self.connections.replace_subscriber();
            } else {
                self.beat();
                (place, _) = self.outbox.log.progress();
            }
        }
    }

    /// Tells all instances, ourselves among them, that this one lives.
    pub(super) fn beat(&self) {
        let stats = self.service.stats().into();
        let is_ready = *self.status.borrow() == Status::Ready;
        self.outbox.log.say_where(|next_seq, digest| {
            Body::Message(Message::Beat(Beat {
                next_seq,
                digest,
                is_ready,
                started_at: self.started_at,
                stats,
            }))
        });
    }

    /// A beat of ours came back: we hear, so who is silent is silent.
    pub(super) fn own_beat_arrived(&self) {
        self.unheard.store(0, Ordering::Relaxed);
        let pace = self.heartbeat_interval / 2;
        let relieved = self.instances.lock().tick(&self.service, &self.outbox.log, pace);
        relieved.iter().for_each(|uid| self.drain(uid));
        self.knowledge.notify_waiters();
    }

    /// Counts a message that could not be read.
    pub(super) fn ignore(&self, channel: &str, why: &str) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
        let channel: String = channel.chars().take(100).collect();
        self.report(
            "ERR_CLUSTER_MESSAGE",
            &format!("A message on the channel {} is ignored: {why}", Value::from(channel)),
        );
    }

    /// Tells the application of a fault, of one kind not too often.
    pub(super) fn report(&self, code: &'static str, text: &str) {
        let now = Instant::now();
        let mut reported = self.reported.lock();
        if reported
            .get(code)
            .is_some_and(|last| now.duration_since(*last) < REPORT_INTERVAL)
        {
            return;
        }
        reported.insert(code, now);
        drop(reported);
        tracing::warn!(code, text, "a fault of the cluster");
        self.service.sink().emit(ServiceEvent::Fault(code, text.to_owned()));
    }

    fn change(&self, status: Status) {
        let changed = self.status.send_if_modified(|current| {
            let changes = *current != status && *current != Status::Ended;
            if changes {
                *current = status;
            }
            changes
        });
        if changed && status != Status::Ended && self.service.sink().wants(EventKind::Cluster) {
            self.service.sink().emit(ServiceEvent::Cluster(status.name()));
        }
    }

    /// Resolves when what was published before has left, or soon when Redis is away.
    pub async fn published(&self) {
        let (appended, _) = self.outbox.log.progress();
        if self.connections.is_up() {
            let mut sent = self.sent.subscribe();
            let _ = tokio::time::timeout(COURTESY, sent.wait_for(|sent| *sent >= appended)).await;
        }
    }

    /// Says goodbye and ends everything, in bounded time.
    pub async fn leave(&self) {
        self.outbox.log.end(Body::Message(Message::Bye));
        let (appended, _) = self.outbox.log.progress();
        if self.connections.is_up() {
            let mut sent = self.sent.subscribe();
            let _ = tokio::time::timeout(FAREWELL, sent.wait_for(|sent| *sent >= appended)).await;
            if let Some(storage) = &self.outbox.storage {
                let _ = tokio::time::timeout(FAREWELL, self.store_rest(storage)).await;
            }
        }
        self.stop();
        self.connections.close().await;
    }

    /// Ends everything at once.
    pub fn abandon(self: &Arc<Self>) {
        self.stop();
        let cluster = self.clone();
        self.runtime.spawn(async move { cluster.connections.close().await });
    }

    fn stop(&self) {
        self.change(Status::Ended);
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        self.outbox.end();
        self.service.forget_acks();
    }
}

fn newest_messages(room: &Room) -> Vec<(PacketParts, u64)> {
    let state = room.state();
    let positions = state.history.positions();
    let first = positions
        .end
        .saturating_sub(HISTORY_MESSAGES as u64)
        .max(positions.start);
    state
        .history
        .range(first..=positions.end)
        .map(|message| (PacketParts::of(&message.packet), message.timestamp))
        .collect()
}

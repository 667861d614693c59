//! The newest messages of every room, which a new instance is given by the eldest one where they are not stored.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    log::{Body, Log},
    message::{HistoryPart, Message, PacketParts},
};
use crate::{hub::Room, service::Service};

/// Messages of each room, and bytes in all, that a new instance is given; and bytes in one part.
const MOST_MESSAGES: usize = 1_000;
const MOST_BYTES: usize = 32 << 20;
const PART_BYTES: usize = 512 << 10;
/// How long a new instance waits for them.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is handed on of the history of rooms.
pub(super) struct Backlog {
    service: Arc<Service>,
    log: Arc<Log>,
    /// It has arrived, or nobody has any.
    is_complete: watch::Sender<bool>,
}

impl Backlog {
    /// Nothing has arrived; nothing is asked for where history `is_stored`.
    pub(super) fn new(service: Arc<Service>, log: Arc<Log>, is_stored: bool) -> Self {
        Self {
            service,
            log,
            is_complete: watch::Sender::new(is_stored),
        }
    }

    /// Gets the messages from the eldest instance, if they are yet to be got.
    pub(super) async fn fetch(&self, eldest: impl FnOnce() -> Option<Arc<str>>) {
        if *self.is_complete.borrow() {
            return;
        }
        if let Some(eldest) = eldest() {
            self.log.send(Body::Inbox(eldest, Message::AskHistory));
            let mut arrived = self.is_complete.subscribe();
            let _ = tokio::time::timeout(PATIENCE, arrived.wait_for(|arrived| *arrived)).await;
        }
        // Without others there is none; and one that has joined before has heard what was sent since.
        self.is_complete.send_replace(true);
    }

    /// Sends the newest messages of every room to an instance.
    pub(super) fn send(&self, uid: &Arc<str>) {
        for part in self.parts() {
            self.log.send(Body::Inbox(uid.clone(), Message::History(part)));
        }
    }

    fn parts(&self) -> Vec<HistoryPart> {
        let mut parts = Vec::new();
        let (mut rooms, mut bytes, mut total) = (Vec::new(), 0, 0);
        for room in self.service.hub.rooms(None) {
            let messages = newest_messages(&room);
            let size: usize = messages.iter().map(|(packet, _)| packet.args.len()).sum();
            total += size;
            if messages.is_empty() || total > MOST_BYTES {
                continue;
            }
            bytes += size;
            rooms.push((room.info.id.to_string(), messages));
            if bytes >= PART_BYTES {
                let rooms = std::mem::take(&mut rooms);
                parts.push(HistoryPart { is_last: false, rooms });
                bytes = 0;
            }
        }
        parts.push(HistoryPart { is_last: true, rooms });
        parts
    }

    /// Takes a part of what was asked for.
    pub(super) fn take(&self, part: HistoryPart) {
        for (room_id, messages) in part.rooms {
            if let Some(room) = self.service.hub.room(&room_id) {
                let messages = messages
                    .into_iter()
                    .filter_map(|(packet, time)| Some((packet.event()?, time)));
                self.service.restore_history(&room, messages.collect());
            }
        }
        if part.is_last {
            self.is_complete.send_replace(true);
        }
    }
}

fn newest_messages(room: &Room) -> Vec<(PacketParts, u64)> {
    let state = room.state();
    let positions = state.history.positions();
    let first = positions.end.saturating_sub(MOST_MESSAGES as u64).max(positions.start);
    state
        .history
        .range(first..=positions.end)
        .map(|message| (PacketParts::of(&message.packet), message.timestamp))
        .collect()
}

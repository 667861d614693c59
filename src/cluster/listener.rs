//! What arrives on the cluster's channels: told apart, put in order, and handed to the service.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;

use super::{
    Cluster,
    log::Body,
    publisher::kind,
    record::{Envelope, HistoryPart, Message, Snapshot, SocketFacts, Unreadable},
    replica::News,
    sequence::Arrival,
};
use crate::{
    adapter::{
        broadcast::{self, Broadcast, Decoded, Mark},
        channels::Scope,
    },
    error::Error,
    hub::Socket,
    selection::{Selection, names},
    wire::{
        json::placeholders_fit,
        packet::{Packet, PacketKind},
    },
};

/// Bytes of publications that are sent again in one message.
const RESENT_BYTES: usize = 256 << 10;
/// Sockets in one part of a snapshot.
const SNAPSHOT_PART: usize = 500;

impl Cluster {
    /// Takes a message of Redis.
    pub(super) fn arrived(self: &Arc<Self>, channel: &str, payload: Bytes) {
        if let Some(scope) = self.channels.classic.scope(channel) {
            self.broadcast_arrived(channel, scope, payload);
        } else if *channel == *self.channels.everyone || *channel == *self.channels.inbox {
            self.message_arrived(channel, payload);
        } else if *channel == *self.channels.classic.request {
            self.request_arrived(&payload);
        } else {
            self.response_arrived(payload);
        }
    }

    fn broadcast_arrived(&self, channel: &str, scope: Scope<'_>, payload: Bytes) {
        match broadcast::peek(&payload) {
            None => self.ignore(channel, "not a broadcast"),
            Some((uid, _)) if *uid == *self.uid => {}
            Some((uid, Some(Mark { kind, seq, .. }))) if kind::read(kind).is_ok() => {
                self.received.fetch_add(1, Ordering::Relaxed);
                let uid = uid.to_owned();
                self.publication_arrived(&uid, seq, channel, payload);
            }
            Some((_, mark)) => {
                self.received.fetch_add(1, Ordering::Relaxed);
                if let Some(Err(version)) = mark.map(|mark| kind::read(mark.kind)) {
                    self.report("ERR_CLUSTER_VERSION", &Unreadable::Version(version).to_string());
                }
                if self.has_receivers(scope) {
                    self.read_broadcast(channel, &payload, |broadcast| self.deliver(broadcast));
                }
            }
        }
    }

    /// A numbered publication of another instance: handled when it is its turn.
    fn publication_arrived(&self, uid: &str, seq: u64, channel: &str, payload: Bytes) {
        let arrival = Arrival {
            channel: channel.to_owned(),
            payload,
        };
        self.instances.lock().arrive(&self.outbox.log, uid, seq, arrival);
        self.drain(uid);
    }

    /// Handles the publications of an instance that are in order, and asks for those that are missing.
    pub(super) fn drain(&self, uid: &str) {
        loop {
            let Some((seq, arrival)) = self.instances.lock().pop(uid) else {
                break;
            };
            self.publication(uid, seq, &arrival);
        }
        self.instances.lock().ask_for_missing(&self.outbox.log, uid);
        self.knowledge.notify_waiters();
    }

    fn publication(&self, uid: &str, seq: u64, arrival: &Arrival) {
        let Arrival { channel, payload } = arrival;
        let Some(scope) = self.channels.classic.scope(channel) else {
            return match Envelope::decode(payload) {
                Ok(envelope) => self.news(uid, seq, envelope.message),
                Err(_) => self.ignore(channel, "not a message of an instance"),
            };
        };
        let Some((_, Some(mark))) = broadcast::peek(payload) else {
            return;
        };
        let Ok(kind) = kind::read(mark.kind) else { return };
        let matters = match kind {
            kind::FOREIGN => false,
            kind::NONE => self.has_receivers(scope),
            kind::MESSAGE => match scope {
                Scope::Room(room) => self.service.hub.room(room).is_some() || self.has_receivers(scope),
                Scope::Everyone => true,
            },
            _ => true,
        };
        if matters {
            self.read_broadcast(channel, payload, |broadcast| {
                self.marked(uid, seq, Mark { kind, ..mark }, broadcast);
            });
        }
    }

    /// Hands on a broadcast of another instance with what it tells besides.
    fn marked(&self, uid: &str, seq: u64, mark: Mark, broadcast: Broadcast) {
        let (Some(room), socket) = (broadcast.rooms.first().cloned(), broadcast.except.first().cloned()) else {
            return self.deliver(broadcast);
        };
        let packet = packet_of(&broadcast);
        match (mark.kind, socket) {
            (kind::MESSAGE, _) => self.service.receive_message(&room, &packet, mark.time),
            (kind::TYPING | kind::TYPED, Some(socket)) => {
                let socket = self.instances.lock().socket(uid, &socket);
                match socket {
                    Some(socket) => self
                        .service
                        .receive_typing(&socket, &room, mark.kind == kind::TYPING, &packet),
                    None => self.deliver(broadcast),
                }
            }
            (kind::JOINED, Some(socket)) => {
                self.hear(uid, seq, News::Joined(socket.into(), room.into(), Some(packet)));
            }
            (kind::LEFT, Some(socket)) => {
                self.hear(uid, seq, News::Left(socket.into(), room.into(), Some(packet)));
            }
            _ => self.deliver(broadcast),
        }
    }

    /// What an instance tells all others, in its order.
    fn news(&self, uid: &str, seq: u64, message: Message) {
        match message {
            Message::Connected(facts) => self.hear(uid, seq, News::Connected(facts)),
            Message::Disconnected(id) => self.hear(uid, seq, News::Disconnected(id)),
            Message::RoomCleared(room) => self.hear(uid, seq, News::Cleared(room)),
            Message::RoomCreated(room) => self.learn_room(room),
            Message::RoomDeleted(room) => {
                self.outbox.directory.deleted(&room, false);
                self.service.forget_room(&room);
                if let Some(storage) = &self.outbox.storage {
                    // A message that was on its way to the stream would have made it anew.
                    storage.forget(&room);
                }
            }
            Message::Select(select) => {
                let (selection, packet) = select.into_parts();
                match packet.event() {
                    Some(packet) => self.service.deliver(&selection, &packet),
                    None => self.ignore(&self.channels.everyone, "a packet that is no event"),
                }
            }
            Message::Stored(room, packet, time) => match packet.event() {
                Some(packet) => self.service.keep_message(&room, &packet, time),
                None => self.ignore(&self.channels.everyone, "a message that is no event"),
            },
            _ => {}
        }
    }

    fn hear(&self, uid: &str, seq: u64, news: News) {
        let mut instances = self.instances.lock();
        instances.news(&self.service, &self.outbox.log, uid, seq, news);
    }

    /// A message of an instance, to all or to this one.
    fn message_arrived(self: &Arc<Self>, channel: &str, payload: Bytes) {
        let envelope = match Envelope::decode(&payload) {
            Ok(envelope) => envelope,
            Err(error @ Unreadable::Version(_)) => return self.report("ERR_CLUSTER_VERSION", &error.to_string()),
            Err(error) => return self.ignore(channel, &error.to_string()),
        };
        let Envelope { uid, seq, message } = envelope;
        if uid == self.uid {
            if let Message::Beat(_) = message {
                self.own_beat_arrived();
            }
            return;
        }
        self.received.fetch_add(1, Ordering::Relaxed);
        match seq {
            Some(seq) => self.publication_arrived(&uid, seq, channel, payload),
            None => self.said(&uid, message),
        }
    }

    /// What an instance says besides its publications.
    fn said(self: &Arc<Self>, uid: &Arc<str>, message: Message) {
        match message {
            Message::Beat(beat) => {
                self.instances.lock().beat(&self.outbox.log, uid, beat);
                self.knowledge.notify_waiters();
            }
            Message::Hello => self.beat(),
            Message::Bye => self.instances.lock().bye(&self.service, uid),
            Message::Resend(first, end) => self.resend(uid, first, end),
            Message::Resent(entries) => {
                for (seq, channel, payload) in entries {
                    if let Ok(channel) = std::str::from_utf8(&channel) {
                        self.publication_arrived(uid, seq, channel, payload);
                    }
                }
            }
            Message::Lost(before) => {
                self.instances.lock().skip(&self.outbox.log, uid, before);
                self.drain(uid);
            }
            Message::AskSnapshot => self.send_snapshot(uid),
            Message::Snapshot(part) => {
                let mut instances = self.instances.lock();
                if instances.snapshot(&self.service, &self.outbox.log, uid, part) {
                    drop(instances);
                    self.knowledge.notify_waiters();
                }
            }
            Message::AskHistory => self.send_history(uid),
            Message::History(part) => self.take_history(part),
            Message::Do(question, socket_id, command) => {
                let outcome = self.service.apply(&socket_id, &command);
                let error = outcome.err().map(|error| (error.code().to_owned(), error.to_string()));
                self.outbox
                    .log
                    .say(Body::Inbox(uid.clone(), Message::Done(question, error)));
            }
            Message::Done(question, error) => {
                let outcome = match error {
                    None => Ok(()),
                    Some((_, text)) if text == Error::UserNotFound.to_string() => Err(Error::UserNotFound),
                    Some(_) => Err(Error::UserOrRoomNotFound),
                };
                self.outbox.answered(question, outcome);
            }
            // Numbered, or else not said by an instance of this version.
            _ => {}
        }
    }

    /// Sends publications again to an instance that has missed them.
    fn resend(&self, uid: &Arc<str>, first: u64, end: u64) {
        let (oldest, entries) = self.outbox.log.kept(first, end);
        if oldest > first {
            let lost = Message::Lost(oldest.min(end));
            self.outbox.log.say(Body::Inbox(uid.clone(), lost));
        }
        let mut batch = std::collections::VecDeque::new();
        let mut bytes = 0;
        for entry in &entries {
            let Some(((channel, payload), seq)) = self.encode(entry).zip(entry.seq) else {
                continue;
            };
            bytes += payload.len();
            batch.push_back((seq, channel, payload));
            if bytes >= RESENT_BYTES {
                let batch = std::mem::take(&mut batch);
                self.outbox.log.say(Body::Inbox(uid.clone(), Message::Resent(batch)));
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            self.outbox.log.say(Body::Inbox(uid.clone(), Message::Resent(batch)));
        }
    }

    /// Tells an instance everything about the sockets of this one. What changes meanwhile is told besides: it has a
    /// number from `since` on, and saying it twice changes nothing. Clients are served between the parts.
    fn send_snapshot(self: &Arc<Self>, uid: &Arc<str>) {
        let since = self.outbox.log.next_seq();
        let sockets = self.service.hub.sockets();
        let parts = sockets.len().div_ceil(SNAPSHOT_PART).max(1);
        self.send_snapshot_part(uid, since, &sockets, 0..parts);
        if parts > 1 {
            let (cluster, uid) = (self.clone(), uid.clone());
            self.spawn(async move {
                for part in 1..parts {
                    tokio::task::yield_now().await;
                    cluster.send_snapshot_part(&uid, since, &sockets, part..parts);
                }
            });
        }
    }

    /// Sends the first one of these parts.
    fn send_snapshot_part(&self, uid: &Arc<str>, since: u64, sockets: &[Arc<Socket>], parts: Range<usize>) {
        let part = parts.start;
        let sockets = sockets.iter().skip(part * SNAPSHOT_PART).take(SNAPSHOT_PART);
        let sockets = sockets.filter_map(|socket| {
            let rooms = socket.with_rooms(|rooms| {
                let registered = rooms.iter().filter(|room| room.info.registered);
                registered.map(|room| room.info.id.to_string()).collect()
            })?;
            Some((SocketFacts::of(socket), rooms))
        });
        let snapshot = Snapshot {
            since,
            part: u32::try_from(part).unwrap_or(u32::MAX),
            is_last: part + 1 == parts.end,
            sockets: sockets.collect(),
        };
        self.outbox
            .log
            .say(Body::Inbox(uid.clone(), Message::Snapshot(snapshot)));
    }

    /// Sends the newest messages of every room.
    fn send_history(&self, uid: &Arc<str>) {
        for part in self.history_parts() {
            self.outbox.log.say(Body::Inbox(uid.clone(), Message::History(part)));
        }
    }

    fn take_history(&self, part: HistoryPart) {
        for (room_id, messages) in part.rooms {
            if let Some(room) = self.service.hub.room(&room_id) {
                let messages = messages
                    .into_iter()
                    .filter_map(|(packet, time)| Some((packet.event()?, time)));
                self.service.restore_history(&room, messages.collect());
            }
        }
        if part.is_last {
            self.has_history.send_replace(true);
        }
    }

    /// Whether a broadcast concerns a client of this instance.
    fn has_receivers(&self, scope: Scope<'_>) -> bool {
        match scope {
            Scope::Everyone => true,
            Scope::Room(name) => self.service.has_local_members(name),
        }
    }

    fn read_broadcast(&self, channel: &str, payload: &Bytes, hand_on: impl FnOnce(Broadcast)) {
        match broadcast::decode(payload) {
            Ok(Decoded::Ours(broadcast)) if !are_complete(&broadcast) => {
                self.ignore(channel, "a placeholder names no attachment");
            }
            Ok(Decoded::Ours(broadcast)) => hand_on(broadcast),
            Ok(Decoded::OtherNamespace) => {}
            Err(error) => self.ignore(channel, &error.to_string()),
        }
    }

    fn deliver(&self, broadcast: Broadcast) {
        let packet = packet_of(&broadcast);
        let selection = Selection {
            rooms: names(&broadcast.rooms),
            except: names(&broadcast.except),
            volatile: broadcast.flags.volatile,
            ..Selection::default()
        };
        self.service.deliver(&selection, &packet);
    }
}

/// Whether every placeholder has its attachment. Clients close their connection over one that has none.
fn are_complete(broadcast: &Broadcast) -> bool {
    let attachments = broadcast.attachments.len();
    attachments == 0 || placeholders_fit(&broadcast.args, attachments)
}

fn packet_of(broadcast: &Broadcast) -> Packet {
    Packet::new(PacketKind::Event(None), &broadcast.args, broadcast.attachments.clone())
}

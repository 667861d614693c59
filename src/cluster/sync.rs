//! Keeps up with the other instances: takes what each publishes in its order, asks for what is missing, and gives them
//! again what they have missed of ours.

use std::{collections::VecDeque, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{
    channels::Channels,
    delivery::{Delivery, packet_of},
    encoder::Encoder,
    history::History,
    instances::Instances,
    log::{Body, Log},
    mark,
    message::{Beat, Envelope, Heard, Message, RoomFacts, Snapshot, SocketFacts, origin},
    replica::News,
    rooms::Rooms,
    sequence::Arrival,
    status::Status,
    tasks::Tasks,
};
use crate::{
    adapter::{
        broadcast::{self, Broadcast, Mark},
        channels::Scope,
    },
    hub::{Claim, Cut, Socket},
    ports::Release,
    service::Service,
};

/// Bytes of publications that are sent again in one message.
const RESENT_BYTES: usize = 256 << 10;
/// Sockets in one part of a snapshot.
const SNAPSHOT_PART: usize = 500;

/// What this instance knows of the others, and how it stays so.
pub(super) struct InstanceSync {
    pub(super) service: Arc<Service>,
    pub(super) log: Arc<Log>,
    pub(super) channels: Arc<Channels>,
    pub(super) encoder: Arc<Encoder>,
    pub(super) rooms: Arc<Rooms>,
    pub(super) history: Option<Arc<History>>,
    pub(super) delivery: Arc<Delivery>,
    pub(super) status: Arc<Status>,
    pub(super) tasks: Arc<Tasks>,
    /// Locked before a socket's rooms, a room, and the log.
    pub(super) instances: Mutex<Instances>,
    /// Something has become known of another instance.
    pub(super) learnt: Notify,
}

impl InstanceSync {
    /// The other instances, while nobody else looks at them.
    pub(super) fn instances(&self) -> MutexGuard<'_, Instances> {
        self.instances.lock()
    }

    /// Waits until everything is known of so many other instances.
    pub(super) async fn has_met(&self, others: usize) {
        loop {
            let learnt = self.learnt.notified();
            if self.instances().whole() >= others {
                return;
            }
            learnt.await;
        }
    }

    /// What has been heard: the number of the next publication of each instance, this one included.
    pub(super) fn heard(&self) -> Heard {
        let instances = self.instances();
        let mut heard = instances.heard();
        heard.push((instances.uid().clone(), self.log.next_seq()));
        heard
    }

    /// Resolves when of each instance but a lost one as much has been heard as a client has seen.
    pub(super) async fn reaches(&self, seen: &Cut, lost: Option<&str>) {
        self.until(|instances| instances.reach(seen, lost)).await;
    }

    /// Whether an instance lives.
    pub(super) fn lives(&self, uid: &str) -> bool {
        self.instances().lives(uid)
    }

    /// Resolves when as much has been heard of those instances that are known here, and been handled.
    pub(super) async fn hears(&self, heard: &Heard) {
        self.until(|instances| instances.have_heard(heard)).await;
    }

    async fn until(&self, is_so: impl Fn(&Instances) -> bool) {
        loop {
            let learnt = self.learnt.notified();
            tokio::pin!(learnt);
            // From now on, so that nothing is missed that happens before it is awaited.
            learnt.as_mut().enable();
            if is_so(&self.instances()) {
                return;
            }
            learnt.await;
        }
    }

    /// Lets a socket of this instance go to another one.
    pub(super) fn release(&self, claim: &Claim, rooms: &[String]) -> Option<Release> {
        let instances = self.instances();
        self.service
            .release(claim, rooms, |socket| instances.appear(&self.service, socket))
    }

    /// A numbered publication of another instance: handled when it is its turn.
    pub(super) fn publication_arrived(&self, uid: &str, seq: u64, channel: &str, payload: Bytes) {
        let arrival = Arrival {
            channel: channel.to_owned(),
            payload,
        };
        self.instances().arrive(&self.log, uid, seq, arrival);
        self.drain(uid);
    }

    /// Handles the publications of an instance that are in order, and asks for those that are missing.
    fn drain(&self, uid: &str) {
        loop {
            let Some((seq, arrival)) = self.instances().pop(uid) else {
                break;
            };
            self.publication(uid, seq, &arrival);
        }
        self.instances().ask_for_missing(&self.log, uid);
        self.learnt.notify_waiters();
    }

    fn publication(&self, uid: &str, seq: u64, arrival: &Arrival) {
        let Arrival { channel, payload } = arrival;
        let Some(scope) = self.channels.classic.scope(channel) else {
            return match Envelope::decode(payload) {
                Ok(envelope) => self.told(uid, seq, envelope.message),
                Err(_) => self.status.ignore(channel, "not a message of an instance"),
            };
        };
        let Some((_, Some(mark))) = broadcast::peek(payload) else {
            return;
        };
        let Ok(kind) = mark::read(mark.kind) else { return };
        // Whom it is for is asked, and it is delivered, before a socket comes here or after it. What tells of a socket is kept
        // for its room whoever is there, and comes with a lock of the cluster, which is before this one.
        let tells_nothing = matches!(kind, mark::NONE | mark::MESSAGE);
        let _still = tells_nothing.then(|| self.service.while_none_moves());
        let matters = match kind {
            mark::FOREIGN => false,
            mark::NONE => self.delivery.has_recipients(scope),
            mark::MESSAGE => match scope {
                Scope::Room(room) => self.service.hub.room(room).is_some() || self.delivery.has_recipients(scope),
                Scope::Everyone => true,
            },
            _ => true,
        };
        if matters {
            self.delivery.read(channel, payload, |broadcast| {
                self.marked(uid, seq, Mark { kind, ..mark }, broadcast);
            });
        }
    }

    /// Hands on a broadcast of another instance with what else it tells.
    fn marked(&self, uid: &str, seq: u64, mark: Mark, broadcast: Broadcast) {
        let from = origin(uid, seq);
        let (Some(room), socket) = (broadcast.rooms.first().cloned(), broadcast.except.first().cloned()) else {
            return self.delivery.deliver(broadcast, from);
        };
        let packet = packet_of(&broadcast, from);
        match (mark.kind, socket) {
            (mark::MESSAGE, _) => self.service.receive_message(&room, &packet, mark.time),
            (mark::TYPING | mark::TYPED, Some(socket)) => {
                let socket = self.instances().socket(uid, &socket);
                match socket {
                    Some(socket) => self
                        .service
                        .receive_typing(&socket, &room, mark.kind == mark::TYPING, &packet),
                    None => self.delivery.deliver(broadcast, from),
                }
            }
            (mark::JOINED, Some(socket)) => {
                self.learn(uid, seq, News::Joined(socket.into(), room.into(), Some(packet)));
            }
            (mark::LEFT, Some(socket)) => {
                self.learn(uid, seq, News::Left(socket.into(), room.into(), Some(packet)));
            }
            _ => self.delivery.deliver(broadcast, from),
        }
    }

    /// What an instance tells all others, in its order.
    fn told(&self, uid: &str, seq: u64, message: Message) {
        match message {
            Message::Connected(facts) => self.learn(uid, seq, News::Connected(facts, Vec::new())),
            Message::Arrived(facts, rooms, asked) => {
                if !asked {
                    let moves = facts.returns.as_ref().map_or(0, |returns| returns.moves);
                    let comes_first = *uid < **self.instances().uid();
                    self.service.taken_away(&facts.id, moves, comes_first);
                }
                self.learn(uid, seq, News::Connected(facts, rooms));
            }
            Message::MovedPlain(id, name, is_in) => self.learn(uid, seq, News::MovedPlain(id, name, is_in)),
            Message::Kept(id, data, expires_at) => self.learn(uid, seq, News::Kept(id, data, expires_at)),
            Message::Disconnected(id) => self.learn(uid, seq, News::Disconnected(id)),
            Message::RoomCleared(room) => self.learn(uid, seq, News::Cleared(room)),
            Message::RoomCreated(room) => self.learn_room(room),
            Message::RoomDeleted(room) => {
                self.rooms.deleted(&room, false);
                self.service.forget_room(&room);
                if let Some(history) = &self.history {
                    // A message that was on its way to the store would have made it anew.
                    history.forget(&room);
                }
            }
            Message::Select(select) => {
                let (selection, packet) = select.into_parts();
                match packet.event() {
                    Some(packet) => {
                        packet.set_origin(origin(uid, seq));
                        let _still = self.service.while_none_moves();
                        self.service.deliver(&selection, &packet);
                    }
                    None => self.status.ignore(&self.channels.everyone, "a packet that is no event"),
                }
            }
            Message::Stored(room, packet, time) => match packet.event() {
                Some(packet) => self.service.keep_message(&room, &packet, time),
                None => self
                    .status
                    .ignore(&self.channels.everyone, "a message that is no event"),
            },
            _ => {}
        }
    }

    fn learn(&self, uid: &str, seq: u64, news: News) {
        self.instances().news(&self.service, &self.log, uid, seq, news);
    }

    /// A room of the cluster that this instance may not know.
    pub(super) fn learn_room(&self, room: RoomFacts) {
        if self.rooms.is_deleted(&room.id) {
            return;
        }
        if let Some(room) = self.service.learn_room(room.into()) {
            self.instances().attach(&self.service, &room.info.id);
        }
    }

    /// A sign of life of another instance.
    pub(super) fn beat_arrived(&self, uid: &str, beat: Beat) {
        self.instances().beat(&self.log, uid, beat);
        self.learnt.notify_waiters();
    }

    /// A beat of ours came back: we hear, so who is silent is silent.
    pub(super) fn own_beat_arrived(&self, pace: Duration) {
        let relieved = self.instances().tick(&self.service, &self.log, pace);
        relieved.iter().for_each(|uid| self.drain(uid));
        self.learnt.notify_waiters();
    }

    /// Publications of an instance that were asked for.
    pub(super) fn resent(&self, uid: &str, entries: VecDeque<(u64, Bytes, Bytes)>) {
        for (seq, channel, payload) in entries {
            if let Ok(channel) = std::str::from_utf8(&channel) {
                self.publication_arrived(uid, seq, channel, payload);
            }
        }
    }

    /// Publications of an instance before this number cannot be had any more.
    pub(super) fn lost(&self, uid: &str, before: u64) {
        self.instances().skip(&self.log, uid, before);
        self.drain(uid);
    }

    /// Sends publications again to an instance that has missed them.
    pub(super) fn resend(&self, uid: &Arc<str>, first: u64, end: u64) {
        let (oldest, entries) = self.log.kept(first, end);
        if oldest > first {
            let lost = Message::Lost(oldest.min(end));
            self.log.send(Body::Inbox(uid.clone(), lost));
        }
        let mut batch = VecDeque::new();
        let mut bytes = 0;
        for entry in &entries {
            let Some(seq) = entry.seq else { continue };
            let publication = self.encoder.encode(entry);
            bytes += publication.payload.len();
            batch.push_back((seq, publication.channel, publication.payload));
            if bytes >= RESENT_BYTES {
                let batch = std::mem::take(&mut batch);
                self.log.send(Body::Inbox(uid.clone(), Message::Resent(batch)));
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            self.log.send(Body::Inbox(uid.clone(), Message::Resent(batch)));
        }
    }

    /// A part of what an instance knows of its own sockets.
    pub(super) fn snapshot_arrived(&self, uid: &str, part: Snapshot) {
        let is_whole = self.instances().snapshot(&self.service, &self.log, uid, part);
        if is_whole {
            self.learnt.notify_waiters();
        }
    }

    /// Tells an instance everything about the sockets of this one. What changes meanwhile is told as well: it has a
    /// number from `since` on, and telling it twice changes nothing. Clients are served between the parts.
    pub(super) fn send_snapshot(self: &Arc<Self>, uid: &Arc<str>) {
        let since = self.log.next_seq();
        let sockets = self.service.hub.sockets();
        let parts = sockets.len().div_ceil(SNAPSHOT_PART).max(1);
        self.send_snapshot_part(uid, since, &sockets, 0..parts);
        if parts > 1 {
            let (sync, uid) = (self.clone(), uid.clone());
            self.tasks.spawn(async move {
                for part in 1..parts {
                    tokio::task::yield_now().await;
                    sync.send_snapshot_part(&uid, since, &sockets, part..parts);
                }
            });
        }
    }

    /// Sends the first one of these parts.
    fn send_snapshot_part(&self, uid: &Arc<str>, since: u64, sockets: &[Arc<Socket>], parts: Range<usize>) {
        let part = parts.start;
        let sockets = sockets.iter().skip(part * SNAPSHOT_PART).take(SNAPSHOT_PART);
        let sockets = sockets.filter_map(|socket| {
            let rooms: Vec<_> = socket.with_rooms(|rooms| rooms.iter().cloned().collect())?;
            let registered = rooms.iter().filter(|room| room.info.registered);
            let names = registered.map(|room| room.info.id.to_string()).collect();
            Some((SocketFacts::of(socket, &rooms), names))
        });
        let snapshot = Snapshot {
            since,
            part: u32::try_from(part).unwrap_or(u32::MAX),
            is_last: part + 1 == parts.end,
            sockets: sockets.collect(),
        };
        self.log.send(Body::Inbox(uid.clone(), Message::Snapshot(snapshot)));
    }
}

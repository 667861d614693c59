//! What the service tells the other servers, noted under the service's locks and published later: the port [`Peers`].

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    commands::Commands,
    history::History,
    log::{Body, Log, OwnedBroadcast},
    message::{Message, PacketParts, RoomFacts, Select, SocketFacts, digest, origin},
    rooms::Rooms,
    status::Status,
    takeover::Takeovers,
};
use crate::{
    hub::{Claim, Cut, Room, Socket},
    ports::{Answer, Broadcast, Command, Fact, Peers, Release, Told},
    wire::packet::Packet,
};

/// The other servers, as the service sees them.
pub(super) struct ClusterPeers {
    pub(super) log: Arc<Log>,
    pub(super) rooms: Arc<Rooms>,
    /// The messages that are to survive, when they are.
    pub(super) history: Option<Arc<History>>,
    pub(super) commands: Arc<Commands>,
    pub(super) takeovers: Arc<Takeovers>,
    pub(super) status: Arc<Status>,
    /// This instance.
    pub(super) uid: Arc<str>,
}

impl ClusterPeers {
    /// Publishes a packet, which knows then where it was.
    fn publish_packet(&self, body: Body, digest: u64, packet: &Packet) {
        let numbered = |seq| packet.set_origin(origin(&self.uid, seq));
        self.log.publish_as(body, digest, numbered);
    }
}

impl std::fmt::Debug for ClusterPeers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ClusterPeers").finish_non_exhaustive()
    }
}

impl Peers for ClusterPeers {
    fn broadcast(&self, broadcast: &Broadcast<'_, '_>) {
        let Broadcast {
            packet,
            selection,
            fact,
        } = *broadcast;
        let Some(rooms) = selection.as_rooms() else {
            let select = Select::new(selection, packet);
            return self.publish_packet(Body::Message(Message::Select(select)), 0, packet);
        };
        let (socket, room) = (selection.except.first(), rooms.first());
        let digest = match (fact, socket, room) {
            (Fact::Joined | Fact::Left, Some(socket), Some(room)) => digest(socket, Some(room)),
            _ => 0,
        };
        if let (Fact::Message(time), Some(room), Some(history)) = (fact, room, &self.history) {
            history.store(room, packet, time);
        }
        let owned = OwnedBroadcast {
            packet: packet.clone(),
            rooms: rooms.iter().map(|room| (**room).into()).collect(),
            except: selection.except.iter().map(|name| (**name).into()).collect(),
            volatile: selection.volatile,
            fact,
        };
        self.publish_packet(Body::Broadcast(owned), digest, packet);
    }

    fn stored(&self, room_id: &str, packet: &Packet, time: u64) {
        if let Some(history) = &self.history {
            history.store(room_id, packet, time);
        }
        let message = Message::Stored(room_id.to_owned(), PacketParts::of(packet), time);
        self.log.publish(Body::Message(message), 0);
    }

    fn is_current(&self) -> bool {
        self.status.is_current()
    }

    fn status(&self) -> &'static str {
        self.status.stage().name()
    }

    fn connected(&self, socket: &Arc<Socket>, rooms: &[Arc<Room>]) {
        let facts = SocketFacts::of(socket, rooms);
        self.log
            .publish(Body::Message(Message::Connected(facts)), digest(socket.id(), None));
    }

    fn moved_plain(&self, socket: &Socket, name: &str, is_in: bool) {
        let message = Message::MovedPlain(socket.id().to_owned(), name.to_owned(), is_in);
        self.log.publish(Body::Message(message), 0);
    }

    fn disconnected(&self, socket: &Arc<Socket>) {
        let message = Message::Disconnected(socket.id().to_owned());
        self.log.publish(Body::Message(message), digest(socket.id(), None));
    }

    fn room_created(&self, room: &Room) {
        let facts = RoomFacts::from(&room.info);
        self.rooms.created(facts.clone());
        self.log.publish(Body::Message(Message::RoomCreated(facts)), 0);
    }

    fn room_deleted(&self, room_id: &str, members: &[Arc<Socket>], here: bool) {
        self.rooms.deleted(room_id, here);
        if here {
            self.log
                .publish(Body::Message(Message::RoomDeleted(room_id.to_owned())), 0);
            if let Some(history) = &self.history {
                history.forget(room_id);
            }
        }
        if !members.is_empty() {
            let digest = members.iter().map(|socket| digest(socket.id(), Some(room_id)));
            let digest = digest.fold(0, |all, one| all ^ one);
            self.log
                .publish(Body::Message(Message::RoomCleared(room_id.to_owned())), digest);
        }
    }

    fn restore(&self, room: &Arc<Room>) {
        if let Some(history) = &self.history {
            history.restore(room);
        }
    }

    fn moved_here(&self, secret: &str) {
        self.log.send(Body::Message(Message::Moved(secret.to_owned())));
    }

    fn eldest(&self) -> Option<Arc<str>> {
        self.takeovers.sync.instances().eldest()
    }

    fn session(&self, instance: &Arc<str>, claim: &Claim) -> BoxFuture<'static, Told> {
        self.takeovers.ask_session(instance, claim)
    }

    fn release(&self, instance: &Arc<str>, claim: &Claim, rooms: &[String]) -> BoxFuture<'static, Option<Release>> {
        self.takeovers.ask_release(instance, claim, rooms)
    }

    fn heard(&self, socket: &Socket, seen: &Cut) -> BoxFuture<'static, bool> {
        self.takeovers.heard(socket, seen.clone())
    }

    fn arrived(&self, socket: &Arc<Socket>, rooms: &[Arc<Room>], asked: bool) {
        let registered = rooms.iter().filter(|room| room.info.registered);
        let names = registered.map(|room| room.info.id.to_string()).collect();
        let message = Message::Arrived(SocketFacts::of(socket, rooms), names, asked);
        self.log.publish(Body::Message(message), digest_in(socket, rooms));
    }

    fn handed_over(&self, socket: &Arc<Socket>, rooms: &[Arc<Room>]) {
        let message = Message::Disconnected(socket.id().to_owned());
        self.log.publish(Body::Message(message), digest_in(socket, rooms));
    }

    fn ask(&self, socket: &Socket, command: Command, answer: Answer) {
        self.commands.ask(socket, command, answer);
    }
}

/// Digest of a socket and its rooms of the registry.
fn digest_in(socket: &Socket, rooms: &[Arc<Room>]) -> u64 {
    let registered = rooms.iter().filter(|room| room.info.registered);
    registered
        .map(|room| digest(socket.id(), Some(&room.info.id)))
        .fold(digest(socket.id(), None), |all, one| all ^ one)
}

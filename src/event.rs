//! What the service tells the outside, and the three ports it speaks through: [`EventSink`] towards JavaScript,
//! [`Link`] towards one client and [`Peers`] towards the other servers of a cluster.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    error::{Error, Result},
    hub::{Room, StoredMessage, User},
    packet::Packet,
};

/// Kinds of events of the service, as bits: which of them have a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    /// A socket was registered.
    Connection = 1,
    /// A socket went away.
    Disconnect = 1 << 1,
    /// A chat message was stored.
    Message = 1 << 2,
    /// A socket joined a room.
    RoomJoin = 1 << 3,
    /// A socket left a room.
    RoomLeave = 1 << 4,
    /// A member started or stopped typing.
    Typing = 1 << 5,
    /// How it stands with the cluster has changed.
    Cluster = 1 << 6,
}

/// Something that happened, on its way to JavaScript.
#[derive(Debug, Clone)]
pub enum ServiceEvent {
    /// `connection(user)`.
    Connection(Arc<User>),
    /// `disconnect(user, reason)`, with the rooms the socket was in. Also sent, unheard, for a user that JavaScript
    /// holds objects of.
    Disconnect(Arc<User>, Arc<str>, Vec<Arc<Room>>),
    /// `message(message)`.
    Message(Arc<Room>, Arc<StoredMessage>),
    /// `room:join({ user, room })`.
    RoomJoin(Arc<User>, Arc<Room>),
    /// `room:leave({ user, room })`.
    RoomLeave(Arc<User>, Arc<Room>),
    /// `typing({ user, room, isTyping })`.
    Typing(Arc<User>, Arc<Room>, bool),
    /// A client's own event for the listeners of its socket.
    Client {
        /// Who sent it.
        user: Arc<User>,
        /// JSON array `["event", …]`.
        args: Bytes,
        /// Attachments of the array's placeholders.
        attachments: Vec<Bytes>,
        /// Id under which the client waits for an acknowledgement.
        ack: Option<u64>,
    },
    /// A client's acknowledgement of an event sent to it.
    Ack {
        /// Who sent it.
        user: Arc<User>,
        /// Id of the event.
        id: u64,
        /// JSON array of arguments.
        args: Bytes,
        /// Attachments of the array's placeholders.
        attachments: Vec<Bytes>,
    },
    /// A client's acknowledgement was refused: who sent it, the id of the event, and why.
    AckRefused(Arc<User>, u64, Error),
    /// A connection waits for middleware, or for an overridden `handleConnection`.
    Admission(Arc<User>),
    /// A connection that JavaScript was asked about has ended without being registered.
    Abandoned(Arc<User>),
    /// A packet for a socket that lives in JavaScript.
    Deliver(Arc<User>, Packet),
    /// A room was deleted by another instance.
    RoomForgotten(Arc<Room>),
    /// `cluster(status)`.
    Cluster(&'static str),
    /// `serverSideEmit` of another server: a JSON array `["event", …]`.
    ServerSide {
        /// The array.
        args: Bytes,
        /// Number under which the other server waits for an acknowledgement.
        ack: Option<u64>,
    },
    /// Another server asks for what the application keeps in `socket.data`; the number is for the answer.
    DataWanted(u64, Vec<Arc<User>>),
    /// The answer to a question of the application's.
    Answered {
        /// Number of the question.
        id: u64,
        /// What went wrong, if something did.
        error: Option<String>,
        /// JSON array: what came until then.
        json: String,
        /// Attachments of its placeholders.
        attachments: Vec<Bytes>,
    },
    /// Something degraded, for the application's logger; without payloads.
    Warning(String),
    /// A fault worth an `error` event: a stable code and a text without payloads.
    Fault(&'static str, String),
}

/// Where events of the service go. Implemented by the Node.js bridge and by the recorder of the tests.
pub trait EventSink: Send + Sync {
    /// Whether events of this kind have a listener.
    fn wants(&self, kind: EventKind) -> bool;
    /// Takes an event; never blocks, and never calls back into the service, whose locks may be held.
    fn emit(&self, event: ServiceEvent);
    /// Whether JavaScript has taken something since this was asked last; the first time, it has.
    fn is_responsive(&self) -> bool {
        true
    }
}

/// How the server ends the connection of a socket. What was sent before is delivered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client is told that it is disconnected (DISCONNECT), and does not come back by itself. Its transport stays.
    Leave,
    /// As `Leave`, and the transport is closed.
    Kick,
    /// The transport is closed, and no more: the client comes back by itself.
    Close,
}

impl Ending {
    /// Disconnects the client, its transport as well if so asked.
    pub fn kick(transport: bool) -> Self {
        if transport { Self::Kick } else { Self::Leave }
    }
}

/// The way to one client. Implemented by network connections and by sockets that live in JavaScript.
///
/// Only the fan-out worker that owns the connection calls these, in the order in which packets were handed in.
pub trait Link: Send + Sync + std::fmt::Debug {
    /// Takes a packet: writes it now, or stages it until [`Link::flush`]. True when it is the first one staged.
    fn send(&self, packet: &Packet, now: bool) -> bool;
    /// Writes what is staged; nothing to do where nothing is ever staged.
    fn flush(&self) {}
    /// Bytes that still wait for the client; while there are any, volatile packets are dropped.
    fn waiting(&self) -> usize {
        0
    }
    /// Bytes that senders wait for: those that wait for the client, unless it reads nothing.
    fn awaited(&self) -> usize {
        self.waiting()
    }
    /// Delivers what is queued, then ends the connection.
    fn close(&self, _ending: Ending) {}
    /// Round-trip time in microseconds, when known.
    fn round_trip_us(&self) -> Option<u32> {
        None
    }
}

/// `BroadcastOptions`: who of the recipients is meant. An absent list or name excludes nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Socket ids, and rooms, that are left out.
    pub except: Vec<String>,
    /// Only these user ids.
    pub users: Option<Vec<String>>,
    /// Only members of this room.
    pub room: Option<String>,
    /// Only members of rooms with this label.
    pub label: Option<String>,
}

/// What a broadcast tells other instances besides its packet. The socket it is about is the one left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// Nothing.
    None,
    /// It is a chat message, sent at this time, and belongs into history.
    Message(u64),
    /// The socket began or ceased to type.
    Typing(bool),
    /// The socket joined the room.
    Joined,
    /// The socket left the room.
    Left,
    /// Instances have told their clients themselves; the packet is for Node.js servers only.
    Foreign,
}

/// A packet for clients of other servers.
#[derive(Debug, Clone, Copy)]
pub struct Broadcast<'a> {
    /// What they get.
    pub packet: &'a Packet,
    /// Members of any of these rooms; everyone when there is none. Every socket is in the room of its own id.
    pub rooms: &'a [&'a str],
    /// But no members of these.
    pub except: &'a [&'a str],
    /// It may be dropped where it would have to wait.
    pub volatile: bool,
    /// What it tells besides.
    pub fact: Fact,
}

/// What an instance asks of the one that a socket is connected to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Command {
    /// Join this room of the registry.
    Join(String),
    /// Leave this room of the registry.
    Leave(String),
    /// Disconnect, for this reason.
    Disconnect(String),
}

/// Called once with the outcome of a [`Command`].
pub type Answer = Box<dyn FnOnce(Result<()>) + Send>;

/// The other servers of a cluster. Implemented by the cluster and by the recorder of tests.
///
/// Called under the locks of the service, which give the order: never blocks, and never calls back.
pub trait Peers: Send + Sync + std::fmt::Debug {
    /// Sends a packet to clients elsewhere.
    fn broadcast(&self, broadcast: &Broadcast<'_>);
    /// Tells other instances of a chat message, sent at this time, that belongs into history and goes to no client.
    fn stored(&self, room_id: &str, packet: &Packet, time: u64);
    /// Sends a packet to those clients of other instances that fit the filter: of a room, or of everyone.
    fn select(&self, packet: &Packet, within: Option<&str>, filter: &Filter);
    /// Whether what is known of sockets on other instances is as new as it can be.
    fn is_current(&self) -> bool;
    /// A socket was registered here.
    fn connected(&self, user: &Arc<User>);
    /// A socket of this instance is gone; it has left its rooms before.
    fn disconnected(&self, user: &Arc<User>);
    /// A room was created here.
    fn room_created(&self, room: &Room);
    /// A room was deleted: here, or else by another instance. These sockets of this instance were its members.
    fn room_deleted(&self, room_id: &str, members: &[Arc<User>], here: bool);
    /// Reads a room's messages back from where they are kept, when that is yet to be done; waits for it, but not long.
    /// Not called under a lock.
    fn restore(&self, room: &Arc<Room>);
    /// Asks the instance of a socket to do something with it.
    fn ask(&self, socket: &User, command: Command, answer: Answer);
}

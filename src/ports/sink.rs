//! What the service tells JavaScript, and the port it does so through.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    config::Limit,
    disconnect::DisconnectReason,
    error::Error,
    hub::{Room, Socket, StoredMessage},
    wire::packet::Packet,
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
    /// A handshake was refused.
    ConnectionError = 1 << 7,
    /// A socket's authentication is about to end.
    TokenExpiring = 1 << 8,
    /// A client has lost its connection, and may come back.
    Away = 1 << 9,
    /// It has come back.
    Recovered = 1 << 10,
}

impl EventKind {
    /// The kind that `on(name, listener)` listens to, if it comes from here.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "connection" => Self::Connection,
            "disconnect" => Self::Disconnect,
            "message" => Self::Message,
            "room:join" => Self::RoomJoin,
            "room:leave" => Self::RoomLeave,
            "typing" => Self::Typing,
            "cluster" => Self::Cluster,
            "connection_error" => Self::ConnectionError,
            "token:expiring" => Self::TokenExpiring,
            "away" => Self::Away,
            "recovered" => Self::Recovered,
            _ => return None,
        })
    }
}

/// Something that happened, on its way to JavaScript.
#[derive(Debug, Clone)]
pub enum ServiceEvent {
    /// `connection(user)`.
    Connection(Arc<Socket>),
    /// `disconnect(user, reason)`, with the rooms the socket was in. Also sent, unheard, for a socket that
    /// JavaScript holds objects of.
    Disconnect(Arc<Socket>, DisconnectReason, Vec<Arc<Room>>),
    /// `message(message)`.
    Message(Arc<Room>, Arc<StoredMessage>),
    /// `room:join({ user, room })`.
    RoomJoin(Arc<Socket>, Arc<Room>),
    /// `room:leave({ user, room })`.
    RoomLeave(Arc<Socket>, Arc<Room>),
    /// `typing({ user, room, isTyping })`.
    Typing(Arc<Socket>, Arc<Room>, bool),
    /// A client's own event for the listeners of its socket.
    Client {
        /// Who sent it.
        socket: Arc<Socket>,
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
        socket: Arc<Socket>,
        /// Id of the event.
        id: u64,
        /// JSON array of arguments.
        args: Bytes,
        /// Attachments of the array's placeholders.
        attachments: Vec<Bytes>,
    },
    /// A client's acknowledgement was refused: who sent it, the id of the event, and why.
    AckRefused(Arc<Socket>, u64, Error),
    /// `connection_error`: a handshake was refused.
    ConnectionError {
        /// The bound that it went beyond.
        limit: Limit,
        /// Where it came from.
        address: String,
    },
    /// `token:expiring({ user, expiresAt })`, milliseconds since the epoch.
    TokenExpiring(Arc<Socket>, u64),
    /// `away(user, reason)`. Also sent, unheard, for a socket that JavaScript holds objects of; so is the next.
    Away(Arc<Socket>, DisconnectReason),
    /// `recovered(user)`.
    Recovered(Arc<Socket>),
    /// JavaScript is to say whether a client may do something.
    Authorize {
        /// The client.
        socket: Arc<Socket>,
        /// Number of the question.
        number: u64,
        /// What it wants to do, as `authorize` names it.
        verb: &'static str,
        /// The room that it names.
        room: Arc<Room>,
        /// JSON array `["event", …]`.
        args: Bytes,
        /// Attachments of the array's placeholders.
        attachments: Vec<Bytes>,
    },
    /// A connection waits for middleware, or for an overridden `handleConnection`.
    Admission(Arc<Socket>),
    /// A connection that JavaScript was asked about has ended without being registered.
    Abandoned(Arc<Socket>),
    /// A packet for a socket that lives in JavaScript.
    Deliver(Arc<Socket>, Packet),
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
    DataWanted(u64, Vec<Arc<Socket>>),
    /// The answer to a question of the application's.
    Answered {
        /// Number of the question.
        id: u64,
        /// What went wrong, if something did.
        error: Option<Error>,
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
    /// Many connections have gone: what JavaScript made for them is garbage.
    fn many_have_gone(&self) {}
}

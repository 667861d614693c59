//! What the service tells the outside, and the two ports it speaks through: [`EventSink`] towards JavaScript and
//! [`Link`] towards one client.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;

use crate::{
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
    /// A connection waits for middleware, or for an overridden `handleConnection`.
    Admission(Arc<User>),
    /// A connection that JavaScript was asked about has ended without being registered.
    Abandoned(Arc<User>),
    /// A packet for a socket that lives in JavaScript.
    Deliver(Arc<User>, Packet),
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
    /// Ready while what waits is within bounds; otherwise the reader of a client is woken when it is.
    fn poll_ready(&self, context: &Context<'_>) -> Poll<()>;
}

/// The way to one client. Implemented by network connections and by sockets that live in JavaScript.
///
/// Only the fan-out worker that owns the connection calls these, in the order in which packets were handed in.
pub trait Link: Send + Sync + std::fmt::Debug {
    /// Takes a packet: writes it now, or stages it until [`Link::flush`]. True when it is the first one staged.
    fn send(&self, packet: &Packet, now: bool) -> bool;
    /// Writes what is staged.
    fn flush(&self);
    /// Whether a volatile packet would have to wait, and so is dropped.
    fn is_busy(&self) -> bool;
    /// Tells the client that the server disconnects it, delivers what is queued, closes the transport if asked.
    fn close(&self, transport: bool);
    /// Round-trip time in microseconds, when known.
    fn round_trip_us(&self) -> Option<u32>;
}

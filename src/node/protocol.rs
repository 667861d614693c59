//! Every tag that crosses to JavaScript, once: the build writes them to `binding.d.ts`, against which `lib/` is compiled.
// napi takes only public constants, and its tests have no JavaScript that uses them.
#![allow(unreachable_pub, dead_code)]

use napi_derive::napi;

use crate::{service, wire::packet};

/// What is told, in front of its parts. `src/node/field.rs` and `src/node/queue.rs` write them, `lib/native/events.ts`
/// reads them.
#[napi]
#[derive(Debug)]
pub enum Tag {
    /// Record of a socket.
    Connection = 1,
    /// Record of a socket, reason, ids of its rooms.
    Disconnect,
    /// Room id, position of the oldest kept message, the message.
    Message,
    /// Record of a socket, room id.
    RoomJoin,
    /// Record of a socket, room id.
    RoomLeave,
    /// Record of a socket, room id, whether it types.
    Typing,
    /// Record of a socket, JSON array, id of the acknowledgement or -1, attachments.
    Client,
    /// Socket id, id of the acknowledgement, JSON array, attachments.
    Ack,
    /// Socket id, id of the acknowledgement, code and text of an error.
    AckRefused,
    /// Key, socket id, handshake, time of the connection.
    Admission,
    /// Socket id.
    Abandoned,
    /// Socket id, id of the acknowledgement or -1, JSON array, attachments.
    Deliver,
    /// Record of a room, before the first event about it.
    Room,
    /// Room id.
    RoomForgotten,
    /// Status.
    Cluster,
    /// JSON array, number of the acknowledgement or -1.
    ServerSide,
    /// Number, ids of sockets.
    DataWanted,
    /// Number, code and text of an error or twice null, JSON array, attachments.
    Answered,
    /// Number, code and text of an error.
    Failed,
    /// Number.
    Done,
    /// Number, status, content type, body, session id or null.
    Reply,
    /// Number of a bridged stream, bytes.
    BridgeWrite,
    /// Number of a bridged stream, whether at once.
    BridgeEnd,
    /// Text.
    Warning,
    /// Code and text of an error.
    Fault,
}

/// Buffers that a packet may carry: clients close a connection that brings more in one.
#[napi]
pub const MAX_ATTACHMENTS: u32 = packet::MAX_ATTACHMENTS as u32;

/// Bytes of a packet that reaches other servers.
#[napi]
pub const MOST_PUBLISHED: u32 = packet::MOST_PUBLISHED as u32;

/// Events of clients that the service handles itself.
#[napi]
pub fn built_in_events() -> Vec<&'static str> {
    service::built_in_events().collect()
}

/// Event names of Socket.IO itself, which no packet may carry.
#[napi]
pub fn reserved_events() -> Vec<&'static str> {
    packet::RESERVED_EVENTS.to_vec()
}

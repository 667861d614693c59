//! What crosses to JavaScript by name, each once: tags, objects and limits; the build writes them to `binding.d.ts`, against which `lib/` is compiled.
// napi takes only public constants, and its tests have no JavaScript that uses them.
#![allow(unreachable_pub, dead_code)]

use napi_derive::napi;

use crate::{
    cluster::ClusterState,
    error::Error,
    metrics::Stats,
    service::{self, RoomStats},
    wire::packet,
};

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
    /// Name of a bound, address, code and text of what the client was told.
    ConnectionError,
    /// Record of a socket, time.
    TokenExpiring,
    /// Record of a socket, reason.
    Away,
    /// Record of a socket, handshake.
    Recovered,
    /// Record of a socket, room id, number, what it wants to do, JSON array, attachments.
    Authorize,
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
    /// Number of a door, descriptor, bytes.
    Adopt,
    /// Name of the logger's method, text.
    Log,
    /// Code and text of an error.
    Fault,
}

/// What went wrong, in the words of [`Error`].
#[napi(object)]
#[derive(Debug)]
pub struct Failure {
    /// Stable code.
    pub code: String,
    /// Text for people.
    pub message: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            code: error.code().to_owned(),
            message: error.to_string(),
        }
    }
}

/// `getStats()` of one instance, see [`Stats`].
#[napi(object)]
#[derive(Debug)]
pub struct Figures {
    /// Connections since start.
    pub total_connections: f64,
    /// Live connections.
    pub active_connections: f64,
    /// Rooms in the registry.
    pub total_rooms: f64,
    /// Chat messages of the last minute.
    pub messages_per_minute: f64,
    /// Payload bytes of the last minute.
    pub bytes_per_minute: f64,
    /// Mean round-trip in milliseconds.
    pub avg_latency: f64,
}

impl From<Stats> for Figures {
    fn from(stats: Stats) -> Self {
        Self {
            total_connections: stats.total_connections as f64,
            active_connections: stats.active_connections as f64,
            total_rooms: stats.total_rooms as f64,
            messages_per_minute: stats.rates.messages as f64,
            bytes_per_minute: stats.rates.bytes as f64,
            avg_latency: stats.avg_latency_ms,
        }
    }
}

/// `getStats().cluster`, see [`ClusterState`].
#[napi(object)]
#[derive(Debug)]
pub struct ClusterFigures {
    /// How it stands.
    #[napi(ts_type = "'connecting' | 'ready' | 'degraded'")]
    pub status: String,
    /// This instance's name.
    pub uid: String,
    /// Living instances.
    pub instances: f64,
    /// Publications that wait.
    pub queued: f64,
    /// Publications that were dropped.
    pub dropped: f64,
    /// Publications of others that never arrived.
    pub lost: f64,
    /// Messages that could not be read.
    pub ignored: f64,
    /// Publications that the bus has taken.
    pub published: f64,
    /// Messages from other servers.
    pub received: f64,
}

impl From<ClusterState> for ClusterFigures {
    fn from(state: ClusterState) -> Self {
        Self {
            status: state.status.to_owned(),
            uid: state.uid,
            instances: state.instances as f64,
            queued: state.queued as f64,
            dropped: state.dropped as f64,
            lost: state.lost as f64,
            ignored: state.ignored as f64,
            published: state.published as f64,
            received: state.received as f64,
        }
    }
}

/// `getRoomStats()`, times in milliseconds since the epoch.
#[napi(object)]
#[derive(Debug)]
pub struct RoomFigures {
    /// Members.
    pub member_count: f64,
    /// Kept messages.
    pub message_count: f64,
    /// When it was created.
    pub created_at: f64,
    /// When something last happened in it.
    pub last_activity: f64,
}

impl From<RoomStats> for RoomFigures {
    fn from(stats: RoomStats) -> Self {
        Self {
            member_count: stats.members as f64,
            message_count: stats.messages as f64,
            created_at: stats.created_at as f64,
            last_activity: stats.last_activity as f64,
        }
    }
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

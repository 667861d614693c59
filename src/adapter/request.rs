//! Requests, on the channel that every server hears: JSON, or MessagePack where a packet travels.
//!
//! Sent in the adapter's own key order: `uid, requestId, type, opts, rooms, close, data`.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    broadcast::Outgoing,
    envelope::{SERVER_SIDE_EMIT, json_of},
    name::{self, Name},
};
use crate::adapter::msgpack::{Malformed, Unfit, Writer};

const SOCKETS: u64 = 0;
const ALL_ROOMS: u64 = 1;
const REMOTE_JOIN: u64 = 2;
const REMOTE_LEAVE: u64 = 3;
const REMOTE_DISCONNECT: u64 = 4;
const REMOTE_FETCH: u64 = 5;
const BROADCAST: u64 = 7;

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The server that asks; emitters name none or `emitter`.
    pub(crate) uid: Option<Box<str>>,
    /// What the answer must carry. Always there for [`Call::Sockets`], [`Call::AllRooms`], [`Call::Fetch`] and
    /// [`Call::Broadcast`]; a [`Call::ServerSideEmit`] with one expects an answer; the others with a
    /// [`Affected::Socket`] expect a confirmation from the server that has the socket.
    pub(crate) id: Option<Box<str>>,
    /// What is asked for.
    pub(crate) call: Call,
}

/// What a request asks for, by its `type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// 0: ids of the sockets in these rooms, or of all.
    Sockets {
        /// Rooms.
        rooms: Vec<Box<str>>,
    },
    /// 1: names of all rooms.
    AllRooms,
    /// 2: sockets join rooms.
    Join {
        /// Which sockets.
        affected: Affected,
        /// Rooms to join.
        rooms: Vec<Box<str>>,
    },
    /// 3: sockets leave rooms.
    Leave {
        /// Which sockets.
        affected: Affected,
        /// Rooms to leave.
        rooms: Vec<Box<str>>,
    },
    /// 4: sockets are disconnected.
    Disconnect {
        /// Which sockets.
        affected: Affected,
        /// Close the connections below, too.
        close: bool,
    },
    /// 5: ids, handshakes, rooms and data of sockets.
    Fetch(Selection),
    /// 6: an event for the servers.
    ServerSideEmit {
        /// The JSON array of arguments, event first.
        args: String,
    },
    /// 7: a packet whose recipients acknowledge.
    Broadcast {
        /// The JSON array of arguments, event first.
        args: String,
        /// Bytes, in the order of their placeholders.
        attachments: Vec<Bytes>,
        /// To whom.
        to: Selection,
        /// How long acknowledgements are awaited, in milliseconds.
        timeout: Option<u64>,
    },
    /// A type that the adapter ignores, too.
    Unknown(u64),
}

/// Which sockets a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Affected {
    /// Those in rooms.
    Rooms(Selection),
    /// The one with this id (adapters before 6.1).
    Socket(Box<str>),
}

/// Sockets by their rooms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// In any of these rooms; none means all sockets.
    pub(crate) rooms: Vec<Box<str>>,
    /// In none of these.
    pub(crate) except: Vec<Box<str>>,
}

/// Decodes a request.
pub(crate) fn decode(payload: &[u8]) -> Result<Request, Malformed> {
    let (json, attachments) = json_of(payload, 0)?;
    let wire: Incoming<'_> = serde_json::from_str(&json).map_err(|_| Malformed::Json)?;
    if wire.kind != BROADCAST && !attachments.is_empty() {
        return Err(Malformed::TooManyAttachments);
    }
    let uid = wire.uid.as_deref().map(Into::into);
    let id = wire.request_id.as_deref().map(Into::into);
    let must_answer = matches!(wire.kind, SOCKETS | ALL_ROOMS | REMOTE_FETCH | BROADCAST);
    if must_answer && id.is_none() {
        return Err(Malformed::Missing("requestId"));
    }
    let call = wire.into_call(attachments)?;
    Ok(Request { uid, id, call })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Incoming<'a> {
    #[serde(rename = "type")]
    kind: u64,
    #[serde(borrow)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    opts: Option<IncomingOpts>,
    rooms: Option<Vec<Name>>,
    close: Option<bool>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    packet: Option<IncomingPacket<'a>>,
    sid: Option<Name>,
    room: Option<Name>,
}

#[derive(Debug, Deserialize)]
struct IncomingPacket<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Debug, Deserialize)]
struct IncomingOpts {
    rooms: Vec<Name>,
    #[serde(default)]
    except: Vec<Name>,
    flags: Option<IncomingFlags>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IncomingFlags {
    timeout: Option<f64>,
}

impl Incoming<'_> {
    fn into_call(self, attachments: Vec<Bytes>) -> Result<Call, Malformed> {
        Ok(match self.kind {
            SOCKETS => Call::Sockets {
                rooms: self.rooms.map(name::texts).unwrap_or_default(),
            },
            ALL_ROOMS => Call::AllRooms,
            REMOTE_JOIN | REMOTE_LEAVE => {
                let join = self.kind == REMOTE_JOIN;
                let (affected, rooms) = self.into_change()?;
                if join {
                    Call::Join { affected, rooms }
                } else {
                    Call::Leave { affected, rooms }
                }
            }
            REMOTE_DISCONNECT => Call::Disconnect {
                close: self.close.unwrap_or(false),
                affected: affected(self.opts, self.sid)?,
            },
            REMOTE_FETCH => Call::Fetch(selection(self.opts)?.0),
            SERVER_SIDE_EMIT => {
                let args = self.data.ok_or(Malformed::Missing("data"))?.get();
                name::check_event(args)?;
                Call::ServerSideEmit { args: args.to_owned() }
            }
            BROADCAST => {
                let args = self.packet.ok_or(Malformed::Missing("packet"))?.data.get();
                name::check_event(args)?;
                let (to, timeout) = selection(self.opts)?;
                Call::Broadcast {
                    args: args.to_owned(),
                    attachments,
                    to,
                    timeout,
                }
            }
            kind => Call::Unknown(kind),
        })
    }

    /// Who joins or leaves, and which rooms.
    fn into_change(self) -> Result<(Affected, Vec<Box<str>>), Malformed> {
        let rooms = if self.opts.is_some() {
            name::texts(self.rooms.ok_or(Malformed::Missing("rooms"))?)
        } else {
            vec![self.room.ok_or(Malformed::Missing("room"))?.into()]
        };
        Ok((affected(self.opts, self.sid)?, rooms))
    }
}

fn affected(opts: Option<IncomingOpts>, sid: Option<Name>) -> Result<Affected, Malformed> {
    if opts.is_some() {
        return Ok(Affected::Rooms(selection(opts)?.0));
    }
    let sid = sid.ok_or(Malformed::Missing("opts"))?;
    Ok(Affected::Socket(sid.into()))
}

/// Which sockets, and how long their acknowledgements are awaited.
fn selection(opts: Option<IncomingOpts>) -> Result<(Selection, Option<u64>), Malformed> {
    let opts = opts.ok_or(Malformed::Missing("opts"))?;
    // Saturates, and takes what is negative as 0.
    let timeout = opts.flags.and_then(|flags| flags.timeout).map(|timeout| timeout as u64);
    let selection = Selection {
        rooms: name::texts(opts.rooms),
        except: name::texts(opts.except),
    };
    Ok((selection, timeout))
}

/// A request to send. The order of the fields is the adapter's.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(rename = "type")]
    kind: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    opts: Option<Rooms<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<&'a [&'a str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

/// Sockets by their rooms, to send: in any of `rooms` (none means all sockets) and in none of `except`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Rooms<'a> {
    /// In any of these rooms.
    pub(crate) rooms: &'a [&'a str],
    /// In none of these.
    pub(crate) except: &'a [&'a str],
}

impl Asked<'_> {
    fn encode(&self) -> Result<Vec<u8>, Unfit> {
        serde_json::to_vec(self).map_err(|_| Unfit::NotJson)
    }
}

/// 1: asks for the names of all rooms.
pub(crate) fn all_rooms(uid: &str, id: &str) -> Result<Vec<u8>, Unfit> {
    let request_id = Some(id);
    let kind = ALL_ROOMS;
    Asked {
        uid,
        request_id,
        kind,
        ..Asked::default()
    }
    .encode()
}

/// 2: makes sockets join rooms. JavaScript servers also apply it when it comes back to them.
pub(crate) fn join(uid: &str, of: Rooms<'_>, rooms: &[&str]) -> Result<Vec<u8>, Unfit> {
    let (opts, rooms) = (Some(of), Some(rooms));
    let kind = REMOTE_JOIN;
    Asked {
        uid,
        kind,
        opts,
        rooms,
        ..Asked::default()
    }
    .encode()
}

/// 3: makes sockets leave rooms.
pub(crate) fn leave(uid: &str, of: Rooms<'_>, rooms: &[&str]) -> Result<Vec<u8>, Unfit> {
    let (opts, rooms) = (Some(of), Some(rooms));
    let kind = REMOTE_LEAVE;
    Asked {
        uid,
        kind,
        opts,
        rooms,
        ..Asked::default()
    }
    .encode()
}

/// 4: disconnects sockets, and closes the connections below them if `close`.
pub(crate) fn disconnect(uid: &str, of: Rooms<'_>, close: bool) -> Result<Vec<u8>, Unfit> {
    let (opts, close) = (Some(of), Some(close));
    let kind = REMOTE_DISCONNECT;
    Asked {
        uid,
        kind,
        opts,
        close,
        ..Asked::default()
    }
    .encode()
}

/// 5: asks for sockets.
pub(crate) fn fetch(uid: &str, id: &str, of: Rooms<'_>) -> Result<Vec<u8>, Unfit> {
    let (request_id, opts) = (Some(id), Some(of));
    let kind = REMOTE_FETCH;
    Asked {
        uid,
        request_id,
        kind,
        opts,
        ..Asked::default()
    }
    .encode()
}

/// 6: emits an event to the servers; `args` is a JSON array, event first. With an id each of them answers.
pub(crate) fn server_side_emit(uid: &str, id: Option<&str>, args: &str) -> Result<Vec<u8>, Unfit> {
    let data: &RawValue = serde_json::from_str(args).map_err(|_| Unfit::NotJson)?;
    // A peer adds its callback to the list: on anything else its code fails.
    if !data.get().starts_with('[') {
        return Err(Unfit::NotJson);
    }
    let kind = SERVER_SIDE_EMIT;
    Asked {
        uid,
        request_id: id,
        kind,
        data: Some(data),
        ..Asked::default()
    }
    .encode()
}

/// 7: a packet whose recipients acknowledge, in MessagePack. `packet.flags.timeout` must be set.
pub(crate) fn broadcast(packet: &Outgoing<'_>, id: &str) -> Result<Vec<u8>, Unfit> {
    let mut out = Vec::with_capacity(packet.size_hint());
    let mut writer = Writer(&mut out);
    writer.map(5)?;
    writer.str("uid")?;
    writer.str(packet.uid)?;
    writer.str("requestId")?;
    writer.str(id)?;
    writer.str("type")?;
    writer.uint(BROADCAST)?;
    writer.str("packet")?;
    packet.write_packet(&mut writer)?;
    writer.str("opts")?;
    packet.write_opts(&mut writer, None)?;
    Ok(out)
}

#[cfg(test)]
mod tests;

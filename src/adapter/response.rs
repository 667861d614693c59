//! Responses: JSON, or MessagePack for the acknowledgement of a client.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    envelope::{SERVER_SIDE_EMIT, json_of},
    name::{self, Name},
};
use crate::adapter::msgpack::{Malformed, Reader, Unfit, Writer, from_json};

const CLIENT_COUNT: u64 = 8;
const ACK: u64 = 9;

/// The request that a response answers, without decoding the rest: all servers hear all responses.
pub(crate) fn request_id(payload: &[u8]) -> Result<Box<str>, Malformed> {
    if payload.first() != Some(&b'{') {
        let mut reader = Reader::new(payload);
        for _ in 0..reader.map("a message")? {
            if reader.str("a key")? == "requestId" {
                return reader.str("requestId").map(Into::into);
            }
            reader.skip()?;
        }
        return Err(Malformed::Missing("requestId"));
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Id {
        request_id: Box<str>,
    }
    let id: Id = serde_json::from_slice(payload).map_err(|_| Malformed::Json)?;
    Ok(id.request_id)
}

/// What was asked by the request that a response answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// 1.
    AllRooms,
    /// 5.
    Fetch,
    /// 6.
    ServerSideEmit,
    /// 7.
    Broadcast,
}

/// A response that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Response {
    /// To 1: the rooms of a server.
    Rooms(Vec<Box<str>>),
    /// To 5: the sockets of a server.
    Sockets(Vec<RemoteSocket>),
    /// To 6: what a server said, as JSON text; `None` for `undefined`.
    Answer(Option<String>),
    /// To 7: how many clients of a server will acknowledge.
    ClientCount(u64),
    /// To 7: the first argument of a client's acknowledgement.
    Ack {
        /// JSON text; `None` for `undefined`.
        value: Option<String>,
        /// Bytes, in the order of their placeholders.
        attachments: Vec<Bytes>,
    },
}

/// A socket of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteSocket {
    /// Its id, also a room that it is in.
    pub(crate) id: Box<str>,
    /// The handshake as JSON text.
    pub(crate) handshake: Box<str>,
    /// Its rooms.
    pub(crate) rooms: Vec<Box<str>>,
    /// `socket.data` as JSON text, `{}` if it is missing.
    pub(crate) data: Box<str>,
}

/// Decodes a response to a request that asked for this. Placeholders are numbered from `first`.
pub(crate) fn decode(payload: &[u8], asked: Asked, first: usize) -> Result<Response, Malformed> {
    let (json, attachments) = json_of(payload, first)?;
    let wire: Incoming<'_> = serde_json::from_str(&json).map_err(|_| Malformed::Json)?;
    if !attachments.is_empty() && (asked != Asked::Broadcast || wire.kind != Some(ACK)) {
        return Err(Malformed::TooManyAttachments);
    }
    let text = |value: Option<&RawValue>| value.map(|value| value.get().to_owned());
    Ok(match (asked, wire.kind) {
        (Asked::AllRooms, _) => Response::Rooms(name::texts(wire.rooms.ok_or(Malformed::Missing("rooms"))?)),
        (Asked::Fetch, _) => {
            let sockets = wire.sockets.ok_or(Malformed::Missing("sockets"))?;
            Response::Sockets(sockets.into_iter().map(Into::into).collect())
        }
        (Asked::ServerSideEmit, _) => Response::Answer(text(wire.data)),
        (Asked::Broadcast, Some(CLIENT_COUNT)) => {
            Response::ClientCount(wire.client_count.ok_or(Malformed::Missing("clientCount"))?)
        }
        (Asked::Broadcast, Some(ACK)) => Response::Ack {
            value: text(wire.packet),
            attachments,
        },
        (Asked::Broadcast, _) => return Err(Malformed::Type("the response")),
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Incoming<'a> {
    #[serde(rename = "type")]
    kind: Option<u64>,
    rooms: Option<Vec<Name>>,
    #[serde(borrow)]
    sockets: Option<Vec<IncomingSocket<'a>>>,
    client_count: Option<u64>,
    // `null` is a value here, and not the same as nothing.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    packet: Option<&'a RawValue>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Debug, Deserialize)]
struct IncomingSocket<'a> {
    id: Name,
    #[serde(borrow)]
    handshake: &'a RawValue,
    rooms: Vec<Name>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl From<IncomingSocket<'_>> for RemoteSocket {
    fn from(socket: IncomingSocket<'_>) -> Self {
        Self {
            id: socket.id.into(),
            handshake: socket.handshake.get().into(),
            rooms: name::texts(socket.rooms),
            data: socket.data.map_or("{}", RawValue::get).into(),
        }
    }
}

/// A response to send. The order of the fields is the adapter's.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<Sockets<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<&'a [&'a str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_count: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Sockets<'a> {
    Ids(&'a [&'a str]),
    Whole(Vec<OutgoingSocket<'a>>),
}

#[derive(Debug, Serialize)]
struct OutgoingSocket<'a> {
    id: &'a str,
    handshake: &'a RawValue,
    rooms: &'a [&'a str],
    data: &'a RawValue,
}

impl<'a> OutgoingSocket<'a> {
    fn new(socket: &LocalSocket<'a>) -> Result<Self, Unfit> {
        Ok(Self {
            id: socket.id,
            handshake: raw(socket.handshake)?,
            rooms: socket.rooms,
            data: raw(socket.data)?,
        })
    }
}

impl Answered<'_> {
    fn encode(&self) -> Result<Vec<u8>, Unfit> {
        serde_json::to_vec(self).map_err(|_| Unfit::NotJson)
    }
}

/// A socket of this server, to be told to another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalSocket<'a> {
    /// Its id.
    pub(crate) id: &'a str,
    /// The handshake as JSON text.
    pub(crate) handshake: &'a str,
    /// Its rooms, its id among them.
    pub(crate) rooms: &'a [&'a str],
    /// `socket.data` as JSON text.
    pub(crate) data: &'a str,
}

/// To 0: ids of sockets.
pub(crate) fn socket_ids(id: &str, ids: &[&str]) -> Result<Vec<u8>, Unfit> {
    let (request_id, sockets) = (Some(id), Some(Sockets::Ids(ids)));
    Answered {
        request_id,
        sockets,
        ..Answered::default()
    }
    .encode()
}

/// To 1: names of rooms.
pub(crate) fn rooms(id: &str, rooms: &[&str]) -> Result<Vec<u8>, Unfit> {
    let (request_id, rooms) = (Some(id), Some(rooms));
    Answered {
        request_id,
        rooms,
        ..Answered::default()
    }
    .encode()
}

/// To 2, 3 and 4 in their older forms: done.
pub(crate) fn confirmation(id: &str) -> Result<Vec<u8>, Unfit> {
    let request_id = Some(id);
    Answered {
        request_id,
        ..Answered::default()
    }
    .encode()
}

/// To 5: sockets.
pub(crate) fn sockets(id: &str, sockets: &[LocalSocket<'_>]) -> Result<Vec<u8>, Unfit> {
    let request_id = Some(id);
    let sockets: Result<Vec<_>, Unfit> = sockets.iter().map(OutgoingSocket::new).collect();
    let sockets = Some(Sockets::Whole(sockets?));
    Answered {
        request_id,
        sockets,
        ..Answered::default()
    }
    .encode()
}

/// To 6: the JSON text that the callback was given; `None` for `undefined`. Goes to the common channel.
pub(crate) fn answer(id: &str, data: Option<&str>) -> Result<Vec<u8>, Unfit> {
    let (kind, request_id) = (Some(SERVER_SIDE_EMIT), Some(id));
    let data = data.map(raw).transpose()?;
    Answered {
        kind,
        request_id,
        data,
        ..Answered::default()
    }
    .encode()
}

/// To 7, at once, even when it is 0: how many clients will acknowledge.
pub(crate) fn client_count(id: &str, count: u64) -> Result<Vec<u8>, Unfit> {
    let (kind, request_id, client_count) = (Some(CLIENT_COUNT), Some(id), Some(count));
    Answered {
        kind,
        request_id,
        client_count,
        ..Answered::default()
    }
    .encode()
}

/// To 7, for each acknowledgement: `args`, the JSON array that the client sent, of which the first one travels.
pub(crate) fn ack(id: &str, args: &str, attachments: &[Bytes]) -> Result<Vec<u8>, Unfit> {
    let items = args.trim_start().strip_prefix('[').ok_or(Unfit::NotJson)?;
    let first = if items.trim_start().starts_with(']') {
        None
    } else {
        // Only the first argument is parsed.
        let mut items = serde_json::Deserializer::from_str(items).into_iter::<&RawValue>();
        Some(items.next().and_then(Result::ok).ok_or(Unfit::NotJson)?)
    };
    let mut out = Vec::with_capacity(64 + items.len() + attachments.iter().map(Bytes::len).sum::<usize>());
    let mut writer = Writer(&mut out);
    writer.map(if first.is_some() { 3 } else { 2 })?;
    writer.str("type")?;
    writer.uint(ACK)?;
    writer.str("requestId")?;
    writer.str(id)?;
    if let Some(first) = first {
        writer.str("packet")?;
        from_json(first.get(), attachments, writer.0)?;
    }
    Ok(out)
}

fn raw(json: &str) -> Result<&RawValue, Unfit> {
    serde_json::from_str(json).map_err(|_| Unfit::NotJson)
}

#[cfg(test)]
mod tests;

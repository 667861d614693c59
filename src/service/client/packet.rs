//! A packet of a client, its text still as it came, and what is read of it.

use std::fmt::Write as _;

use bytes::Bytes;

use super::payload::Payload;
use crate::{
    disconnect::DisconnectReason,
    error::{Error, Result},
    hub::Socket,
    wire::{
        json::{self, Args},
        packet::{Packet, PacketKind},
    },
};

/// An EVENT or ACK of a client, its text still as it came.
#[derive(Debug)]
pub struct ClientPacket<'a> {
    /// JSON array of arguments.
    pub args: &'a str,
    /// Binary attachments.
    pub attachments: Vec<Bytes>,
    /// Id under which the client awaits an acknowledgement, or which it acknowledges.
    pub id: Option<u64>,
}

/// The packet breaks the protocol: its connection is closed with `parse error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl From<Malformed> for DisconnectReason {
    fn from(_: Malformed) -> Self {
        Self::ParseError
    }
}

impl<'a> ClientPacket<'a> {
    /// Bytes of the packet, attachments included.
    pub(super) fn size(&self) -> usize {
        self.args.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// The arguments; an error when they are no array, or lack an attachment.
    pub(super) fn read(&self) -> std::result::Result<Args<'a>, Malformed> {
        let args = Args::read(self.args, self.attachments.len()).ok();
        args.filter(|args| args.is_complete).ok_or(Malformed)
    }
}

/// What the acknowledgement of an event holds besides `ok`.
pub(super) struct Done {
    /// JSON members.
    pub(super) members: String,
    /// Attachments of their placeholders.
    pub(super) attachments: Vec<Bytes>,
}

/// A built-in event with its first argument, read as an object.
pub(super) struct Call<'a> {
    /// The event, in canonical form.
    pub(super) name: &'a str,
    data: Option<Payload<'a>>,
    /// Further arguments, each behind a comma.
    rest: &'a str,
    pub(super) attachments: &'a [Bytes],
}

impl<'a> Call<'a> {
    /// Reads the first argument, if it is an object.
    pub(super) fn read(name: &'a str, args: &Args<'a>, attachments: &'a [Bytes]) -> Self {
        let data = args.second.and_then(Payload::read);
        Self {
            name,
            data: data.filter(|data| attachments.is_empty() || !data.is_placeholder),
            rest: args.rest,
            attachments,
        }
    }

    /// The first argument; an error when it is no object.
    pub(super) fn data(&self) -> Result<&Payload<'a>> {
        self.data
            .as_ref()
            .ok_or_else(|| invalid("the payload must be an object"))
    }

    /// The room id, a JSON string.
    pub(super) fn room_id(&self) -> Result<&'a str> {
        self.data()?;
        self.named_room().ok_or_else(|| invalid("roomId must be a string"))
    }

    /// The room id as it came, if it is a string: for the answer, whatever became of the event.
    pub(super) fn named_room(&self) -> Option<&'a str> {
        self.data.and_then(|data| data.room_id).filter(|id| json::is_string(id))
    }

    /// The acknowledgement of what was done with a room.
    pub(super) fn done(&self) -> Result<Done> {
        Ok(Done {
            members: format!("\"roomId\":{}", self.room_id()?),
            attachments: Vec::new(),
        })
    }

    /// The event as the other members get it: the sender is whom the server knows, not whom the client names.
    pub(super) fn relayed(&self, socket: &Socket) -> Result<Packet> {
        let fragment = &socket.identity().fragment;
        let data = self.data()?;
        let mut args = String::with_capacity(data.text.len() + self.rest.len() + self.name.len() + fragment.len() + 16);
        let _ = write!(args, "[\"{}\",{{", self.name);
        for (key, value) in json::members(data.text).into_iter().flatten() {
            if !matches!(&*json::canonical(key), "userId" | "username") {
                let _ = write!(args, "\"{key}\":{value},");
            }
        }
        args.push_str(fragment);
        args.push('}');
        args.push_str(self.rest);
        args.push(']');
        Ok(Packet::new(PacketKind::Event(None), &args, self.attachments.to_vec()))
    }
}

pub(super) fn invalid(text: &str) -> Error {
    Error::InvalidArgument(text.to_owned())
}

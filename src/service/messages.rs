//! Chat messages: stored, delivered and told in one order.

use std::{
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use bytes::{BufMut, Bytes};

use super::{Service, rooms::json_string};
use crate::{
    clock,
    error::{Error, Result},
    hub::{Except, Room, StoredMessage},
    ports::{EventKind, Fact, ServiceEvent},
    selection::Selection,
    wire::packet::{Packet, PacketKind},
};

/// The four kinds of chat messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageType {
    /// `text`.
    #[default]
    Text,
    /// `image`.
    Image,
    /// `file`.
    File,
    /// `system`.
    System,
}

impl MessageType {
    /// The type of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "image" => Some(Self::Image),
            "file" => Some(Self::File),
            "system" => Some(Self::System),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::File => "file",
            Self::System => "system",
        }
    }
}

/// A message on its way into a room. JSON parts are text as it came.
#[derive(Debug)]
pub struct NewMessage<'a> {
    /// `"userId":…,"username":…` as JSON.
    pub author: &'a str,
    /// A JSON string.
    pub content: &'a str,
    /// Its type.
    pub kind: MessageType,
    /// A JSON object.
    pub metadata: Option<&'a str>,
    /// Attachments of placeholders in the metadata.
    pub attachments: Vec<Bytes>,
}

/// A part of a room's history. Without `after`, its newest messages, or those before `before`; with it the oldest after.
#[derive(Debug)]
pub struct PageRange {
    /// The id of the message behind the last one.
    pub before: Option<String>,
    /// The id of the message before the first one.
    pub after: Option<String>,
    /// How many messages at most.
    pub limit: usize,
}

/// Messages of a room, the oldest first.
#[derive(Debug)]
pub struct Page {
    /// The messages, a mebibyte at most or a single one; of those with attachments one at most, because those of several do
    /// not go into one packet.
    pub messages: Vec<Arc<StoredMessage>>,
    /// Whether there are more in the direction that was asked for.
    pub has_more: bool,
}

impl Service {
    /// `sendMessage`.
    pub fn send_message(&self, room_id: &str, message: NewMessage<'_>) -> Result<Arc<StoredMessage>> {
        let room = self.hub.room(room_id).ok_or(Error::RoomNotFound)?;
        let now = self.clock.called();
        self.keep(&room, message, None, now, self.config.deliver_messages)
    }

    /// The author fragment for a user id: with the name of the person's first socket, if there is one.
    pub fn author(&self, user_id: &str) -> String {
        match self.hub.sockets_anywhere(user_id).first() {
            Some(socket) => socket.identity().fragment.to_string(),
            None => format!("\"userId\":{}", json_string(user_id)),
        }
    }

    /// Stores and delivers a message. With `author`, only if that socket is a member.
    pub(super) fn post(
        &self,
        room: &Arc<Room>,
        message: NewMessage<'_>,
        author: Option<u64>,
        now: u64,
    ) -> Result<Arc<StoredMessage>> {
        self.keep(room, message, author, now, true)
    }

    /// Stores a message and tells of it; delivers it to the clients of all servers if it is to be.
    fn keep(
        &self,
        room: &Arc<Room>,
        message: NewMessage<'_>,
        author: Option<u64>,
        now: u64,
        delivers: bool,
    ) -> Result<Arc<StoredMessage>> {
        let packet = encode(room, message, now);
        let mut state = room.state();
        if state.deleted {
            return Err(Error::RoomNotFound);
        }
        if author.is_some_and(|key| !state.members.contains(key)) {
            return Err(Error::NotAMember);
        }
        let stored = state.history.push(packet, now, &self.config.history);
        // Told first, so that JavaScript has heard of it when a client in the same process receives it.
        self.tell(EventKind::Message, || {
            ServiceEvent::Message(room.clone(), stored.clone())
        });
        let recipients = match delivers {
            true => self
                .fanout
                .send_many(&state.members, &Except::new(), &stored.packet, || {
                    self.publish(&Selection::room(&room.info.id), &stored.packet, Fact::Message(now));
                }),
            false => 0,
        };
        self.hub
            .metrics
            .traffic
            .record(now, 1, (stored.packet.len() as u64).saturating_mul(recipients as u64));
        if let Some(peers) = self.peers().filter(|_| !delivers) {
            peers.stored(&room.info.id, &stored.packet, now);
        }
        Ok(stored)
    }

    /// Positions of the messages that a room keeps.
    pub fn kept_messages(&self, room_id: &str) -> Option<Range<u64>> {
        self.hub.room(room_id).map(|room| {
            let mut state = room.state();
            state.history.prune(self.clock.called(), &self.config.history);
            state.history.positions()
        })
    }

    /// Has a room's messages read back if they are kept outside this process, too. Comes before a look at them.
    pub fn restore(&self, room_id: &str) {
        if let Some(peers) = self.peers()
            && let Some(room) = self.hub.room(room_id)
            && !room.state().history.is_restored
        {
            peers.restore(&room);
        }
    }

    /// A page of the kept messages of a room.
    pub(super) fn page(&self, room: &Room, range: &PageRange) -> Result<Page> {
        let mut state = room.state();
        state.history.prune(self.clock.now(), &self.config.history);
        let mut position = |name, id: &Option<String>| match id {
            Some(id) => state.history.position(id).map(Some).ok_or(Error::MessageNotFound(name)),
            None => Ok(None),
        };
        let (before, after) = (position("before", &range.before)?, position("after", &range.after)?);
        let first = after.map_or(0, |after| after + 1);
        // The first message has one before it: see `FIRST_SEQ`.
        let positions = first..=before.map_or(u64::MAX, |before| before - 1);
        let kept = state.history.range(positions);
        Ok(match after {
            Some(_) => page_of(kept, range.limit),
            None => {
                let mut page = page_of(kept.rev(), range.limit);
                page.messages.reverse();
                page
            }
        })
    }

    /// The kept messages at these positions, newest first, behind the position of the oldest kept message.
    pub fn messages(&self, room_id: &str, positions: RangeInclusive<u64>) -> (u64, Vec<Arc<StoredMessage>>) {
        self.hub.room(room_id).map_or((0, Vec::new()), |room| {
            let mut state = room.state();
            state.history.prune(self.clock.called(), &self.config.history);
            let messages = state.history.range(positions).rev().cloned().collect();
            (state.history.first_seq(), messages)
        })
    }
}

/// Bytes of the messages of a page, of which the first may be larger by itself.
const PAGE_BYTES: usize = 1 << 20;

fn page_of<'a>(kept: impl Iterator<Item = &'a Arc<StoredMessage>>, limit: usize) -> Page {
    let (mut messages, mut has_attachments, mut bytes) = (Vec::new(), false, 0);
    for message in kept {
        let attaches = !message.packet.attachments().is_empty();
        bytes += message.packet.len();
        let is_full = messages.len() == limit || (bytes > PAGE_BYTES && !messages.is_empty());
        if is_full || (attaches && has_attachments) {
            return Page {
                messages,
                has_more: true,
            };
        }
        has_attachments |= attaches;
        messages.push(message.clone());
    }
    Page {
        messages,
        has_more: false,
    }
}

fn encode(room: &Room, message: NewMessage<'_>, now: u64) -> Packet {
    let NewMessage {
        author,
        content,
        kind,
        metadata,
        attachments,
    } = message;
    let size = content.len() + metadata.map_or(0, str::len) + author.len() + room.info.id.len() + 160;
    let mut id = uuid::Uuid::encode_buffer();
    let id: &str = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut id);
    Packet::build(PacketKind::Event(None), attachments, size, |buffer| {
        buffer.put_slice(b"[\"message\",{\"id\":\"");
        buffer.put_slice(id.as_bytes());
        buffer.put_slice(b"\",\"roomId\":");
        buffer.put_slice(json_string(&room.info.id).as_bytes());
        buffer.put_u8(b',');
        buffer.put_slice(author.as_bytes());
        buffer.put_slice(b",\"content\":");
        buffer.put_slice(content.as_bytes());
        buffer.put_slice(b",\"type\":\"");
        buffer.put_slice(kind.name().as_bytes());
        buffer.put_u8(b'"');
        if let Some(metadata) = metadata {
            buffer.put_slice(b",\"metadata\":");
            buffer.put_slice(metadata.as_bytes());
        }
        buffer.put_slice(b",\"timestamp\":\"");
        buffer.put_slice(clock::iso(now).as_bytes());
        buffer.put_slice(b"\"}]");
    })
}

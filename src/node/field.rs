//! Values on their way to JavaScript, in flat arrays: cheaper to make than nested objects.

use napi::bindgen_prelude::{Buffer, Either4, Null};

use super::protocol::Tag;
use crate::{
    error::Error,
    hub::{Room, Socket, StoredMessage},
    ports::ServiceEvent,
    transport::Reply,
    wire::packet::{Packet, PacketKind},
};

/// A string, a number (booleans are 0 and 1), bytes or null.
pub(super) type Field = Either4<String, f64, Buffer, Null>;

/// Appends values to a flat array.
#[derive(Default)]
pub(super) struct Fields(Vec<Field>);

impl Fields {
    pub(super) fn text(&mut self, text: impl Into<String>) -> &mut Self {
        self.0.push(Either4::A(text.into()));
        self
    }

    /// What is told, in front of its parts.
    pub(super) fn tag(&mut self, tag: Tag) -> &mut Self {
        self.number(tag as u8)
    }

    pub(super) fn number(&mut self, number: impl Into<f64>) -> &mut Self {
        self.0.push(Either4::B(number.into()));
        self
    }

    /// An integer; those of JavaScript are exact to 2^53, which times, ids and positions never reach.
    pub(super) fn integer(&mut self, number: u64) -> &mut Self {
        self.number(number as f64)
    }

    pub(super) fn flag(&mut self, flag: bool) -> &mut Self {
        self.number(u8::from(flag))
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.push(Either4::C(bytes.to_vec().into()));
        self
    }

    pub(super) fn optional(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => {
                self.0.push(Either4::D(Null));
                self
            }
        }
    }

    /// How many attachments, then each.
    pub(super) fn attachments(&mut self, attachments: &[bytes::Bytes]) -> &mut Self {
        self.integer(attachments.len() as u64);
        for attachment in attachments {
            self.bytes(attachment);
        }
        self
    }

    /// Position, JSON and attachments of a message.
    pub(super) fn message(&mut self, message: &StoredMessage) -> &mut Self {
        self.integer(message.seq)
            .text(message.json())
            .attachments(message.packet.attachments())
    }

    /// Socket id, user id, name, handshake, connection time, and the profile of a user of another instance: what
    /// JavaScript makes a user of.
    pub(super) fn record(&mut self, socket: &Socket) -> &mut Self {
        socket.touch();
        let identity = socket.identity();
        self.text(socket.id())
            .text(&*identity.user_id)
            .optional(identity.username.as_deref())
            .text(socket.handshake())
            .integer(socket.connected_at)
            .optional(socket.profile().filter(|_| socket.is_remote() || socket.is_inherited()))
    }

    /// Id, name, label, creation time, creator and metadata: what JavaScript makes a room of.
    pub(super) fn room(&mut self, room: &Room) -> &mut Self {
        room.touch();
        let info = &room.info;
        self.text(&*info.id)
            .text(&*info.name)
            .text(&*info.label)
            .integer(info.created_at)
            .optional(info.created_by.as_deref())
            .optional(info.metadata.as_deref())
    }

    /// An event about a socket in a room, after the record of the room unless JavaScript has it.
    fn in_room(&mut self, tag: Tag, socket: &Socket, room: &Room) -> &mut Self {
        if !room.touch() {
            self.tag(Tag::Room).room(room);
        }
        self.tag(tag).socket(socket).text(&*room.info.id)
    }

    /// Socket id, then the rest of the record, or null when JavaScript has it already.
    fn socket(&mut self, socket: &Socket) -> &mut Self {
        if socket.touch() {
            self.text(socket.id()).optional(None)
        } else {
            self.record(socket)
        }
    }

    pub(super) fn into_vec(self) -> Vec<Field> {
        self.0
    }

    /// Appends an event: its number, then its parts. `lib/native/events.ts` reads what is written here.
    pub(super) fn event(&mut self, event: &ServiceEvent) {
        match event {
            ServiceEvent::Connection(socket) => self.tag(Tag::Connection).socket(socket),
            ServiceEvent::Disconnect(socket, reason, rooms) => {
                self.tag(Tag::Disconnect)
                    .socket(socket)
                    .text(reason.as_str())
                    .integer(rooms.len() as u64);
                for room in rooms {
                    self.text(&*room.info.id);
                }
                self
            }
            ServiceEvent::Message(room, message) => {
                let first = room.state().history.first_seq();
                self.tag(Tag::Message)
                    .text(&*room.info.id)
                    .integer(first)
                    .message(message)
            }
            ServiceEvent::RoomJoin(socket, room) => self.in_room(Tag::RoomJoin, socket, room),
            ServiceEvent::RoomLeave(socket, room) => self.in_room(Tag::RoomLeave, socket, room),
            ServiceEvent::Typing(socket, room, typing) => self.in_room(Tag::Typing, socket, room).flag(*typing),
            ServiceEvent::Client {
                socket,
                args,
                attachments,
                ack,
            } => self
                .tag(Tag::Client)
                .socket(socket)
                .text(String::from_utf8_lossy(args))
                .number(ack.map_or(-1.0, |id| id as f64))
                .attachments(attachments),
            ServiceEvent::Ack {
                socket,
                id,
                args,
                attachments,
            } => self
                .tag(Tag::Ack)
                .text(socket.id())
                .integer(*id)
                .text(String::from_utf8_lossy(args))
                .attachments(attachments),
            ServiceEvent::AckRefused(socket, id, error) => self
                .tag(Tag::AckRefused)
                .text(socket.id())
                .integer(*id)
                .text(error.code())
                .text(error.to_string()),
            ServiceEvent::ConnectionError { limit, address } => {
                let refused = Reply::beyond(*limit);
                self.tag(Tag::ConnectionError)
                    .text(limit.name())
                    .text(address)
                    .number(refused.status)
                    .text(refused.message())
            }
            ServiceEvent::TokenExpiring(socket, at) => self.tag(Tag::TokenExpiring).socket(socket).integer(*at),
            ServiceEvent::Away(socket, reason) => self.tag(Tag::Away).socket(socket).text(reason.as_str()),
            ServiceEvent::Recovered(socket) => self.tag(Tag::Recovered).socket(socket).text(socket.handshake()),
            ServiceEvent::Authorize {
                socket,
                number,
                verb,
                room,
                args,
                attachments,
            } => self
                .in_room(Tag::Authorize, socket, room)
                .integer(*number)
                .text(*verb)
                .text(String::from_utf8_lossy(args))
                .attachments(attachments),
            ServiceEvent::Abandoned(socket) => self.tag(Tag::Abandoned).text(socket.id()),
            ServiceEvent::Admission(socket) => {
                socket.touch();
                self.tag(Tag::Admission)
                    .integer(socket.key())
                    .text(socket.id())
                    .text(socket.handshake())
                    .integer(socket.connected_at)
            }
            ServiceEvent::Deliver(socket, packet) => {
                let ack = match packet.kind() {
                    PacketKind::Ack(id) => id as f64,
                    PacketKind::Event(_) => -1.0,
                };
                self.tag(Tag::Deliver).text(socket.id()).number(ack).packet(packet)
            }
            ServiceEvent::RoomForgotten(room) => self.tag(Tag::RoomForgotten).text(&*room.info.id),
            ServiceEvent::Cluster(status) => self.tag(Tag::Cluster).text(*status),
            ServiceEvent::ServerSide { args, ack } => self
                .tag(Tag::ServerSide)
                .text(String::from_utf8_lossy(args))
                .number(ack.map_or(-1.0, |id| id as f64)),
            ServiceEvent::DataWanted(id, sockets) => {
                self.tag(Tag::DataWanted).integer(*id).integer(sockets.len() as u64);
                for socket in sockets {
                    self.text(socket.id());
                }
                self
            }
            ServiceEvent::Answered {
                id,
                error,
                json,
                attachments,
            } => self
                .tag(Tag::Answered)
                .integer(*id)
                .optional(error.as_ref().map(Error::code))
                .optional(error.as_ref().map(Error::to_string).as_deref())
                .text(&**json)
                .attachments(attachments),
            ServiceEvent::Warning(text) => self.tag(Tag::Log).text("warn").text(text),
            ServiceEvent::Fault(code, message) => self.tag(Tag::Fault).text(*code).text(message),
        };
    }

    fn packet(&mut self, packet: &Packet) -> &mut Self {
        self.text(packet.args()).attachments(packet.attachments())
    }
}

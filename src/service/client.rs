//! What clients send: the five built-in events, relays, and events of the application's own (contract, section 5).

mod payload;

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;

use self::payload::Payload;
use super::{MessageType, NewMessage, Service, acks, rooms::json_string};
use crate::{
    error::{Error, Result},
    hub::{Room, Socket},
    ports::{Fact, ServiceEvent},
    wire::{
        json::{self, Args},
        packet::{MOST_PUBLISHED, Packet, PacketKind, RESERVED_EVENTS},
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

impl Service {
    /// Handles a client's event. Called in the order in which the client sent them.
    pub fn client_event(&self, socket: &Arc<Socket>, packet: ClientPacket<'_>) -> std::result::Result<(), Malformed> {
        let now = self.clock.now();
        let size = size_of(&packet);
        self.hub.stats.record(now, 0, size as u64);
        if packet.args.is_empty() {
            return Ok(());
        }
        let args = read(&packet)?;
        let name = json::event_name(packet.args).ok_or(Malformed)?;
        if RESERVED_EVENTS.contains(&name.as_ref()) {
            return Err(Malformed);
        }
        let _change = self.change();
        if !socket.is_connected() {
            return Ok(());
        }
        socket.touch_activity(now);
        let built_in = match self.check_bounds(&args, size) {
            Ok(()) => self.built_in(socket, &name, &args, &packet),
            Err(error) => Some((None, Err(error))),
        };
        if let Some((room_id, outcome)) = &built_in {
            self.answer(socket, &name, &packet, *room_id, outcome);
        }
        if let Some((_, Err(Error::TooDeep(_) | Error::TooLarge(_)))) = built_in {
            // Nor could JavaScript send it on.
            return Ok(());
        }
        if socket.is_heard(&name) || (built_in.is_none() && !socket.is_settled()) {
            let event = ServiceEvent::Client {
                socket: socket.clone(),
                args: Bytes::copy_from_slice(packet.args.as_bytes()),
                attachments: packet.attachments,
                // A built-in event is acknowledged by the service alone.
                ack: packet.id.filter(|_| built_in.is_none()),
            };
            socket.with_rooms(|_| self.sink().emit(event));
        }
        Ok(())
    }

    /// Handles a client's acknowledgement.
    pub fn client_ack(&self, socket: &Arc<Socket>, packet: ClientPacket<'_>) -> std::result::Result<(), Malformed> {
        let Some(id) = packet.id else { return Ok(()) };
        let args = read(&packet)?;
        if !socket.take_ack(id) {
            return Ok(());
        }
        if let Err(error) = self.check_bounds(&args, size_of(&packet)) {
            self.send_to(socket, failure(None, None, &error), false);
            if id < acks::FIRST_ID {
                self.sink().emit(ServiceEvent::AckRefused(socket.clone(), id, error));
            }
        } else if id >= acks::FIRST_ID {
            self.collect_ack(id, &packet);
        } else {
            self.sink().emit(ServiceEvent::Ack {
                socket: socket.clone(),
                id,
                args: Bytes::copy_from_slice(packet.args.as_bytes()),
                attachments: packet.attachments,
            });
        }
        Ok(())
    }

    /// Whether a packet may go wherever a packet can go.
    fn check_bounds(&self, args: &Args<'_>, size: usize) -> Result<()> {
        let most = self.config.limits.max_depth;
        if args.depth > most {
            return Err(Error::TooDeep(most));
        }
        if size > MOST_PUBLISHED && self.peers().is_some() {
            return Err(Error::TooLarge(MOST_PUBLISHED));
        }
        Ok(())
    }

    /// Runs a built-in event. Returns the room id it named, a JSON string, and its outcome: JSON members for the
    /// acknowledgement.
    fn built_in<'a>(
        &self,
        socket: &Arc<Socket>,
        name: &str,
        args: &Args<'a>,
        packet: &ClientPacket<'_>,
    ) -> Option<(Option<&'a str>, Result<String>)> {
        let handle: fn(&Self, &Arc<Socket>, &Call<'_>) -> Result<String> = match name {
            "room:join" => Self::client_join,
            "room:leave" => Self::client_leave,
            "message" => Self::client_message,
            "typing" => Self::client_typing,
            relayed if self.config.relay_events.iter().any(|event| event == relayed) => Self::client_relay,
            _ => return None,
        };
        let data = args.second.and_then(Payload::read);
        let data = data.filter(|data| packet.attachments.is_empty() || !data.is_placeholder);
        let room_id = data.and_then(|data| data.room_id);
        let call = Call {
            name,
            data,
            rest: args.rest,
            attachments: &packet.attachments,
        };
        let outcome = handle(self, socket, &call);
        Some((room_id.filter(|id| json::is_string(id)), outcome))
    }

    fn client_join(&self, socket: &Arc<Socket>, call: &Call<'_>) -> Result<String> {
        let room = self.named(call)?.ok_or(Error::UserOrRoomNotFound)?;
        self.join(socket, &room)?;
        call.done()
    }

    fn client_leave(&self, socket: &Arc<Socket>, call: &Call<'_>) -> Result<String> {
        if let Some(room) = self.named(call)? {
            self.leave(socket, &room);
        }
        call.done()
    }

    fn client_message(&self, socket: &Arc<Socket>, call: &Call<'_>) -> Result<String> {
        let room = self.room_to_write(socket, call)?;
        let data = call.data()?;
        let content = data.content.filter(|content| json::is_string(content));
        let content = content.ok_or_else(|| invalid("content must be a string"))?;
        let kind = match data.kind {
            None => MessageType::default(),
            Some(kind) => json::string(kind)
                .and_then(|name| MessageType::parse(&name))
                .ok_or_else(|| invalid("type must be one of text, image, file, system"))?,
        };
        if data.metadata.is_some_and(|metadata| !metadata.starts_with('{')) {
            return Err(invalid("metadata must be an object"));
        }
        let message = NewMessage {
            author: &socket.identity().fragment,
            content,
            kind,
            metadata: data.metadata,
            attachments: call.attachments.to_vec(),
        };
        let member = self.config.require_membership.then(|| socket.key());
        let stored = while_connected(socket, || self.post(&room, message, member, self.clock.now()))?;
        Ok(format!("\"message\":{}", stored.json()))
    }

    fn client_typing(&self, socket: &Arc<Socket>, call: &Call<'_>) -> Result<String> {
        let room = self.room_to_write(socket, call)?;
        let is_typing = match call.data()?.is_typing {
            Some("true") => true,
            Some("false") => false,
            _ => return Err(invalid("isTyping must be a boolean")),
        };
        while_connected(socket, || {
            let mut state = room.state();
            if state.members.set_typing(socket.key(), is_typing).is_none() && self.config.require_membership {
                return Err(Error::NotAMember);
            }
            self.send_typing(&state, socket, &room, is_typing);
            Ok(())
        })?;
        call.done()
    }

    fn client_relay(&self, socket: &Arc<Socket>, call: &Call<'_>) -> Result<String> {
        let room = self.room_to_write(socket, call)?;
        let packet = call.relayed(socket)?;
        while_connected(socket, || {
            let state = room.state();
            if self.config.require_membership && !state.members.contains(socket.key()) {
                return Err(Error::NotAMember);
            }
            self.send_to_others(&state, socket, &room, &packet, Fact::None);
            Ok(())
        })?;
        call.done()
    }

    /// The room that a call names, if there is one.
    fn named(&self, call: &Call<'_>) -> Result<Option<Arc<Room>>> {
        let room_id = call.room_id()?;
        // No room has an id that Rust cannot hold.
        Ok(json::string(room_id).and_then(|id| self.hub.room(&id)))
    }

    /// The room that a call writes to. Who may not is turned away before more of the payload is read, or anything is
    /// made of it; when the packet is handed in, membership is looked at again.
    fn room_to_write(&self, socket: &Socket, call: &Call<'_>) -> Result<Arc<Room>> {
        let room = self.named(call)?.ok_or(Error::RoomNotFound)?;
        if self.config.require_membership && !room.state().members.contains(socket.key()) {
            return Err(Error::NotAMember);
        }
        Ok(room)
    }

    /// Tells the client how its event went: the acknowledgement if it asked for one, and `error` if it failed.
    fn answer(
        &self,
        socket: &Arc<Socket>,
        event: &str,
        packet: &ClientPacket<'_>,
        room_id: Option<&str>,
        outcome: &Result<String>,
    ) {
        let mut attachments = Vec::new();
        let body = match outcome {
            Ok(members) => {
                // Only a message comes back with what it holds.
                if event == "message" {
                    attachments.clone_from(&packet.attachments);
                }
                format!("[{{\"ok\":true,{members}}}]")
            }
            Err(error) => {
                self.send_to(socket, failure(Some(event), room_id, error), false);
                format!(
                    "[{{\"ok\":false,\"error\":{{\"code\":\"{}\",\"message\":{}}}}}]",
                    error.code(),
                    json_string(&error.to_string())
                )
            }
        };
        if let Some(id) = packet.id {
            self.send_to(socket, Packet::new(PacketKind::Ack(id), &body, attachments), false);
        }
    }
}

/// Bytes of a packet, attachments included.
fn size_of(packet: &ClientPacket<'_>) -> usize {
    packet.args.len() + packet.attachments.iter().map(Bytes::len).sum::<usize>()
}

/// The arguments of a packet; an error when they are no array, or lack an attachment.
fn read<'a>(packet: &ClientPacket<'a>) -> std::result::Result<Args<'a>, Malformed> {
    let args = Args::read(packet.args, packet.attachments.len()).ok();
    args.filter(|args| args.is_complete).ok_or(Malformed)
}

/// A built-in event with its first argument, read as an object.
struct Call<'a> {
    name: &'a str,
    data: Option<Payload<'a>>,
    /// Further arguments, each behind a comma.
    rest: &'a str,
    attachments: &'a [Bytes],
}

impl<'a> Call<'a> {
    fn data(&self) -> Result<&Payload<'a>> {
        self.data
            .as_ref()
            .ok_or_else(|| invalid("the payload must be an object"))
    }

    /// The room id, a JSON string.
    fn room_id(&self) -> Result<&'a str> {
        let room_id = self.data()?.room_id.filter(|id| json::is_string(id));
        room_id.ok_or_else(|| invalid("roomId must be a string"))
    }

    /// The acknowledgement of what was done with a room.
    fn done(&self) -> Result<String> {
        Ok(format!("\"roomId\":{}", self.room_id()?))
    }

    /// The event as the other members get it: the sender is whom the server knows, not whom the client names.
    fn relayed(&self, socket: &Socket) -> Result<Packet> {
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

/// Runs a step that is told of, unless the socket has gone: what it did is told before its end.
fn while_connected<R>(socket: &Socket, step: impl FnOnce() -> Result<R>) -> Result<R> {
    socket.with_rooms(|_| step()).unwrap_or(Err(Error::UserNotFound))
}

fn invalid(text: &str) -> Error {
    Error::InvalidArgument(text.to_owned())
}

/// What the client is told of an event of this name, or of an acknowledgement, that failed. The room id is JSON.
fn failure(event: Option<&str>, room_id: Option<&str>, error: &Error) -> Packet {
    let message = match (event, error) {
        (_, Error::UserNotFound) => "User not found".to_owned(),
        (None, _) => format!("An acknowledgement is {error}"),
        (Some(event), Error::TooDeep(_) | Error::TooLarge(_)) => format!("{event} is {error}"),
        (Some("room:join"), _) => "Failed to join room".to_owned(),
        (Some("room:leave"), _) => "Failed to leave room".to_owned(),
        (Some("message"), _) => "Failed to send message".to_owned(),
        (Some("typing"), _) => "Failed to send typing indicator".to_owned(),
        (Some(other), _) => format!("Failed to relay {other}"),
    };
    // The name is in canonical form, and so stands between quotes as it is.
    let mut body = format!("{{\"message\":{},\"code\":\"{}\"", json_string(&message), error.code());
    if let Some(event) = event {
        let _ = write!(body, ",\"event\":\"{event}\"");
    }
    if let Some(room_id) = room_id {
        let _ = write!(body, ",\"roomId\":{room_id}");
    }
    body.push('}');
    Packet::event("error", &body)
}

#[cfg(test)]
mod tests;

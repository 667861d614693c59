//! What clients send: the five built-in events, relays, and events of the application's own (contract, section 5).

use std::{borrow::Cow, fmt::Write as _, sync::Arc};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    MessageType, NewMessage, Service, acks,
    payload::{self, Object},
    rooms::json_string,
};
use crate::{
    error::{Error, Result},
    event::{Fact, ServiceEvent},
    hub::User,
    packet::{Packet, PacketKind, RESERVED_EVENTS},
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
    pub fn client_event(&self, user: &Arc<User>, packet: ClientPacket<'_>) -> std::result::Result<(), Malformed> {
        let now = self.clock.now();
        let size = packet.args.len() + packet.attachments.iter().map(Bytes::len).sum::<usize>();
        self.hub.stats.record(now, 0, size as u64);
        if packet.args.is_empty() {
            return Ok(());
        }
        let args: Vec<&RawValue> = serde_json::from_str(packet.args).map_err(|_| Malformed)?;
        let first = *args.first().ok_or(Malformed)?;
        let name = event_name(first).ok_or(Malformed)?;
        if RESERVED_EVENTS.contains(&name.as_ref())
            || (!packet.attachments.is_empty() && !payload::placeholders_fit(packet.args, packet.attachments.len()))
        {
            return Err(Malformed);
        }
        let _change = self.change();
        if !user.is_connected() {
            return Ok(());
        }
        user.touch_activity(now);
        let built_in = self.built_in(user, &name, &args, &packet);
        if let Some((room_id, outcome)) = &built_in {
            self.answer(user, &name, packet.id, room_id.as_deref(), outcome);
        }
        if user.is_heard(&name) || (built_in.is_none() && !user.is_settled()) {
            let event = ServiceEvent::Client {
                user: user.clone(),
                args: Bytes::copy_from_slice(packet.args.as_bytes()),
                attachments: packet.attachments,
                // A built-in event is acknowledged by the service alone.
                ack: packet.id.filter(|_| built_in.is_none()),
            };
            user.with_rooms(|_| self.sink().emit(event));
        }
        Ok(())
    }

    /// Handles a client's acknowledgement.
    pub fn client_ack(&self, user: &Arc<User>, packet: ClientPacket<'_>) -> std::result::Result<(), Malformed> {
        let Some(id) = packet.id else { return Ok(()) };
        if serde_json::from_str::<Vec<&RawValue>>(packet.args).is_err()
            || (!packet.attachments.is_empty() && !payload::placeholders_fit(packet.args, packet.attachments.len()))
        {
            return Err(Malformed);
        }
        if !user.take_ack(id) {
            return Ok(());
        }
        if id >= acks::FIRST_ID {
            self.collect_ack(id, &packet);
        } else {
            self.sink().emit(ServiceEvent::Ack {
                user: user.clone(),
                id,
                args: Bytes::copy_from_slice(packet.args.as_bytes()),
                attachments: packet.attachments,
            });
        }
        Ok(())
    }

    /// Runs a built-in event. Returns the room id it named and its outcome: JSON members for the acknowledgement.
    fn built_in(
        &self,
        user: &Arc<User>,
        name: &str,
        args: &[&RawValue],
        packet: &ClientPacket<'_>,
    ) -> Option<(Option<String>, Result<String>)> {
        let handle: fn(&Self, &Arc<User>, &Call<'_>) -> Result<String> = match name {
            "room:join" => Self::client_join,
            "room:leave" => Self::client_leave,
            "message" => Self::client_message,
            "typing" => Self::client_typing,
            relayed if self.config.relay_events.iter().any(|event| event == relayed) => Self::client_relay,
            _ => return None,
        };
        let call = Call {
            name,
            data: args.get(1).and_then(|raw| Object::parse(raw)),
            rest: args.get(2..).unwrap_or(&[]),
            attachments: &packet.attachments,
        };
        let room_id = call
            .data
            .as_ref()
            .and_then(|data| data.string("roomId"))
            .map(Cow::into_owned);
        let outcome = handle(self, user, &call);
        Some((room_id, outcome))
    }

    fn client_join(&self, user: &Arc<User>, call: &Call<'_>) -> Result<String> {
        let room_id = call.room_id()?;
        let room = self.hub.room(&room_id).ok_or(Error::UserOrRoomNotFound)?;
        self.join(user, &room)?;
        Ok(format!("\"roomId\":{}", json_string(&room_id)))
    }

    fn client_leave(&self, user: &Arc<User>, call: &Call<'_>) -> Result<String> {
        let room_id = call.room_id()?;
        if let Some(room) = self.hub.room(&room_id) {
            self.leave(user, &room);
        }
        Ok(format!("\"roomId\":{}", json_string(&room_id)))
    }

    fn client_message(&self, user: &Arc<User>, call: &Call<'_>) -> Result<String> {
        let room_id = call.room_id()?;
        let data = call.data()?;
        let content = data.get("content").filter(|raw| payload::is_string(raw));
        let content = content.ok_or_else(|| invalid("content must be a string"))?;
        let kind = match data.get("type") {
            None => MessageType::default(),
            Some(raw) => payload::string(raw)
                .and_then(|name| MessageType::parse(&name))
                .ok_or_else(|| invalid("type must be one of text, image, file, system"))?,
        };
        let metadata = data.get("metadata");
        if metadata.is_some_and(|raw| !payload::is_object(raw)) {
            return Err(invalid("metadata must be an object"));
        }
        let room = self.hub.room(&room_id).ok_or(Error::RoomNotFound)?;
        let message = NewMessage {
            author: &user.identity().fragment,
            content: content.get(),
            kind,
            metadata: metadata.map(RawValue::get),
            attachments: call.attachments.to_vec(),
        };
        let member = self.config.require_membership.then(|| user.key());
        let stored = while_connected(user, || self.post(&room, message, member, self.clock.now()))?;
        Ok(format!("\"message\":{}", stored.json()))
    }

    fn client_typing(&self, user: &Arc<User>, call: &Call<'_>) -> Result<String> {
        let room_id = call.room_id()?;
        let is_typing = call.data()?.get("isTyping").and_then(payload::boolean);
        let is_typing = is_typing.ok_or_else(|| invalid("isTyping must be a boolean"))?;
        let room = self.hub.room(&room_id).ok_or(Error::RoomNotFound)?;
        while_connected(user, || {
            let mut state = room.state();
            if state.members.set_typing(user.key(), is_typing).is_none() && self.config.require_membership {
                return Err(Error::NotAMember);
            }
            self.send_typing(&state, user, &room, is_typing);
            Ok(())
        })?;
        Ok(format!("\"roomId\":{}", json_string(&room_id)))
    }

    fn client_relay(&self, user: &Arc<User>, call: &Call<'_>) -> Result<String> {
        let room_id = call.room_id()?;
        let room = self.hub.room(&room_id).ok_or(Error::RoomNotFound)?;
        let packet = call.relayed(user)?;
        while_connected(user, || {
            let state = room.state();
            if self.config.require_membership && !state.members.contains(user.key()) {
                return Err(Error::NotAMember);
            }
            self.send_to_others(&state, user, &room, &packet, Fact::None);
            Ok(())
        })?;
        Ok(format!("\"roomId\":{}", json_string(&room_id)))
    }

    /// Tells the client how its event went: the acknowledgement if it asked for one, and `error` if it failed.
    fn answer(&self, user: &Arc<User>, event: &str, id: Option<u64>, room_id: Option<&str>, outcome: &Result<String>) {
        let body = match outcome {
            Ok(members) => format!("[{{\"ok\":true,{members}}}]"),
            Err(error) => {
                self.send_to(user, failure(event, room_id, error), false);
                format!(
                    "[{{\"ok\":false,\"error\":{{\"code\":\"{}\",\"message\":{}}}}}]",
                    error.code(),
                    json_string(&error.to_string())
                )
            }
        };
        if let Some(id) = id {
            self.send_to(user, Packet::new(PacketKind::Ack(id), &body, Vec::new()), false);
        }
    }
}

/// A built-in event with its first argument, read as an object.
struct Call<'a> {
    name: &'a str,
    data: Option<Object<'a>>,
    rest: &'a [&'a RawValue],
    attachments: &'a [Bytes],
}

impl Call<'_> {
    fn data(&self) -> Result<&Object<'_>> {
        self.data
            .as_ref()
            .ok_or_else(|| invalid("the payload must be an object"))
    }

    fn room_id(&self) -> Result<String> {
        let room_id = self.data()?.string("roomId");
        room_id
            .map(Cow::into_owned)
            .ok_or_else(|| invalid("roomId must be a string"))
    }

    /// The event as the other members get it: the sender is whom the server knows, not whom the client names.
    fn relayed(&self, user: &User) -> Result<Packet> {
        let mut args = format!("[{},{{", json_string(self.name));
        for (key, value) in self.data()?.members() {
            if key != "userId" && key != "username" {
                let _ = write!(args, "{}:{},", json_string(key), value.get());
            }
        }
        args.push_str(&user.identity().fragment);
        args.push('}');
        for value in self.rest {
            args.push(',');
            args.push_str(value.get());
        }
        args.push(']');
        Ok(Packet::new(PacketKind::Event(None), &args, self.attachments.to_vec()))
    }
}

/// Runs a step that is told of, unless the socket has gone: what it did is told before its end.
fn while_connected<R>(user: &User, step: impl FnOnce() -> Result<R>) -> Result<R> {
    user.with_rooms(|_| step()).unwrap_or(Err(Error::UserNotFound))
}

fn invalid(text: &str) -> Error {
    Error::InvalidArgument(text.to_owned())
}

/// A name is a string, or a number as Socket.IO's parser lets through.
fn event_name(raw: &RawValue) -> Option<Cow<'_, str>> {
    payload::string(raw).or_else(|| {
        let text = raw.get();
        serde_json::from_str::<f64>(text).ok().map(|_| Cow::Borrowed(text))
    })
}

fn failure(event: &str, room_id: Option<&str>, error: &Error) -> Packet {
    let message = match (event, error) {
        (_, Error::UserNotFound) => "User not found".to_owned(),
        ("room:join", _) => "Failed to join room".to_owned(),
        ("room:leave", _) => "Failed to leave room".to_owned(),
        ("message", _) => "Failed to send message".to_owned(),
        ("typing", _) => "Failed to send typing indicator".to_owned(),
        (other, _) => format!("Failed to relay {other}"),
    };
    let room_id = room_id
        .map(|id| format!(",\"roomId\":{}", json_string(id)))
        .unwrap_or_default();
    Packet::event(
        "error",
        &format!(
            "{{\"message\":{},\"code\":\"{}\",\"event\":{}{room_id}}}",
            json_string(&message),
            error.code(),
            json_string(event),
        ),
    )
}

#[cfg(test)]
mod tests;

//! The events of clients that the service handles itself, as one table (contract, section 5). A new one is an entry and
//! a function.

use std::sync::Arc;

use super::packet::{Call, Done, invalid};
use crate::{
    config::Limit,
    error::{Error, Result},
    hub::{Room, Socket},
    ports::Fact,
    service::{MessageType, NewMessage, Page, PageRange, Service},
    wire::json,
};

/// Messages of a room that a client gets at once, where it does not say, and at most.
const DEFAULT_PAGE: usize = 50;
const MOST_PAGE: usize = 1_000;

/// What a client wants to do in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Join,
    Message,
    Typing,
    Relay,
    History,
}

impl Verb {
    /// Its name in `authorize`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Message => "message",
            Self::Typing => "typing",
            Self::Relay => "relay",
            Self::History => "history",
        }
    }
}

/// An event that the service handles itself.
pub(super) struct BuiltIn {
    /// Its name; that of a relay is the application's choice.
    name: &'static str,
    /// What the application may decide about it.
    pub(super) verb: Option<Verb>,
    /// Handles it. Returns what the acknowledgement holds.
    pub(super) run: fn(&Service, &Arc<Socket>, &Call<'_>) -> Result<Done>,
    /// What `error` says when it fails, by the event's name.
    pub(super) failure: fn(&str) -> String,
}

const TABLE: [BuiltIn; 5] = [
    BuiltIn {
        name: "room:join",
        verb: Some(Verb::Join),
        run: Service::client_join,
        failure: |_| "Failed to join room".to_owned(),
    },
    BuiltIn {
        name: "room:leave",
        verb: None,
        run: Service::client_leave,
        failure: |_| "Failed to leave room".to_owned(),
    },
    BuiltIn {
        name: "message",
        verb: Some(Verb::Message),
        run: Service::client_message,
        failure: |_| "Failed to send message".to_owned(),
    },
    BuiltIn {
        name: "typing",
        verb: Some(Verb::Typing),
        run: Service::client_typing,
        failure: |_| "Failed to send typing indicator".to_owned(),
    },
    BuiltIn {
        name: "room:history",
        verb: Some(Verb::History),
        run: Service::client_history,
        failure: |_| "Failed to read history".to_owned(),
    },
];

/// Any of `relayEvents`.
const RELAY: BuiltIn = BuiltIn {
    name: "",
    verb: Some(Verb::Relay),
    run: Service::client_relay,
    failure: |name| format!("Failed to relay {name}"),
};

/// Names of the built-in events, without those that are relayed.
pub fn built_in_events() -> impl Iterator<Item = &'static str> {
    const { &TABLE }.iter().map(|event| event.name)
}

/// The built-in event of this name, in canonical form; `relayed` are the names that are relayed.
pub(super) fn find(name: &str, relayed: &[impl AsRef<str>]) -> Option<&'static BuiltIn> {
    const { &TABLE }.iter().find(|event| event.name == name).or_else(|| {
        relayed
            .iter()
            .any(|event| event.as_ref() == name)
            .then_some(const { &RELAY })
    })
}

impl Service {
    fn client_join(&self, socket: &Arc<Socket>, call: &Call<'_>) -> Result<Done> {
        let room = self.named(call)?.ok_or(Error::UserOrRoomNotFound)?;
        if room.info.private && !self.config.authorize.join {
            return Err(Error::Forbidden("The room is private".to_owned()));
        }
        let most = self.config.limits.rooms_per_socket;
        if socket.with_rooms(|rooms| rooms.len() >= most && !rooms.contains(&room)) == Some(true) {
            self.hub.metrics.exceeded.count(Limit::RoomsPerSocket);
            return Err(Error::TooManyRooms(most));
        }
        self.join(socket, &room)?;
        call.done()
    }

    fn client_leave(&self, socket: &Arc<Socket>, call: &Call<'_>) -> Result<Done> {
        if let Some(room) = self.named(call)? {
            self.leave(socket, &room);
        }
        call.done()
    }

    fn client_message(&self, socket: &Arc<Socket>, call: &Call<'_>) -> Result<Done> {
        let room = self.room_to_write(socket, call)?;
        let message = NewMessage {
            author: &socket.identity().fragment,
            attachments: call.attachments.to_vec(),
            ..self.readable(call)?
        };
        let member = self.config.require_membership.then(|| socket.key());
        let stored = while_connected(socket, || self.post(&room, message, member, self.clock.now()))?;
        Ok(Done {
            members: format!("\"message\":{}", stored.json()),
            attachments: call.attachments.to_vec(),
        })
    }

    fn client_typing(&self, socket: &Arc<Socket>, call: &Call<'_>) -> Result<Done> {
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

    fn client_relay(&self, socket: &Arc<Socket>, call: &Call<'_>) -> Result<Done> {
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

    fn client_history(&self, socket: &Arc<Socket>, call: &Call<'_>) -> Result<Done> {
        let room = self.room_to_read(socket, call)?;
        let range = range_of(call)?;
        self.restore(&room.info.id);
        let Page { messages, has_more } = self.page(&room, &range)?;
        let texts: Vec<_> = messages.iter().map(|message| message.json()).collect();
        let attachments = messages.iter().flat_map(|message| message.packet.attachments());
        Ok(Done {
            members: format!(
                "\"roomId\":{},\"messages\":[{}],\"hasMore\":{has_more}",
                call.room_id()?,
                texts.join(",")
            ),
            attachments: attachments.cloned().collect(),
        })
    }

    /// The message that a call holds, without its author and attachments.
    pub(super) fn readable<'a>(&self, call: &Call<'a>) -> Result<NewMessage<'a>> {
        let data = call.data()?;
        let content = data.content.filter(|content| json::is_string(content));
        let content = content.ok_or_else(|| invalid("content must be a string"))?;
        let kind = match data.kind {
            None => MessageType::default(),
            Some(kind) => json::string(kind)
                .and_then(|name| MessageType::parse(&name))
                .ok_or_else(|| invalid("type must be one of text, image, file, system"))?,
        };
        if kind == MessageType::System && !self.config.allow_system_messages {
            return Err(Error::Forbidden("Clients cannot send system messages".to_owned()));
        }
        if data.metadata.is_some_and(|metadata| !metadata.starts_with('{')) {
            return Err(invalid("metadata must be an object"));
        }
        Ok(NewMessage {
            author: "",
            content,
            kind,
            metadata: data.metadata,
            attachments: Vec::new(),
        })
    }

    /// The room that a call names, if there is one.
    pub(super) fn named(&self, call: &Call<'_>) -> Result<Option<Arc<Room>>> {
        let room_id = call.room_id()?;
        // No room has an id that Rust cannot hold.
        Ok(json::string(room_id).and_then(|id| self.hub.room(&id)))
    }

    /// The room that a call writes to. Who may not is turned away before more of the payload is read, or anything is
    /// made of it; when the packet is handed in, membership is looked at again.
    pub(super) fn room_to_write(&self, socket: &Socket, call: &Call<'_>) -> Result<Arc<Room>> {
        match self.config.require_membership {
            true => self.room_to_read(socket, call),
            false => self.named(call)?.ok_or(Error::RoomNotFound),
        }
    }

    /// The room that a call reads: what was said there is its members' alone, whoever may write.
    pub(super) fn room_to_read(&self, socket: &Socket, call: &Call<'_>) -> Result<Arc<Room>> {
        let room = self.named(call)?.ok_or(Error::RoomNotFound)?;
        let is_member = room.state().members.contains(socket.key());
        is_member.then_some(room).ok_or(Error::NotAMember)
    }
}

/// The part of a room's history that a call asks for.
pub(super) fn range_of(call: &Call<'_>) -> Result<PageRange> {
    let data = call.data()?;
    let id = |name: &str, value: Option<&str>| match value.map(json::string) {
        None => Ok(None),
        Some(Some(id)) => Ok(Some(id.into_owned())),
        Some(None) => Err(invalid(&format!("{name} must be the id of a message"))),
    };
    let limit = data.limit.map_or(Some(DEFAULT_PAGE), |limit| limit.parse().ok());
    let limit = limit.filter(|limit| (1..=MOST_PAGE).contains(limit));
    Ok(PageRange {
        before: id("before", data.before)?,
        after: id("after", data.after)?,
        limit: limit.ok_or_else(|| invalid(&format!("limit must be an integer from 1 to {MOST_PAGE}")))?,
    })
}

/// Runs a step that is told of, unless the socket has gone: what it did is told before its end.
fn while_connected<R>(socket: &Socket, step: impl FnOnce() -> Result<R>) -> Result<R> {
    socket.with_rooms(|_| step()).unwrap_or(Err(Error::UserNotFound))
}

//! Who may do what: the application decides about an event of a client before anything is made of it.
//!
//! What the client sends meanwhile waits for its turn, so that its packets are handled in the order in which it sent them,
//! and is charged to it, so that it is not read from when too much waits. Where the application decides nothing, nothing
//! of this is done.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    events::{self, Verb},
    packet::{Call, ClientPacket},
};
use crate::{
    backpressure::{self, Work},
    error::{Error, Result},
    hub::{Deferred, Room, Socket},
    link::Ending,
    ports::ServiceEvent,
    service::Service,
    wire::json::Args,
};

/// What is decided about an event.
pub(super) enum Decision {
    /// Nothing yet.
    ToMake,
    /// The application allows it.
    Allowed,
    /// It is refused.
    Refused(Error),
}

impl Service {
    /// Whether a packet waits for those before it, which it then has been put behind.
    pub(super) fn waits(&self, socket: &Socket, packet: &mut ClientPacket<'_>, is_ack: bool) -> bool {
        self.config.authorize.is_any() && socket.defer(|| deferred(packet, is_ack))
    }

    /// What the application is to be asked about an event, if it is. Who may not in any case is told so without asking.
    pub(super) fn question(
        &self,
        socket: &Socket,
        name: &str,
        args: &Args<'_>,
        packet: &ClientPacket<'_>,
    ) -> Option<(Verb, Arc<Room>)> {
        if !self.config.authorize.is_any() || self.check_bounds(args, packet.size()).is_err() {
            return None;
        }
        let verb = events::find(name, &self.config.relay_events)?.verb?;
        let call = Call::read(name, args, &packet.attachments);
        let room = self.room_for(socket, verb, &call).ok()?;
        self.is_asked(verb, &room).then_some((verb, room))
    }

    fn is_asked(&self, verb: Verb, room: &Room) -> bool {
        let asks = &self.config.authorize;
        match verb {
            Verb::Join => asks.join && !room.state().deleted,
            Verb::Message => asks.message,
            Verb::Typing => asks.typing,
            Verb::Relay => asks.relay,
            Verb::History => asks.history,
        }
    }

    fn room_for(&self, socket: &Socket, verb: Verb, call: &Call<'_>) -> Result<Arc<Room>> {
        match verb {
            Verb::Join => self.named(call)?.ok_or(Error::UserOrRoomNotFound),
            Verb::Message => {
                self.readable(call)?;
                self.room_to_write(socket, call)
            }
            Verb::History => {
                events::range_of(call)?;
                self.room_to_read(socket, call)
            }
            Verb::Typing | Verb::Relay => self.room_to_write(socket, call),
        }
    }

    /// Asks the application about an event; what the client sends from now on waits.
    pub(super) fn ask(&self, socket: &Arc<Socket>, verb: Verb, room: Arc<Room>, packet: &mut ClientPacket<'_>) {
        let number = self.next_key();
        let question = ServiceEvent::Authorize {
            socket: socket.clone(),
            number,
            verb: verb.name(),
            room: room.clone(),
            args: Bytes::copy_from_slice(packet.args.as_bytes()),
            attachments: packet.attachments.clone(),
        };
        socket.decide_about(number, deferred(packet, false));
        // Under the room's lock: once it is deleted, JavaScript hears no more of it.
        let asked = socket.with_rooms(|_| {
            let state = room.state();
            (!state.deleted).then(|| self.sink().emit(question))
        });
        if asked == Some(None) {
            // It is told that there is no such room.
            self.decided(socket, number, Ok(()));
        }
    }

    /// The application's decision about the event of this question: an error refuses it. Without effect when the client is
    /// gone.
    pub fn decided(&self, socket: &Arc<Socket>, number: u64, decision: std::result::Result<(), String>) {
        let Some(packet) = socket.decided(number) else { return };
        let decision = match decision {
            Ok(()) => Decision::Allowed,
            Err(text) => Decision::Refused(Error::Forbidden(text)),
        };
        self.take_turn(socket, packet, decision);
        while let Some(packet) = socket.next_deferred() {
            self.take_turn(socket, packet, Decision::ToMake);
        }
    }

    /// Handles a packet that has waited.
    fn take_turn(&self, socket: &Arc<Socket>, waited: Deferred, decision: Decision) {
        let packet = ClientPacket {
            args: &waited.args,
            attachments: waited.attachments,
            id: waited.id,
        };
        let handle = || match waited.is_ack {
            true => self.handle_ack(socket, packet),
            false => self.handle_event(socket, packet, decision),
        };
        let handled = match &waited.charge {
            Some(charge) => charge.account().causes(handle),
            None => handle(),
        };
        if let Err(reason) = handled {
            self.disconnect(socket, reason, Ending::Close);
        }
    }
}

/// A packet that waits; of what it was taken from, the attachments are gone.
fn deferred(packet: &mut ClientPacket<'_>, is_ack: bool) -> Deferred {
    Deferred {
        charge: backpressure::charge(Work::JavaScript, packet.size()),
        args: packet.args.to_owned(),
        attachments: std::mem::take(&mut packet.attachments),
        id: packet.id,
        is_ack,
    }
}

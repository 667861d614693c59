//! What clients send: read, kept within the bounds, run or passed on to JavaScript, and answered.

mod answers;
mod authorize;
mod events;
mod packet;
mod payload;

use std::sync::Arc;

use bytes::Bytes;

use self::{
    answers::{Outcome, refused_ack},
    authorize::Decision,
    packet::{Call, Malformed},
};
use super::{Service, acks, rates::Intake};
use crate::{
    config::Limit,
    disconnect::DisconnectReason,
    error::{Error, Result},
    hub::Socket,
    ports::ServiceEvent,
    wire::{
        json::{self, Args},
        packet::{MOST_PUBLISHED, RESERVED_EVENTS},
    },
};

pub use events::built_in_events;
pub use packet::ClientPacket;

/// Whether a packet could be handled, or why its connection is to be closed.
type Handled = std::result::Result<(), DisconnectReason>;

impl Service {
    /// Handles a client's event. Called in the order in which the client sent them.
    ///
    /// # Errors
    ///
    /// Why the connection is to be closed.
    pub fn client_event(&self, socket: &Arc<Socket>, packet: ClientPacket<'_>) -> Handled {
        let now = self.clock.now();
        self.hub.metrics.traffic.record(now, 0, packet.size() as u64);
        if packet.args.is_empty() {
            return Ok(());
        }
        let intake = self.rates.as_ref().map_or(Intake::Taken, |rates| {
            rates.take_in(socket, now, &self.hub.metrics.exceeded)
        });
        let refusal = match intake {
            Intake::Taken => None,
            Intake::Refused(error) => Some(error),
            Intake::Ignored => return Ok(()),
            Intake::Closed(reason) => return Err(reason),
        };
        let mut packet = packet;
        if self.waits(socket, &mut packet, false) {
            return Ok(());
        }
        self.handle_event(socket, packet, refusal.map_or(Decision::ToMake, Decision::Refused))
    }

    /// Handles an event whose turn it is.
    fn handle_event(&self, socket: &Arc<Socket>, mut packet: ClientPacket<'_>, decision: Decision) -> Handled {
        let args = packet.read()?;
        let name = json::event_name(packet.args).ok_or(Malformed)?;
        if RESERVED_EVENTS.contains(&name.as_ref()) {
            return Err(Malformed.into());
        }
        let _change = self.change();
        if !socket.is_connected() {
            return Ok(());
        }
        socket.touch_activity(self.clock.now());
        if let Decision::ToMake = decision
            && let Some((verb, room)) = self.question(socket, &name, &args, &packet)
        {
            self.ask(socket, verb, room, &mut packet);
            return Ok(());
        }
        let outcome = match decision {
            Decision::Refused(error @ Error::Forbidden(_)) => {
                let call = Call::read(&name, &args, &packet.attachments);
                Some(Outcome::refused(&call, error))
            }
            Decision::Refused(error) => Some(Outcome::beyond_bounds(&name, error)),
            Decision::ToMake | Decision::Allowed => self.run(socket, &name, &args, &packet),
        };
        if let Some(outcome) = &outcome {
            self.answer(socket, &packet, outcome);
        }
        let is_built_in = outcome.is_some();
        if let Some(Err(Error::TooDeep(_) | Error::TooLarge(_) | Error::TooMany(_))) =
            outcome.map(|outcome| outcome.result)
        {
            // Nor could JavaScript send it on.
            return Ok(());
        }
        if socket.is_heard(&name) || (!is_built_in && !socket.is_settled()) {
            let event = ServiceEvent::Client {
                socket: socket.clone(),
                args: Bytes::copy_from_slice(packet.args.as_bytes()),
                attachments: packet.attachments,
                // A built-in event is acknowledged by the service alone.
                ack: packet.id.filter(|_| !is_built_in),
            };
            socket.with_rooms(|_| self.sink().emit(event));
        }
        Ok(())
    }

    /// Handles a client's acknowledgement.
    ///
    /// # Errors
    ///
    /// Why the connection is to be closed.
    pub fn client_ack(&self, socket: &Arc<Socket>, mut packet: ClientPacket<'_>) -> Handled {
        if self.waits(socket, &mut packet, true) {
            return Ok(());
        }
        self.handle_ack(socket, packet)
    }

    /// Handles an acknowledgement whose turn it is.
    fn handle_ack(&self, socket: &Arc<Socket>, packet: ClientPacket<'_>) -> Handled {
        let args = packet.read()?;
        let Some(id) = packet.id else { return Ok(()) };
        if !socket.take_ack(id) {
            return Ok(());
        }
        if let Err(error) = self.check_bounds(&args, packet.size()) {
            self.send_to(socket, refused_ack(&error), false);
            if id < acks::FIRST_ID {
                self.sink().emit(ServiceEvent::AckRefused(socket.clone(), id, error));
            }
        } else if id >= acks::FIRST_ID {
            self.remote_acks.collect(id, packet.args, &packet.attachments);
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

    /// Runs an event if it is built in, or refuses one that goes beyond the bounds; `None` when it is neither.
    fn run<'a>(
        &self,
        socket: &Arc<Socket>,
        name: &'a str,
        args: &Args<'a>,
        packet: &'a ClientPacket<'_>,
    ) -> Option<Outcome<'a>> {
        if let Err(error) = self.check_bounds(args, packet.size()) {
            return Some(Outcome::beyond_bounds(name, error));
        }
        let built_in = events::find(name, &self.config.relay_events)?;
        let call = Call::read(name, args, &packet.attachments);
        Some(Outcome::of(self, socket, built_in, &call))
    }

    /// Whether a packet may go wherever a packet can go.
    fn check_bounds(&self, args: &Args<'_>, size: usize) -> Result<()> {
        let most = self.config.limits.max_depth;
        if args.depth > most {
            self.hub.metrics.exceeded.count(Limit::MaxDepth);
            return Err(Error::TooDeep(most));
        }
        if size > MOST_PUBLISHED && self.peers().is_some() {
            return Err(Error::TooLarge(MOST_PUBLISHED));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

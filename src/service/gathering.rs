//! Who came to a room and who left it: told to its members one by one, together once a second, or not at all.
//!
//! One by one, a room that `n` join costs `n²/2` packets: 32 million for 8,000.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::Service;
use crate::{
    clock,
    config::MembershipEvents,
    hub::{Except, Room, RoomState, Socket},
    ports::Fact,
    selection::Selection,
    wire::{json::quoted, packet::Packet},
};

/// A room with no more members is told one by one: there it costs nothing.
const FEW: usize = 50;
/// How often the others are told.
const PERIOD: Duration = Duration::from_secs(1);

/// What a socket did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Movement {
    Joined,
    Left,
}

impl Movement {
    fn event(self) -> &'static str {
        match self {
            Self::Joined => "user:joined",
            Self::Left => "user:left",
        }
    }

    fn fact(self) -> Fact {
        match self {
            Self::Joined => Fact::Joined,
            Self::Left => Fact::Left,
        }
    }
}

impl Service {
    /// Tells the other members that a socket of this instance came or went, and the other servers.
    pub(super) fn moved(&self, state: &mut RoomState, socket: &Socket, room: &Arc<Room>, movement: Movement) {
        let is_told = self.is_told_one_by_one(state, room, movement);
        if !is_told && self.peers().is_none() {
            return;
        }
        let packet = self.packet_of(socket, room, movement);
        if is_told {
            return self.send_to_others(state, socket, room, &packet, movement.fact());
        }
        self.publish(
            &Selection::room(&room.info.id).but(socket.id()),
            &packet,
            movement.fact(),
        );
    }

    /// Tells the members here that a socket of another instance came or went.
    pub(super) fn moved_elsewhere(
        &self,
        state: &mut RoomState,
        socket: &Socket,
        room: &Arc<Room>,
        movement: Movement,
        packet: &Packet,
    ) {
        if self.is_told_one_by_one(state, room, movement) {
            self.send_to_others_here(state, socket, packet);
        }
    }

    /// What the members are told of one.
    pub(super) fn packet_of(&self, socket: &Socket, room: &Room, movement: Movement) -> Packet {
        Packet::event(
            movement.event(),
            &format!(
                "{{{},\"socketId\":{},\"roomId\":{},\"timestamp\":\"{}\"}}",
                socket.identity().fragment,
                quoted(socket.id()),
                quoted(&room.info.id),
                clock::iso(self.clock.now()),
            ),
        )
    }

    /// Whether the members are told of this by itself; otherwise it is noted for later where they are told at all.
    fn is_told_one_by_one(&self, state: &mut RoomState, room: &Arc<Room>, movement: Movement) -> bool {
        match room.info.membership_events.unwrap_or(self.config.membership_events) {
            MembershipEvents::Each => true,
            MembershipEvents::None => false,
            MembershipEvents::Gathered if state.members.len() <= FEW => true,
            MembershipEvents::Gathered => {
                if !state.movements.is_any() {
                    self.gathered.lock().push(room.clone());
                }
                let counter = match movement {
                    Movement::Joined => &mut state.movements.joined,
                    Movement::Left => &mut state.movements.left,
                };
                *counter += 1;
                false
            }
        }
    }

    /// Tells the members of each room in which there was something since the last time.
    fn tell_gathered(&self) {
        let rooms = std::mem::take(&mut *self.gathered.lock());
        for room in rooms {
            let mut state = room.state();
            let movements = std::mem::take(&mut state.movements);
            if state.deleted {
                continue;
            }
            let packet = Packet::event(
                "users:changed",
                &format!(
                    "{{\"roomId\":{},\"joined\":{},\"left\":{},\"count\":{},\"timestamp\":\"{}\"}}",
                    quoted(&room.info.id),
                    movements.joined,
                    movements.left,
                    state.members.len(),
                    clock::iso(self.clock.now()),
                ),
            );
            let sent = self.fanout.send_many(&state.members, &Except::new(), &packet, || {});
            self.count_sent(&packet, sent);
        }
    }
}

/// Tells members together, for as long as the service lives.
pub async fn tell(service: Weak<Service>) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        let Some(service) = service.upgrade() else { return };
        service.tell_gathered();
    }
}

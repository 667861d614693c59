//! Packets on their way out: to those whom a selection means, here and on the other servers.
//!
//! What goes to one room, or to everyone, is told to the other servers under the room's lock, like all that its members
//! see: they hear it in the same order.

use std::{collections::HashSet, sync::Arc, time::Instant};

use bytes::Bytes;

use super::{OnAck, Service};
use crate::{
    error::{Error, Result},
    fanout::Groups,
    hub::{Except, Members, Room, RoomState, Socket},
    ports::{Broadcast, Fact},
    selection::{self, Selection},
    wire::packet::{Packet, PacketKind},
};

/// A packet for some of the sockets of this instance.
struct Delivery<'a> {
    packet: &'a Packet,
    except: Except,
    /// Keys of those who are not filtered out, where somebody is.
    allowed: Option<HashSet<u64>>,
    volatile: bool,
}

impl Delivery<'_> {
    fn means(&self, socket: &Socket) -> bool {
        self.allows(socket) && !self.except.contains(socket.key())
    }

    fn allows(&self, socket: &Socket) -> bool {
        let allowed = self.allowed.as_ref();
        allowed.is_none_or(|allowed| allowed.contains(&socket.key()))
    }
}

impl Service {
    /// Sends to those who are meant, on all servers unless the selection is a local one; to each once.
    pub fn emit(&self, selection: &Selection<'_>, packet: &Packet) {
        let _still = self.while_none_moves();
        self.deliver_then(selection, packet, || {
            if !selection.local {
                self.publish(selection, packet, Fact::None);
            }
        });
    }

    /// `broadcastToRoom`: to those members of a registered room whom the filter means.
    pub fn broadcast_to_room<'a>(&self, room_id: &'a str, packet: &Packet, filter: Selection<'a>) -> Result<()> {
        let _still = self.while_none_moves();
        let room = self.hub.room(room_id).ok_or(Error::RoomNotFound)?;
        let selection = filter.within(room_id);
        self.deliver_in(&room, &self.delivery(&selection, packet), || {
            self.publish(&selection, packet, Fact::None);
        });
        Ok(())
    }

    /// `broadcastToUsers`: every socket of each person, once.
    pub fn broadcast_to_users<'a>(&self, user_ids: impl IntoIterator<Item = &'a str>, packet: &Packet) {
        let unique: HashSet<&str> = user_ids.into_iter().collect();
        let _still = self.while_none_moves();
        let mut groups = Groups::default();
        for socket in unique.iter().flat_map(|user_id| self.hub.sockets_anywhere(user_id)) {
            groups.add(&socket);
        }
        self.send_groups(&groups, packet, false, || {
            let Some(peers) = self.peers() else { return };
            let remote = self.hub.remote();
            if !unique.is_empty() && (!peers.is_current() || unique.iter().any(|user_id| remote.is_online(user_id))) {
                let names: Vec<&str> = unique.iter().copied().collect();
                self.publish(&Selection::users(selection::names(&names)), packet, Fact::None);
            }
        });
    }

    /// `emitToSocket`. An unknown socket changes nothing.
    pub fn emit_to_socket(&self, socket_id: &str, packet: Packet, volatile: bool) {
        let _still = self.while_none_moves();
        if let Some(socket) = self.hub.socket(socket_id) {
            return self.send_to(&socket, packet, volatile);
        }
        // On another instance, or on a Node.js server, whose sockets are not known here.
        let selection = Selection {
            volatile,
            ..Selection::room(socket_id)
        };
        self.send_groups(&self.group_of(socket_id), &packet, volatile, || {
            self.publish(&selection, &packet, Fact::None);
        });
    }

    /// The socket of this id, on any instance.
    fn group_of(&self, socket_id: &str) -> Groups {
        let mut group = Groups::default();
        if let Some(socket) = self.hub.anyone(socket_id) {
            group.add(&socket);
        }
        group
    }

    fn send_groups(&self, groups: &Groups, packet: &Packet, volatile: bool, publish: impl FnOnce()) {
        self.count_sent(packet, groups.sockets());
        self.fanout.send_groups(groups, packet, volatile, publish);
    }

    /// Sends to one socket, registered or still being admitted.
    pub fn send_to(&self, socket: &Arc<Socket>, packet: Packet, volatile: bool) {
        self.count_sent(&packet, 1);
        self.fanout.send_one(socket, packet, volatile);
    }

    /// Sends an event to these sockets. Until the given time, their acknowledgements go to `on_ack`. `counted` is
    /// called before, with the number of sockets that are waited for.
    pub fn emit_expecting_acks(
        &self,
        sockets: Vec<Arc<Socket>>,
        args: &str,
        attachments: Vec<Bytes>,
        until: Instant,
        counted: impl FnOnce(usize),
        on_ack: OnAck,
    ) {
        let id = self
            .remote_acks
            .expect(sockets.clone(), self.config.limits.pending_acks, until, on_ack);
        counted(sockets.len());
        let packet = Packet::new(PacketKind::Event(Some(id)), args, attachments);
        for socket in sockets {
            self.send_to(&socket, packet.clone(), false);
        }
    }

    /// Waits for no acknowledgement of another server's event any more.
    pub fn forget_acks(&self) {
        self.remote_acks.clear();
    }

    /// Waits no longer for acknowledgements whose time is over.
    pub fn expire_acks(&self) {
        self.remote_acks.expire();
    }

    /// Delivers to those sockets of this instance that are meant, to each once.
    pub fn deliver(&self, selection: &Selection<'_>, packet: &Packet) {
        self.deliver_then(selection, packet, || {});
    }

    /// Delivers, and has it published: under the lock of each room, or of everyone's.
    fn deliver_then(&self, selection: &Selection<'_>, packet: &Packet, publish: impl FnOnce()) {
        let delivery = self.delivery(selection, packet);
        match &*selection.rooms {
            [] => self.deliver_in(self.hub.everyone(), &delivery, publish),
            [name] => match self.named_room(name) {
                Some(room) => self.deliver_in(&room, &delivery, publish),
                None => {
                    let mut group = Groups::default();
                    if let Some(socket) = self.hub.anyone(name).filter(|socket| delivery.means(socket)) {
                        group.add(&socket);
                    }
                    self.send_groups(&group, packet, selection.volatile, publish);
                }
            },
            names => self.deliver_to_any(names, &delivery, publish),
        }
    }

    fn delivery<'a>(&self, selection: &Selection<'_>, packet: &'a Packet) -> Delivery<'a> {
        Delivery {
            packet,
            except: self.excluded(&selection.except),
            allowed: self.allowed(selection),
            volatile: selection.volatile,
        }
    }

    fn deliver_in(&self, room: &Room, delivery: &Delivery<'_>, publish: impl FnOnce()) {
        let Delivery { packet, volatile, .. } = *delivery;
        let state = room.state();
        if delivery.allowed.is_none() && !volatile {
            let sent = self.fanout.send_many(&state.members, &delivery.except, packet, publish);
            return self.count_sent(packet, sent);
        }
        let mut groups = Groups::default();
        self.add_members(&mut groups, &state.members, delivery, |_| true);
        if std::ptr::eq(room, self.hub.everyone()) && self.hub.replay().is_some() {
            // Those elsewhere are no members of everyone's room; what is kept of it is for them all the same.
            let elsewhere = self.hub.remote().sockets();
            for socket in elsewhere.iter().filter(|socket| delivery.means(socket)) {
                groups.add(socket);
            }
        }
        self.send_groups(&groups, packet, volatile, publish);
    }

    /// Adds those members that a delivery means, in the order in which they joined.
    fn add_members(
        &self,
        groups: &mut Groups,
        members: &Members,
        delivery: &Delivery<'_>,
        mut is_new: impl FnMut(u64) -> bool,
    ) {
        for socket in members.in_order() {
            if delivery.means(&socket) && is_new(socket.key()) {
                groups.add(&socket);
            }
        }
    }

    /// Delivers to the members of several rooms, to each once.
    fn deliver_to_any(&self, names: &[impl AsRef<str>], delivery: &Delivery<'_>, publish: impl FnOnce()) {
        let (mut named, mut served) = (HashSet::new(), HashSet::new());
        let names = names.iter().map(AsRef::as_ref);
        let (mut rooms, mut sockets) = (Vec::new(), Vec::new());
        for name in names.filter(|name| named.insert(*name)) {
            match self.named_room(name) {
                Some(room) => rooms.push(room),
                None => sockets.extend(self.hub.anyone(name).filter(|socket| delivery.means(socket))),
            }
        }
        // The only place that locks more than one; always in the same order.
        rooms.sort_unstable_by_key(|room| room.order);
        let states: Vec<_> = rooms.iter().map(|room| room.state()).collect();
        let is_kept = self.hub.replay().is_some();
        let mut groups = Groups::but(&delivery.except);
        let mut sent = 0;
        for state in &states {
            if delivery.allowed.is_some() || delivery.volatile {
                self.add_members(&mut groups, &state.members, delivery, |key| served.insert(key));
                continue;
            }
            // Of this room's members alone, so that many rooms do not copy a growing set.
            let keys = state.members.local_keys();
            let left_out = keys.filter(|key| delivery.except.contains(*key) || !served.insert(*key));
            let left_out: Except = left_out.collect();
            sent += state.members.local_len(&left_out);
            groups.add_members(&state.members, left_out, is_kept);
        }
        for socket in sockets.iter().filter(|socket| served.insert(socket.key())) {
            groups.add(socket);
        }
        self.count_sent(delivery.packet, sent);
        self.send_groups(&groups, delivery.packet, delivery.volatile, publish);
    }

    /// Sends to those who are meant on the other servers.
    pub(super) fn publish(&self, selection: &Selection<'_>, packet: &Packet, fact: Fact) {
        if let Some(peers) = self.peers() {
            peers.broadcast(&Broadcast {
                packet,
                selection,
                fact,
            });
        }
    }

    /// Sends to the members but one, which the packet is about, on all servers.
    pub(super) fn send_to_others(&self, state: &RoomState, socket: &Socket, room: &Room, packet: &Packet, fact: Fact) {
        self.send_to_others_then(state, socket, packet, || {
            self.publish(&Selection::room(&room.info.id).but(socket.id()), packet, fact);
        });
    }

    /// Sends to the members on this instance but one.
    pub(super) fn send_to_others_here(&self, state: &RoomState, socket: &Socket, packet: &Packet) {
        self.send_to_others_then(state, socket, packet, || {});
    }

    fn send_to_others_then(&self, state: &RoomState, socket: &Socket, packet: &Packet, publish: impl FnOnce()) {
        let except = Except::from_iter([socket.key()]);
        let sent = self.fanout.send_many(&state.members, &except, packet, publish);
        self.count_sent(packet, sent);
    }

    pub(super) fn count_sent(&self, packet: &Packet, recipients: usize) {
        let bytes = (packet.len() as u64).saturating_mul(recipients as u64);
        self.hub.metrics.traffic.record(self.clock.now(), 0, bytes);
    }
}

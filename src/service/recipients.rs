//! Whom a selection means on this instance, and waiting for those of them that are slow to read.

use std::{collections::HashSet, sync::Arc};

use super::Service;
use crate::{
    hub::{Except, Room, Socket},
    selection::Selection,
};

impl Service {
    /// The sockets of this instance that are meant, each once.
    pub fn selected(&self, selection: &Selection<'_>) -> Vec<Arc<Socket>> {
        let (except, allowed) = (self.excluded(&selection.except), self.allowed(selection));
        let mut sockets = match (&*selection.rooms, &selection.users) {
            ([], None) => self.hub.sockets(),
            ([], Some(user_ids)) => user_ids.iter().flat_map(|id| self.hub.sockets_of(id)).collect(),
            _ => Vec::new(),
        };
        let mut named = HashSet::new();
        for name in selection.rooms.iter().filter(|name| named.insert(&***name)) {
            match self.named_room(name) {
                Some(room) => sockets.extend(room.state().members.local_in_order()),
                None => sockets.extend(self.hub.socket(name)),
            }
        }
        let mut seen = HashSet::new();
        sockets.retain(|socket| {
            let is_allowed = allowed.as_ref().is_none_or(|allowed| allowed.contains(&socket.key()));
            is_allowed && !except.contains(socket.key()) && seen.insert(socket.key())
        });
        sockets
    }

    /// Resolves when what was sent is with the connections of those who are meant, and less than half of
    /// `maxQueuedBytes` waits for each of them; `stallMs` after the former at the latest.
    pub async fn eased(&self, selection: &Selection<'_>) {
        self.fanout.flushed().await;
        let congestion = self.fanout.congestion();
        if !congestion.is_any_slow() {
            return;
        }
        let mut waited_for = self.selected(selection);
        let eased = congestion.eased(|half| {
            waited_for.retain(|socket| socket.link().awaited() >= half);
            waited_for.is_empty()
        });
        let _ = tokio::time::timeout(self.config.limits.stall, eased).await;
    }

    /// Makes the sockets of this instance that are meant join rooms, or leave them.
    pub fn move_selected(&self, selection: &Selection<'_>, names: &[String], join: bool) {
        for socket in self.selected(selection) {
            for name in names {
                match join {
                    // One that is just going joins nothing any more.
                    true => drop(self.socket_join(&socket, name)),
                    false => self.socket_leave(&socket, name),
                }
            }
        }
    }

    /// Whether what is sent to a room of this name, one of the registry, a plain one, or a socket's own, is for a socket of
    /// this instance; or for one that may come here for it.
    pub fn concerns(&self, name: &str) -> bool {
        match (self.named_room(name), self.hub.replay()) {
            (Some(room), None) => room.state().members.local_len(&Except::new()) > 0,
            (None, None) => self.hub.socket(name).is_some(),
            (Some(room), Some(_)) => !room.state().members.is_empty(),
            (None, Some(_)) => self.hub.anyone(name).is_some(),
        }
    }

    /// Names of all Socket.IO rooms with members on this instance, those of the sockets' own ids among them.
    pub fn room_names(&self) -> HashSet<String> {
        let mut names = HashSet::new();
        for socket in self.hub.sockets() {
            names.extend(self.socket_rooms(&socket));
        }
        names
    }

    /// A room of the registry, or else a plain one.
    pub(super) fn named_room(&self, name: &str) -> Option<Arc<Room>> {
        self.hub.room(name).or_else(|| self.hub.plain_room(name))
    }

    /// Keys of the sockets that these names leave out: socket ids, and rooms.
    pub(super) fn excluded(&self, names: &[impl AsRef<str>]) -> Except {
        let mut except = Except::new();
        let mut named = HashSet::new();
        // Those elsewhere matter only where they may come here for what is sent.
        let elsewhere = self.hub.replay().map(|_| self.hub.remote());
        for name in names.iter().map(AsRef::as_ref).filter(|name| named.insert(*name)) {
            let socket = self.hub.socket(name);
            match socket.or_else(|| elsewhere?.socket(name)) {
                Some(socket) => except.insert(socket.key()),
                None => {
                    if let Some(room) = self.named_room(name) {
                        let state = room.state();
                        match elsewhere {
                            Some(_) => except.extend(state.members.keys()),
                            None => except.extend(state.members.local_keys()),
                        }
                    }
                }
            }
        }
        except
    }

    /// Keys of the sockets that satisfy what a selection asks for besides rooms; `None` when it asks for nothing.
    pub(super) fn allowed(&self, selection: &Selection<'_>) -> Option<HashSet<u64>> {
        let keys = |sockets: Vec<Arc<Socket>>| sockets.into_iter().map(|socket| socket.key()).collect::<HashSet<_>>();
        let members = |room: &Room| room.state().members.keys().collect::<HashSet<_>>();
        let mut sets: Vec<HashSet<u64>> = Vec::new();
        if let Some(user_ids) = &selection.users {
            sets.push(
                user_ids
                    .iter()
                    .flat_map(|id| keys(self.hub.sockets_anywhere(id)))
                    .collect(),
            );
        }
        if let Some(name) = &selection.room {
            let room = self.named_room(name);
            sets.push(room.map_or_else(HashSet::new, |room| members(&room)));
        }
        if let Some(label) = &selection.label {
            let rooms = self.hub.rooms(Some(label));
            sets.push(rooms.iter().flat_map(|room| members(room)).collect());
        }
        sets.into_iter()
            .reduce(|one, other| one.intersection(&other).copied().collect())
    }
}

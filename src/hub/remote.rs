//! Sockets that are connected to the other instances of the cluster, as those instances tell of them.

use std::sync::Arc;

use dashmap::DashMap;

use super::{Ordered, User};

/// The sockets of other instances, by socket id and by user.
#[derive(Debug, Default)]
pub struct Elsewhere {
    sockets: DashMap<Box<str>, Arc<User>>,
    by_user: DashMap<Box<str>, Ordered<User>>,
}

impl Elsewhere {
    /// Learns of a socket. False when its id is known already.
    pub fn insert(&self, user: &Arc<User>) -> bool {
        match self.sockets.entry(user.id().into()) {
            dashmap::Entry::Occupied(_) => return false,
            dashmap::Entry::Vacant(entry) => entry.insert(user.clone()),
        };
        self.by_user
            .entry(user.user_id().into())
            .or_default()
            .push(user.clone());
        true
    }

    /// Forgets a socket. False when it was not known.
    pub fn remove(&self, user: &Arc<User>) -> bool {
        let removed = self
            .sockets
            .remove_if(user.id(), |_, known| Arc::ptr_eq(known, user))
            .is_some();
        if let dashmap::Entry::Occupied(mut entry) = self.by_user.entry(user.user_id().into()) {
            entry.get_mut().remove(user);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
        removed
    }

    /// The user of a socket.
    pub fn user(&self, socket_id: &str) -> Option<Arc<User>> {
        self.sockets.get(socket_id).map(|entry| entry.value().clone())
    }

    /// The connections of a user.
    pub fn sockets_of(&self, user_id: &str) -> Vec<Arc<User>> {
        self.by_user
            .get(user_id)
            .map(|entry| entry.value().iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether a user has a connection.
    pub fn is_online(&self, user_id: &str) -> bool {
        self.by_user.contains_key(user_id)
    }

    /// All sockets, in the order in which they were learnt of.
    pub fn users(&self) -> Vec<Arc<User>> {
        let mut users: Vec<_> = self.sockets.iter().map(|entry| entry.value().clone()).collect();
        users.sort_unstable_by_key(|user| user.key());
        users
    }

    /// Number of sockets.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether no other instance has a socket.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }
}

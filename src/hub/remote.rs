//! Sockets that are connected to the other instances of the cluster, as those instances tell of them.

use std::sync::Arc;

use dashmap::DashMap;

use super::{Ordered, Socket};

/// The sockets of other instances, by socket id and by person.
#[derive(Debug, Default)]
pub struct RemoteSockets {
    sockets: DashMap<Box<str>, Arc<Socket>>,
    /// Those whose clients may come back, by what they show then.
    by_secret: DashMap<Box<str>, Arc<Socket>>,
    by_user: DashMap<Box<str>, Ordered<Socket>>,
}

impl RemoteSockets {
    /// Learns of a socket. False when its id is known already.
    pub fn insert(&self, socket: &Arc<Socket>) -> bool {
        match self.sockets.entry(socket.id().into()) {
            dashmap::Entry::Occupied(_) => return false,
            dashmap::Entry::Vacant(entry) => entry.insert(socket.clone()),
        };
        if let Some(recovery) = socket.recovery() {
            self.by_secret.insert(recovery.secret().into(), socket.clone());
        }
        self.by_user
            .entry(socket.user_id().into())
            .or_default()
            .push(socket.clone());
        true
    }

    /// Forgets a socket. False when it was not known.
    pub fn remove(&self, socket: &Arc<Socket>) -> bool {
        let removed = self
            .sockets
            .remove_if(socket.id(), |_, known| Arc::ptr_eq(known, socket))
            .is_some();
        if let Some(recovery) = socket.recovery() {
            self.by_secret
                .remove_if(recovery.secret(), |_, known| Arc::ptr_eq(known, socket));
        }
        if let dashmap::Entry::Occupied(mut entry) = self.by_user.entry(socket.user_id().into()) {
            entry.get_mut().remove(socket);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
        removed
    }

    /// The socket of this id.
    pub fn socket(&self, socket_id: &str) -> Option<Arc<Socket>> {
        self.sockets.get(socket_id).map(|entry| entry.value().clone())
    }

    /// The socket whose client has this secret.
    pub fn with_secret(&self, secret: &str) -> Option<Arc<Socket>> {
        self.by_secret.get(secret).map(|entry| entry.value().clone())
    }

    /// The sockets of a person.
    pub fn sockets_of(&self, user_id: &str) -> Vec<Arc<Socket>> {
        self.by_user
            .get(user_id)
            .map(|entry| entry.value().iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether a person has a socket.
    pub fn is_online(&self, user_id: &str) -> bool {
        self.by_user.contains_key(user_id)
    }

    /// All sockets, in the order in which they were learnt of.
    pub fn sockets(&self) -> Vec<Arc<Socket>> {
        let mut sockets: Vec<_> = self.sockets.iter().map(|entry| entry.value().clone()).collect();
        sockets.sort_unstable_by_key(|socket| socket.key());
        sockets
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

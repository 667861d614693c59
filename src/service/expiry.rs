//! Sockets that end at a time, in the order in which something is to be done about them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use crate::hub::Socket;

/// Sockets, by the time at which something is to be done about each.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    due: Mutex<BTreeMap<(u64, u64), Weak<Socket>>>,
}

impl Expiries {
    /// Something is to be done about a socket then.
    pub(super) fn insert(&self, due: u64, socket: &Arc<Socket>) {
        self.due.lock().insert((due, socket.key()), Arc::downgrade(socket));
    }

    /// What is due now; of sockets that are gone nothing.
    pub(super) fn take(&self, now: u64) -> Vec<(u64, Arc<Socket>)> {
        let due = {
            let mut all = self.due.lock();
            let later = all.split_off(&(now + 1, 0));
            std::mem::replace(&mut *all, later)
        };
        due.into_iter()
            .filter_map(|((due, _), socket)| Some((due, socket.upgrade()?)))
            .collect()
    }
}

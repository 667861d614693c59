//! Who may come back by which secret, and who is away since when.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::hub::Socket;

/// Since when somebody is away, whatever the time of day is, and who.
pub(super) type Away = (Instant, Arc<Socket>);

/// Who may come back.
#[derive(Debug, Default)]
pub(super) struct Recoveries {
    by_secret: DashMap<Box<str>, Arc<Socket>>,
    /// Who is away, by when that began, and the number of the socket.
    away: Mutex<BTreeMap<(Instant, u64), Arc<Socket>>>,
    /// They are to come to other instances: this one ends.
    are_sent_away: AtomicBool,
    /// A socket that was on its way from another instance is here, or will not be.
    pub(super) brought: Notify,
}

impl Recoveries {
    /// A socket was registered whose client may come back.
    pub(super) fn insert(&self, socket: &Arc<Socket>) {
        if let Some(recovery) = socket.recovery() {
            self.by_secret.insert(recovery.secret().into(), socket.clone());
        }
    }

    /// A socket has ended.
    pub(super) fn remove(&self, socket: &Socket) {
        if let Some(recovery) = socket.recovery() {
            self.by_secret
                .remove_if(recovery.secret(), |_, known| known.key() == socket.key());
        }
    }

    /// The socket whose client has this secret.
    pub(super) fn named(&self, secret: &str) -> Option<Arc<Socket>> {
        self.by_secret.get(secret).map(|entry| entry.value().clone())
    }

    /// A client has lost its connection. Returns who has been away for longest when that are more than so many, and since
    /// when.
    pub(super) fn is_away(&self, socket: &Arc<Socket>, since: Instant, most: usize) -> Option<Away> {
        let mut away = self.away.lock();
        away.insert((since, socket.key()), socket.clone());
        let first = (away.len() > most).then(|| away.pop_first()).flatten();
        first.map(|((since, _), socket)| (since, socket))
    }

    /// A client that was away since then is no more.
    pub(super) fn is_back(&self, socket: &Socket, since: Instant) {
        self.away.lock().remove(&(since, socket.key()));
    }

    /// Takes those who are away since before a time.
    pub(super) fn away_before(&self, time: Instant) -> Vec<Away> {
        let mut away = self.away.lock();
        let later = away.split_off(&(time, 0));
        let due = std::mem::replace(&mut *away, later);
        due.into_iter().map(|((since, _), socket)| (since, socket)).collect()
    }

    /// Clients are to come to other instances from now on.
    pub(super) fn send_away(&self) {
        self.are_sent_away.store(true, Ordering::Release);
    }

    /// Whether clients are to come to other instances.
    pub(super) fn are_sent_away(&self) -> bool {
        self.are_sent_away.load(Ordering::Acquire)
    }

    /// How many are away.
    pub(super) fn away(&self) -> usize {
        self.away.lock().len()
    }
}

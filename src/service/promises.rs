//! What is remembered of sockets whose instance says nothing, and was promised to a third instance, which will ask for it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    hub::{Cut, Span},
    ports::Session,
};

/// How long something is remembered for another instance.
const PROMISED: Duration = Duration::from_secs(10);

/// What is known here of a socket whose instance says nothing.
#[derive(Debug)]
pub(super) struct Memory {
    /// What it is.
    pub(super) session: Session,
    /// The number that it has here.
    pub(super) key: u64,
    /// What its client has seen.
    pub(super) seen: Cut,
    /// Where it is, and was.
    pub(super) spans: Vec<Span>,
}

/// What other instances will ask for, by the secrets of clients, and since when.
#[derive(Debug, Default)]
pub(super) struct Promises(Mutex<HashMap<String, (Instant, Memory)>>);

impl Promises {
    /// Another instance will ask for this.
    pub(super) fn make(&self, secret: &str, memory: Memory) {
        self.0.lock().insert(secret.to_owned(), (Instant::now(), memory));
    }

    /// What another instance was promised.
    pub(super) fn keep(&self, secret: &str) -> Option<Memory> {
        self.0.lock().remove(secret).map(|(_, memory)| memory)
    }

    /// Forgets what nobody has asked for.
    pub(super) fn forget_old(&self) {
        self.0.lock().retain(|_, (since, _)| since.elapsed() < PROMISED);
    }
}

//! The sessions of one service: which there are, how many live, and what all of them use. Never looks into one.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

use dashmap::DashMap;
use tokio::{runtime::Handle, sync::Notify};

use super::engine::{Engine, SessionId};
use crate::service::Service;

/// The sessions of one service, and what all of them use.
pub(super) struct Sessions<S> {
    pub(super) service: Arc<Service>,
    pub(super) engine: Arc<Engine>,
    pub(super) runtime: Handle,
    pub(super) roll: Arc<Roll>,
    by_sid: DashMap<SessionId, Weak<S>>,
    by_number: DashMap<u64, Weak<S>>,
}

impl<S> Sessions<S> {
    /// None yet.
    pub(super) fn new(service: Arc<Service>, engine: Arc<Engine>, runtime: Handle) -> Self {
        Self {
            service,
            engine,
            runtime,
            roll: Arc::default(),
            by_sid: DashMap::new(),
            by_number: DashMap::new(),
        }
    }

    /// A session has begun.
    pub(super) fn insert(&self, number: u64, session: &Arc<S>) {
        self.by_number.insert(number, Arc::downgrade(session));
    }

    /// Its secret id is known.
    pub(super) fn name(&self, sid: SessionId, session: &Arc<S>) {
        self.by_sid.insert(sid, Arc::downgrade(session));
    }

    /// A session is gone.
    pub(super) fn remove(&self, number: u64, sid: Option<SessionId>) {
        self.by_number.remove(&number);
        if let Some(sid) = sid {
            self.by_sid.remove(&sid);
        }
    }

    /// The session of a secret id, as a client gives it.
    pub(super) fn find(&self, sid: &str) -> Option<Arc<S>> {
        let sid: SessionId = sid.parse().ok()?;
        self.by_sid.get(&sid)?.value().upgrade()
    }

    /// All sessions.
    pub(super) fn all(&self) -> Vec<Arc<S>> {
        self.by_number
            .iter()
            .filter_map(|entry| entry.value().upgrade())
            .collect()
    }
}

/// How many sessions live, for shutdown to wait for, and how many of them depend on Node.js.
#[derive(Debug, Default)]
pub(super) struct Roll {
    live: AtomicUsize,
    changed: Notify,
    through_node: AtomicUsize,
    pub(super) hearing: Hearing,
}

impl Roll {
    /// Whether some sessions send and receive by way of Node.js.
    pub(super) fn depends_on_node(&self) -> bool {
        self.through_node.load(Ordering::Relaxed) > 0
    }

    /// Resolves when no session is left.
    pub(super) async fn none(&self) {
        loop {
            let changed = self.changed.notified();
            if self.live.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// A session's place among those that live.
#[derive(Debug)]
pub(super) struct Seat {
    roll: Arc<Roll>,
    /// The client sends and receives by way of Node.js.
    through_node: AtomicBool,
}

impl Seat {
    /// A session begins.
    pub(super) fn take(roll: &Arc<Roll>) -> Self {
        roll.live.fetch_add(1, Ordering::AcqRel);
        Self {
            roll: roll.clone(),
            through_node: AtomicBool::new(false),
        }
    }

    /// The session has ended; to be said once.
    pub(super) fn leave(&self) {
        self.pass_through_node(false);
        self.roll.live.fetch_sub(1, Ordering::AcqRel);
        self.roll.changed.notify_waiters();
    }

    /// Says whether the client sends and receives by way of Node.js.
    pub(super) fn pass_through_node(&self, passes: bool) {
        let count = &self.roll.through_node;
        match (self.through_node.swap(passes, Ordering::AcqRel), passes) {
            (false, true) => drop(count.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(count.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
    }

    /// Now, in looks at which JavaScript was not busy.
    pub(super) fn now(&self) -> u32 {
        self.roll.hearing.now()
    }

    /// Whether the client sends and receives by way of Node.js.
    pub(super) fn passes_through_node(&self) -> bool {
        self.through_node.load(Ordering::Acquire)
    }
}

/// Time in which JavaScript was not busy, in looks; goes round at 2^32.
#[derive(Debug, Default)]
pub(super) struct Hearing(AtomicU32);

impl Hearing {
    /// Now.
    pub(super) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more look at which JavaScript was not busy.
    pub(super) fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

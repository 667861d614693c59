//! What the connections of a service have together: their limits, the runtime, and the roll of those that live.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::Notify};

use super::hearing::Hearing;
use crate::{
    backpressure::Congestion,
    metrics::Exceeded,
    ports::{EventSink, ServiceEvent},
};

/// What the connections of all sessions use.
pub(super) struct Common {
    pub(super) limits: Limits,
    pub(super) runtime: Handle,
    pub(super) roll: Roll,
    began: Instant,
}

impl std::fmt::Debug for Common {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Common").finish_non_exhaustive()
    }
}

impl Common {
    /// Nobody is there yet.
    pub(super) fn new(limits: Limits, runtime: Handle) -> Self {
        Self {
            limits,
            runtime,
            roll: Roll::default(),
            began: Instant::now(),
        }
    }

    /// The time since the first of it, which takes less room than an instant.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// What bounds the queue of a client.
pub(super) struct Limits {
    /// Bytes that may wait for a client that does not read.
    pub(super) queued_bytes: usize,
    /// For how long that may be so.
    pub(super) stall: Duration,
    /// Where slow clients are counted.
    pub(super) congestion: Arc<Congestion>,
    /// Where it is counted who went beyond which bound.
    pub(super) exceeded: Arc<Exceeded>,
    /// Where it is told that one was closed.
    pub(super) sink: Weak<dyn EventSink>,
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut limits = formatter.debug_struct("Limits");
        limits.field("queued_bytes", &self.queued_bytes).finish_non_exhaustive()
    }
}

impl Limits {
    /// From how many waiting bytes on a client is slow.
    pub(super) fn slow(&self) -> usize {
        self.congestion.quarter().max(1)
    }

    /// Tells the application's logger.
    pub(super) fn warn(&self, text: String) {
        if let Some(sink) = self.sink.upgrade() {
            sink.emit(ServiceEvent::Warning(text));
        }
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
    common: Arc<Common>,
    /// The client sends and receives by way of Node.js.
    through_node: AtomicBool,
}

impl Seat {
    /// A session begins.
    pub(super) fn take(common: &Arc<Common>) -> Self {
        common.roll.live.fetch_add(1, Ordering::AcqRel);
        Self {
            common: common.clone(),
            through_node: AtomicBool::new(false),
        }
    }

    /// What it uses together with the others.
    pub(super) fn common(&self) -> &Common {
        &self.common
    }

    /// The session has ended; to be said once.
    pub(super) fn leave(&self) {
        self.pass_through_node(false);
        self.common.roll.live.fetch_sub(1, Ordering::AcqRel);
        self.common.roll.changed.notify_waiters();
    }

    /// Says whether the client sends and receives by way of Node.js.
    pub(super) fn pass_through_node(&self, passes: bool) {
        let count = &self.common.roll.through_node;
        match (self.through_node.swap(passes, Ordering::AcqRel), passes) {
            (false, true) => drop(count.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(count.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
    }

    /// Whether the client sends and receives by way of Node.js.
    pub(super) fn passes_through_node(&self) -> bool {
        self.through_node.load(Ordering::Acquire)
    }
}

//! How it stands with the cluster: what the application is told of it, the counters, and the faults.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use super::bus::BusError;
use crate::ports::{EventKind, EventSink, ServiceEvent};

/// How often a fault of one kind is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The bus was not reached yet, or what the others know is not known yet.
    Connecting,
    /// Everything is known.
    Ready,
    /// The bus is away.
    Degraded,
    /// The service has ended.
    Ended,
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::Degraded | Self::Ended => "degraded",
        }
    }
}

/// `getStats().cluster`.
#[derive(Debug, Clone, Default)]
pub struct ClusterState {
    /// `connecting`, `ready` or `degraded`.
    pub status: &'static str,
    /// This instance's name in the cluster.
    pub uid: String,
    /// Living instances of this package, this one included.
    pub instances: usize,
    /// Publications that wait for the bus.
    pub queued: usize,
    /// Publications that were dropped because too many waited.
    pub dropped: u64,
    /// Publications of other instances that never arrived.
    pub lost: u64,
    /// Messages on our channels that could not be read.
    pub ignored: u64,
    /// Publications that the bus has taken.
    pub published: u64,
    /// Messages that came from other servers.
    pub received: u64,
}

/// The stage of an instance, and what is counted and reported.
pub(super) struct Status {
    sink: Arc<dyn EventSink>,
    stage: watch::Sender<Stage>,
    /// What is known of other instances is as new as it can be.
    is_current: AtomicBool,
    published: AtomicU64,
    received: AtomicU64,
    ignored: AtomicU64,
    /// When each kind of fault was last reported.
    reported: Mutex<HashMap<&'static str, Instant>>,
}

impl Status {
    /// Connecting. The application hears through `sink`.
    pub(super) fn new(sink: &Arc<dyn EventSink>) -> Self {
        Self {
            sink: sink.clone(),
            stage: watch::Sender::new(Stage::Connecting),
            is_current: AtomicBool::new(false),
            published: AtomicU64::new(0),
            received: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            reported: Mutex::default(),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Moves to a stage, and tells the application unless it is the end. The end is final.
    pub(super) fn change(&self, stage: Stage) {
        let changed = self.stage.send_if_modified(|current| {
            let changes = *current != stage && *current != Stage::Ended;
            if changes {
                *current = stage;
            }
            changes
        });
        if changed && stage != Stage::Ended && self.sink.wants(EventKind::Cluster) {
            self.sink.emit(ServiceEvent::Cluster(stage.name()));
        }
    }

    /// The bus is away: the application is told why.
    pub(super) fn degrade(&self, error: &BusError) {
        self.is_current.store(false, Ordering::Release);
        self.change(Stage::Degraded);
        self.sink.emit(ServiceEvent::Fault(error.code(), error.to_string()));
    }

    pub(super) fn is_current(&self) -> bool {
        self.is_current.load(Ordering::Acquire)
    }

    /// What other instances know is known here.
    pub(super) fn catch_up(&self) {
        self.is_current.store(true, Ordering::Release);
    }

    /// Resolves when the cluster has been joined; false when the service has ended instead.
    pub(super) async fn ready(&self) -> bool {
        let mut stage = self.stage.subscribe();
        let reached = stage.wait_for(|stage| matches!(stage, Stage::Ready | Stage::Ended));
        reached.await.is_ok_and(|stage| *stage == Stage::Ready)
    }

    /// Counts publications that the bus has taken.
    pub(super) fn published(&self, count: u64) {
        self.published.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a message of another server.
    pub(super) fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a message that could not be read.
    pub(super) fn ignore(&self, channel: &str, why: &str) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
        let channel: String = channel.chars().take(100).collect();
        self.report(
            "ERR_CLUSTER_MESSAGE",
            &format!("A message on the channel {} is ignored: {why}", Value::from(channel)),
        );
    }

    /// Tells the application of a fault, of one kind not too often.
    pub(super) fn report(&self, code: &'static str, text: &str) {
        let now = Instant::now();
        let mut reported = self.reported.lock();
        if reported
            .get(code)
            .is_some_and(|last| now.duration_since(*last) < REPORT_INTERVAL)
        {
            return;
        }
        reported.insert(code, now);
        drop(reported);
        // The application hears of it as of an error.
        tracing::debug!(code, text, "a fault of the cluster");
        self.sink.emit(ServiceEvent::Fault(code, text.to_owned()));
    }

    pub(super) fn report_error(&self, error: &BusError) {
        self.report(error.code(), &error.to_string());
    }

    /// Stage and counters, as far as they are known here.
    pub(super) fn counted(&self) -> ClusterState {
        ClusterState {
            status: self.stage().name(),
            ignored: self.ignored.load(Ordering::Relaxed),
            published: self.published.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            ..ClusterState::default()
        }
    }
}

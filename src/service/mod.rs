//! The use cases: one function per verb of the API. Synchronous; nothing here waits for a client or for JavaScript.

mod acks;
mod admission;
mod broadcast;
mod client;
mod connections;
mod expiry;
mod gathering;
#[cfg(test)]
#[cfg(feature = "shuttle")]
mod interleavings;
mod messages;
mod promises;
mod rates;
mod recipients;
mod recoveries;
mod recovery;
mod remote;
mod rooms;
mod takeover;
mod tokens;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use dashmap::DashMap;
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::oneshot;

use self::{
    acks::RemoteAcks, admission::Admissions, expiry::Expiries, promises::Promises, rates::Rates, recoveries::Recoveries,
};
use crate::{
    backpressure::Budget,
    clock::Clock,
    config::Config,
    fanout::Fanout,
    hub::{Hub, Replay, Room},
    ports::{EventKind, EventSink, Peers, ServiceEvent},
};

pub use acks::OnAck;
pub use admission::{Admitted, Refusal};
pub use client::{ClientPacket, built_in_events};
pub use gathering::tell as tell_gathered;
pub use messages::{MessageType, NewMessage, Page, PageRange};
pub use recovery::watch as watch_recoveries;
pub use remote::Loss;
pub use rooms::{NewRoom, RoomStats};
pub use takeover::TakenOver;
pub use tokens::watch as watch_tokens;

/// A service: its state, its deliveries and what it tells JavaScript.
pub struct Service {
    /// The options it runs with.
    pub config: Config,
    /// What time it is.
    pub clock: Clock,
    /// Sockets, rooms and counters.
    pub hub: Hub,
    fanout: Fanout,
    budget: Arc<Budget>,
    rates: Option<Rates>,
    sink: Arc<dyn EventSink>,
    next_key: AtomicU64,
    admissions: Admissions,
    expiries: Expiries,
    recoveries: Recoveries,
    promises: Promises,
    introductions: DashMap<u64, oneshot::Sender<()>>,
    closed: AtomicBool,
    gate: RwLock<()>,
    remote_acks: RemoteAcks,
    /// Rooms whose members are to be told who came and went.
    gathered: Mutex<Vec<Arc<Room>>>,
    /// The other servers, in a cluster.
    peers: OnceLock<Arc<dyn Peers>>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Service")
            .field("hub", &self.hub)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// A service without transports: everything works on memory.
    pub fn new(config: Config, sink: Arc<dyn EventSink>, runtime: &tokio::runtime::Handle) -> Self {
        let parts = config.worker_threads.max(1);
        let recovery = config.connection_state_recovery.as_ref();
        let replay = recovery.map(|recovery| {
            let (age, bytes) = (recovery.max_disconnection_duration, recovery.max_buffered_bytes);
            // One may be noticed to be away only after its heartbeat was missed.
            let unnoticed = config.ping_interval + config.ping_timeout;
            Arc::new(Replay::new(age + unnoticed, bytes))
        });
        Self {
            clock: Clock::default(),
            hub: Hub::with_replay(parts, replay.clone()),
            fanout: Fanout::start(parts, config.limits.max_queued_bytes, replay, runtime),
            budget: Arc::default(),
            rates: Rates::of(&config.limits),
            config,
            sink,
            next_key: AtomicU64::new(0),
            admissions: Admissions::default(),
            expiries: Expiries::default(),
            recoveries: Recoveries::default(),
            promises: Promises::default(),
            introductions: DashMap::new(),
            closed: AtomicBool::new(false),
            gate: RwLock::new(()),
            remote_acks: RemoteAcks::default(),
            gathered: Mutex::default(),
            peers: OnceLock::new(),
        }
    }

    /// Makes the service one of a cluster; only the first call counts.
    pub fn join_cluster(&self, peers: Arc<dyn Peers>) {
        let _ = self.peers.set(peers);
    }

    fn peers(&self) -> Option<&Arc<dyn Peers>> {
        self.peers.get()
    }

    /// The way to the connections.
    pub fn fanout(&self) -> &Fanout {
        &self.fanout
    }

    /// What waits because of clients.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Where events go.
    pub fn sink(&self) -> &Arc<dyn EventSink> {
        &self.sink
    }

    /// A number for a new connection.
    pub fn next_key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether `shutdown` has begun.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What a balancer asks: whether new clients may come, and a JSON object that says how it stands.
    pub fn health(&self) -> (bool, String) {
        let status = if self.is_closed() { "draining" } else { "ok" };
        let connections = self.connections();
        let cluster = self.peers().map(|peers| format!(",\"cluster\":\"{}\"", peers.status()));
        let json = format!(
            "{{\"status\":\"{status}\",\"connections\":{connections}{}}}",
            cluster.unwrap_or_default()
        );
        (!self.is_closed(), json)
    }

    /// How many clients are connected: those that are away are not.
    fn connections(&self) -> usize {
        self.hub.socket_count().saturating_sub(self.recoveries.away())
    }

    /// Refuses connections from now on. False when it did before.
    pub fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// A change that is told of: whoever reads [at rest](Self::at_rest) sees all of it, its events on their way, or
    /// nothing. Comes before every lock of the service; never held twice by a thread, nor across an `.await`.
    fn change(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read()
    }

    /// Waits until no change is half done, and keeps others from beginning. For JavaScript's reads, which may only show
    /// what is on its way to be told; nothing may be changed meanwhile, and no lock of the cluster be taken but the log's.
    pub fn at_rest(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write()
    }

    /// For what JavaScript sends: meanwhile no socket comes here from another instance, or goes there. So whom it is for is
    /// asked, and it is sent and published, before that or after it: one of the two instances has it for that socket.
    pub fn while_none_moves(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        (self.recovers().is_some() && self.peers().is_some()).then(|| self.at_rest())
    }

    fn tell(&self, kind: EventKind, event: impl FnOnce() -> ServiceEvent) {
        if self.sink.wants(kind) {
            self.sink.emit(event());
        }
    }
}

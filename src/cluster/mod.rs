//! The other servers, over Redis: instances of this package, and Node.js servers with `@socket.io/redis-adapter`.
//!
//! | module | owns |
//! |---|---|
//! | [`record`] | the messages that instances of this package exchange besides |
//! | [`peers`] | what the service tells the others: the port [`Peers`](crate::ports::Peers) |
//! | [`log`], [`publisher`] | publications: numbered, waiting while Redis is away, kept for those that missed some |
//! | [`listener`] | what arrives, told apart and handed to the service |
//! | [`sequence`] | the publications of one other instance, put in order |
//! | [`replica`] | what one other instance has told of its sockets |
//! | [`instances`] | who lives; streams and replicas |
//! | [`membership`] | joining, beats, silence, leaving |
//! | [`rooms`] | the rooms, in a Redis hash |
//! | [`history`] | the messages, in Redis streams |
//! | [`answers`], [`questions`] | requests of the adapter's kind: theirs and ours |

mod answers;
mod history;
mod instances;
mod listener;
mod log;
mod membership;
mod peers;
mod publisher;
mod questions;
mod record;
mod replica;
mod rooms;
mod sequence;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
};

use self::{
    answers::Asker,
    history::{Reader, Storage},
    instances::Instances,
    log::Log,
    membership::Ear,
    peers::Outbox,
    questions::Pending,
    record::Totals,
    rooms::Directory,
};
use crate::{
    adapter::{self, channels::Channels as ClassicChannels},
    clock,
    config::RedisConfig,
    metrics::{Rates, Stats},
    redis::Connections,
    service::Service,
};

/// The part that a service has in a cluster.
pub struct Cluster {
    uid: Arc<str>,
    service: Arc<Service>,
    outbox: Arc<Outbox>,
    channels: Channels,
    connections: Arc<Connections>,
    instances: Mutex<Instances>,
    /// Questions of ours that wait for answers, by their request ids.
    pending: Mutex<HashMap<Box<str>, Pending>>,
    /// Acknowledgements that JavaScript owes other servers, and until when they wait.
    owed: Mutex<BTreeMap<u64, (Instant, Asker)>>,
    data_wanted: DashMap<u64, oneshot::Sender<String>>,
    next_number: AtomicU64,
    status: watch::Sender<Status>,
    /// Entries of the log that have left it.
    sent: watch::Sender<u64>,
    /// Something has become known of another instance.
    knowledge: Notify,
    /// The messages of the eldest instance have arrived.
    has_history: watch::Sender<bool>,
    /// Beats of ours that have not come back.
    unheard: AtomicU32,
    published: AtomicU64,
    received: AtomicU64,
    ignored: AtomicU64,
    /// When each kind of fault was last reported.
    reported: Mutex<HashMap<&'static str, Instant>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    runtime: Handle,
    heartbeat_interval: Duration,
    requests_timeout: Duration,
    started_at: u64,
}

/// The channels that an instance uses.
#[derive(Debug)]
struct Channels {
    classic: ClassicChannels,
    /// Of all instances of this package.
    everyone: Box<str>,
    /// Of this one.
    inbox: Box<str>,
}

impl Channels {
    fn new(prefix: &str, uid: &str) -> Self {
        let everyone = format!("{prefix}-native#/#");
        Self {
            classic: ClassicChannels::new(prefix, uid),
            inbox: format!("{everyone}{uid}#").into(),
            everyone: everyone.into(),
        }
    }

    /// Patterns and names to subscribe to.
    fn subscribed(&self) -> (Vec<String>, Vec<String>) {
        let names = [
            &self.classic.request,
            &self.classic.response,
            &self.classic.own_response,
            &self.everyone,
            &self.inbox,
        ];
        (
            vec![self.classic.pattern.to_string()],
            names.map(|channel| channel.to_string()).to_vec(),
        )
    }

    fn inbox_of(&self, uid: &str) -> String {
        format!("{}{uid}#", self.everyone)
    }
}

/// How it stands with the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Redis was not reached yet, or what the others know is not known yet.
    Connecting,
    /// Everything is known.
    Ready,
    /// Redis is away.
    Degraded,
    /// The service has ended.
    Ended,
}

impl Status {
    fn name(self) -> &'static str {
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
    /// Publications that wait for Redis.
    pub queued: usize,
    /// Publications that were dropped because too many waited.
    pub dropped: u64,
    /// Publications of other instances that never arrived.
    pub lost: u64,
    /// Messages on our channels that could not be read.
    pub ignored: u64,
    /// Publications that Redis has taken.
    pub published: u64,
    /// Messages that came from other servers.
    pub received: u64,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cluster")
            .field("uid", &self.uid)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Joins the cluster that the options name, if they name one. Returns at once; Redis may be away.
    pub fn start(service: &Arc<Service>, runtime: &Handle) -> Option<Arc<Self>> {
        let config = service.config.redis.as_ref()?;
        let uid: Arc<str> = adapter::random_id()?.into();
        let cluster = Arc::new_cyclic(|cluster| {
            let ear = Arc::new(Ear::new(cluster.clone()));
            Self::new(uid, service.clone(), config, runtime, ear)
        });
        service.join_cluster(cluster.outbox.clone());
        cluster.connections.connect(runtime);
        cluster.spawn(cluster.clone().publish());
        cluster.spawn(cluster.clone().keep_beating());
        if let Some(storage) = &cluster.outbox.storage {
            let _ = cluster.outbox.reader.set(Reader {
                cluster: Arc::downgrade(&cluster),
                runtime: runtime.clone(),
            });
            cluster.spawn(cluster.clone().keep_storing(storage.clone()));
        }
        Some(cluster)
    }

    fn new(uid: Arc<str>, service: Arc<Service>, config: &RedisConfig, runtime: &Handle, ear: Arc<Ear>) -> Self {
        let prefix = &config.key_prefix;
        let history = &service.config.history;
        let storage = history.persist.then(|| {
            let key = format!("{prefix}-native:history:");
            Arc::new(Storage::new(key, history.clone(), config.max_queued_messages))
        });
        let log = Log::new(config.max_queued_messages, config.max_queued_bytes);
        let directory = Directory::new(format!("{prefix}-native:rooms"));
        let channels = Channels::new(prefix, &uid);
        let (patterns, names) = channels.subscribed();
        Self {
            connections: Connections::new(config, patterns, names, ear),
            channels,
            outbox: Arc::new(Outbox::new(log, directory, storage, config.requests_timeout)),
            instances: Mutex::new(Instances::new(uid.clone())),
            pending: Mutex::default(),
            owed: Mutex::default(),
            data_wanted: DashMap::new(),
            next_number: AtomicU64::new(0),
            status: watch::Sender::new(Status::Connecting),
            sent: watch::Sender::new(0),
            knowledge: Notify::new(),
            has_history: watch::Sender::new(false),
            unheard: AtomicU32::new(0),
            published: AtomicU64::new(0),
            received: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            reported: Mutex::default(),
            tasks: Mutex::default(),
            runtime: runtime.clone(),
            heartbeat_interval: config.heartbeat_interval,
            requests_timeout: config.requests_timeout,
            started_at: clock::now_ms(),
            uid,
            service,
        }
    }

    /// How it stands with the cluster.
    pub fn state(&self) -> ClusterState {
        let (queued, dropped) = self.outbox.log.queued();
        let unstored = self.outbox.storage.as_ref().map_or(0, |storage| storage.dropped());
        let instances = self.instances.lock();
        ClusterState {
            status: self.status.borrow().name(),
            uid: self.uid.to_string(),
            instances: instances.len() + 1,
            queued,
            dropped: dropped + unstored,
            lost: instances.missed,
            ignored: self.ignored.load(Ordering::Relaxed),
            published: self.published.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
        }
    }

    /// `getStats()` of the other instances, as their last beats told.
    pub fn others(&self) -> Vec<Stats> {
        let totals = self.instances.lock().totals();
        totals.into_iter().map(stats_of).collect()
    }

    /// Resolves when the cluster has been joined: everything that the others know is known here. False when the
    /// service has ended instead.
    pub async fn ready(&self) -> bool {
        let mut status = self.status.subscribe();
        let reached = status.wait_for(|status| matches!(status, Status::Ready | Status::Ended));
        reached.await.is_ok_and(|status| *status == Status::Ready)
    }

    /// Runs something for as long as the cluster is joined.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(self.runtime.spawn(task));
    }
}

fn stats_of(totals: Totals) -> Stats {
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Stats {
        total_connections: totals.connections,
        active_connections: count(totals.active),
        total_rooms: count(totals.rooms),
        rates: Rates {
            messages: totals.messages,
            bytes: totals.bytes,
        },
        avg_latency_ms: totals.latency_ms,
    }
}

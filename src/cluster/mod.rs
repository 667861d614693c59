//! The other servers, over a [`Bus`](bus::Bus) and a [`Store`](bus::Store): instances of this package, and Node.js
//! servers with `@socket.io/redis-adapter`.
//!
//! | module | owns |
//! |---|---|
//! | [`bus`] | the contracts of what joins the instances and of what outlives them |
//! | [`message`], [`mark`], [`channels`] | what instances tell each other, and where |
//! | [`peers`] | what the service tells the others: the port [`Peers`](crate::ports::Peers) |
//! | [`log`], [`encoder`], [`publisher`] | publications: numbered, waiting while the bus is away, kept for those that missed some |
//! | [`listener`], [`delivery`] | what arrives, told apart and handed to whom it concerns |
//! | [`sequence`], [`replica`] | the publications of one other instance in order, and what it has told of its sockets |
//! | [`instances`], [`sync`] | all other instances, and keeping up with them |
//! | [`membership`], [`status`] | joining, beats; how it stands, counters and faults |
//! | [`rooms`], [`history`], [`backlog`] | the rooms and the messages in the store, or else handed on |
//! | [`commands`] | what is asked of the instance of a socket |
//! | [`takeover`], [`orphans`] | sockets that go from one instance to another with their clients; those of lost instances |
//! | [`answers`], [`questions`] | requests of the adapter's kind: theirs and ours |
//! | [`settings`], [`tasks`] | the options; what runs for as long as the cluster is joined |
//!
//! Locks are taken in this order: the instances, a socket's rooms, a room, the log.

mod answers;
mod backlog;
pub(crate) mod bus;
mod channels;
mod commands;
mod delivery;
mod encoder;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod history;
mod instances;
mod listener;
mod log;
mod mark;
mod membership;
mod message;
mod orphans;
mod peers;
mod publisher;
mod questions;
mod replica;
mod rooms;
mod sequence;
mod settings;
mod status;
mod sync;
mod takeover;
mod tasks;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};

pub(crate) use self::settings::Settings;
pub use self::status::ClusterState;
use self::{
    answers::{Answers, Wanted},
    backlog::Backlog,
    bus::{Bus, Store},
    channels::Channels,
    commands::Commands,
    delivery::Delivery,
    encoder::Encoder,
    history::{History, Notes},
    instances::Instances,
    listener::Listener,
    log::{Body, Log},
    membership::{Beats, Membership},
    message::{Message, Totals},
    peers::ClusterPeers,
    publisher::Publisher,
    questions::Questions,
    rooms::Rooms,
    status::{Stage, Status},
    sync::InstanceSync,
    takeover::Takeovers,
    tasks::Tasks,
};
use crate::{
    adapter, clock,
    metrics::{Rates, Stats},
    selection::Selection,
    service::Service,
};

/// How long `createRoom` waits for the bus, and how long an end waits for what is to be published.
const COURTESY: Duration = Duration::from_millis(500);
const FAREWELL: Duration = Duration::from_secs(1);

/// The part that a service has in a cluster.
pub struct Cluster {
    uid: Arc<str>,
    service: Arc<Service>,
    runtime: Handle,
    bus: Arc<dyn Bus>,
    log: Arc<Log>,
    status: Arc<Status>,
    publisher: Arc<Publisher>,
    sync: Arc<InstanceSync>,
    membership: Arc<Membership>,
    history: Option<Arc<History>>,
    commands: Arc<Commands>,
    takeovers: Arc<Takeovers>,
    questions: Arc<Questions>,
    answers: Arc<Answers>,
    listener: Arc<Listener>,
    channels: Arc<Channels>,
    tasks: Arc<Tasks>,
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
    /// Joins the cluster that this bus and this store are of. Returns at once; they may be away. `None` when the system
    /// has no random bytes for a name.
    pub(crate) fn start(
        service: &Arc<Service>,
        settings: &Settings,
        (bus, store): (Arc<dyn Bus>, Arc<dyn Store>),
        runtime: &Handle,
    ) -> Option<Arc<Self>> {
        let uid: Arc<str> = adapter::random_id()?.into();
        let cluster = Self::new(uid, service, settings, (bus, store), runtime);
        cluster.join();
        cluster.keep_beating();
        Some(Arc::new(cluster))
    }

    fn new(
        uid: Arc<str>,
        service: &Arc<Service>,
        settings: &Settings,
        (bus, store): (Arc<dyn Bus>, Arc<dyn Store>),
        runtime: &Handle,
    ) -> Self {
        let service = service.clone();
        let sink = service.sink().clone();
        let status = Arc::new(Status::new(&sink));
        let tasks = Arc::new(Tasks::new(runtime));
        let channels = Arc::new(Channels::new(&settings.key_prefix, &uid));
        let log = Arc::new(Log::new(settings.max_queued_messages, settings.max_queued_bytes));
        let encoder = Arc::new(Encoder::new(uid.clone(), channels.clone()));
        let rooms = Arc::new(Rooms::new(store.clone()));
        let keep = service.config.history.clone();
        let history = keep.persist.then(|| {
            Arc::new(History {
                bus: bus.clone(),
                store,
                status: status.clone(),
                service: Arc::downgrade(&service),
                runtime: runtime.clone(),
                keep,
                notes: Notes::new(settings.max_queued_messages),
            })
        });
        let commands = Arc::new(Commands::new(log.clone(), settings.requests_timeout));
        let publisher = Arc::new(Publisher {
            bus: bus.clone(),
            log: log.clone(),
            encoder: encoder.clone(),
            rooms: rooms.clone(),
            status: status.clone(),
            sent: watch::Sender::new(0),
        });
        let delivery = Arc::new(Delivery {
            service: service.clone(),
            status: status.clone(),
        });
        let sync = Arc::new(InstanceSync {
            service: service.clone(),
            log: log.clone(),
            channels: channels.clone(),
            encoder,
            rooms: rooms.clone(),
            history: history.clone(),
            delivery: delivery.clone(),
            status: status.clone(),
            tasks: tasks.clone(),
            instances: Mutex::new(Instances::new(uid.clone(), service.hub.replay().cloned())),
            learnt: Notify::new(),
        });
        let backlog = Arc::new(Backlog::new(service.clone(), log.clone(), history.is_some()));
        let membership = Arc::new(Membership {
            service: service.clone(),
            bus: bus.clone(),
            log: log.clone(),
            channels: channels.clone(),
            rooms: rooms.clone(),
            sync: sync.clone(),
            backlog: backlog.clone(),
            status: status.clone(),
            tasks: tasks.clone(),
            heartbeat_interval: settings.heartbeat_interval,
            started_at: clock::now_ms(),
            beats: Beats::default(),
        });
        let questions = Arc::new(Questions {
            uid: uid.clone(),
            bus: bus.clone(),
            log: log.clone(),
            channels: channels.clone(),
            status: status.clone(),
            sink,
            tasks: tasks.clone(),
            requests_timeout: settings.requests_timeout,
            pending: Mutex::default(),
        });
        let answers = Arc::new(Answers {
            uid: uid.clone(),
            service: service.clone(),
            log: log.clone(),
            channels: channels.clone(),
            status: status.clone(),
            tasks: tasks.clone(),
            requests_timeout: settings.requests_timeout,
            wanted: Wanted::default(),
        });
        let takeovers = Arc::new(Takeovers::new(
            service.clone(),
            log.clone(),
            sync.clone(),
            answers.clone(),
            tasks.clone(),
        ));
        let listener = Arc::new(Listener {
            uid: uid.clone(),
            service: service.clone(),
            channels: channels.clone(),
            status: status.clone(),
            sync: sync.clone(),
            membership: membership.clone(),
            backlog,
            delivery,
            commands: commands.clone(),
            takeovers: takeovers.clone(),
            questions: questions.clone(),
            answers: answers.clone(),
        });
        service.join_cluster(Arc::new(ClusterPeers {
            log: log.clone(),
            rooms,
            history: history.clone(),
            commands: commands.clone(),
            takeovers: takeovers.clone(),
            status: status.clone(),
            uid: uid.clone(),
        }));
        Self {
            uid,
            service,
            runtime: runtime.clone(),
            bus,
            log,
            status,
            publisher,
            sync,
            membership,
            history,
            commands,
            takeovers,
            questions,
            answers,
            listener,
            channels,
            tasks,
        }
    }

    /// Publishes, hears and stores from now on.
    fn join(&self) {
        let publisher = self.publisher.clone();
        self.tasks.keep("publishing", move || publisher.clone().run());
        if let Some(history) = self.history.clone() {
            self.tasks.keep("keeping messages", move || history.clone().run());
        }
        let subscriptions = self.channels.subscriptions();
        self.bus.start(subscriptions, self.listener.clone(), &self.runtime);
    }

    fn keep_beating(&self) {
        let (commands, answers) = (self.commands.clone(), self.answers.clone());
        let (takeovers, tasks) = (self.takeovers.clone(), self.tasks.clone());
        let on_beat = move || {
            commands.expire();
            answers.expire();
            let takeovers = takeovers.clone();
            // Aside: beats are not to wait for the application.
            tasks.spawn(async move { takeovers.tell_data().await });
        };
        let membership = self.membership.clone();
        self.tasks.keep("an instance's beats", move || {
            membership.clone().keep_beating(on_beat.clone())
        });
    }

    /// How it stands with the cluster.
    pub fn state(&self) -> ClusterState {
        let (queued, dropped) = self.log.queued();
        let unstored = self.history.as_ref().map_or(0, |history| history.dropped());
        let instances = self.sync.instances();
        ClusterState {
            uid: self.uid.to_string(),
            instances: instances.len() + 1,
            queued,
            dropped: dropped + unstored,
            lost: instances.missed,
            ..self.status.counted()
        }
    }

    /// `getStats()` of the other instances, as their last beats told.
    pub fn others(&self) -> Vec<Stats> {
        let totals = self.sync.instances().totals();
        totals.into_iter().map(stats_of).collect()
    }

    /// Resolves when the cluster has been joined: everything that the others know is known here. False when the
    /// service has ended instead.
    pub async fn ready(&self) -> bool {
        self.status.ready().await
    }

    /// Resolves when what was published before has left, or soon when the bus is away.
    pub async fn published(&self) {
        self.publisher.caught_up(COURTESY).await;
    }

    /// Says goodbye and ends everything, in bounded time.
    pub async fn leave(&self) {
        self.log.end(Body::Message(Message::Bye));
        self.publisher.caught_up(FAREWELL).await;
        if let Some(history) = self.history.as_ref().filter(|_| self.bus.is_up()) {
            let _ = tokio::time::timeout(FAREWELL, history.write_rest()).await;
        }
        self.stop();
        self.bus.stop().await;
    }

    /// Ends everything at once.
    pub fn abandon(&self) {
        self.stop();
        let bus = self.bus.clone();
        self.runtime.spawn(async move { bus.stop().await });
    }

    fn stop(&self) {
        self.status.change(Stage::Ended);
        self.tasks.abort_all();
        self.commands.end();
        self.service.forget_acks();
    }

    /// Asks the other servers for the names of their Socket.IO rooms. Answered under this number: strings.
    pub fn ask_rooms(&self, id: u64) {
        self.questions.ask_rooms(id);
    }

    /// Asks the other servers for their sockets. Answered under this number: `{id, handshake, rooms, data}`.
    pub fn ask_sockets(&self, id: u64, selection: Selection<'static>) {
        self.questions.ask_sockets(id, selection);
    }

    /// Asks the clients of the other servers for an acknowledgement of an event. Answered under this number: the first
    /// argument of each; with an error when some did not answer in time.
    pub fn ask_clients(
        &self,
        id: u64,
        selection: Selection<'static>,
        args: &str,
        attachments: Vec<Bytes>,
        timeout: Duration,
    ) {
        self.questions.ask_clients(id, selection, args, attachments, timeout);
    }

    /// Sends an event, a JSON array, to the applications of the other servers. With a number, their acknowledgements
    /// are awaited and answered under it: the first argument of each.
    pub fn emit_to_servers(&self, args: &str, id: Option<u64>) {
        self.questions.emit_to_servers(args, id);
    }

    /// Makes sockets of the other servers join rooms, or leave them.
    pub fn move_sockets(&self, selection: &Selection<'_>, rooms: &[String], join: bool) {
        self.questions.move_sockets(selection, rooms, join);
    }

    /// Disconnects sockets of the other servers; their transports as well with `close`.
    pub fn disconnect_sockets(&self, selection: &Selection<'_>, close: bool) {
        self.questions.disconnect_sockets(selection, close);
    }

    /// The application acknowledges `ServiceEvent::ServerSide` of this number with a JSON array of arguments.
    pub fn acknowledge_server(&self, number: u64, args: &str) {
        self.answers.acknowledge_server(number, args);
    }

    /// The application answers `ServiceEvent::DataWanted` of this number with a JSON array: the data of each socket.
    pub fn give_data(&self, number: u64, json: &str) {
        self.answers.give_data(number, json);
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

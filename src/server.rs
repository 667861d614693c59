//! Lifecycle: the runtime, the parts of a service, and their ordered end.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::AbortHandle,
};

#[cfg(unix)]
use crate::transport::{Address, ContextError, DoorConfig, HandOver, Listener, OpenError, TlsOptions};
use crate::{
    cluster::{Cluster, Settings},
    config::Config,
    disconnect::DisconnectReason,
    lasting,
    link::Ending,
    memory,
    ports::EventSink,
    redis,
    service::{self, Service},
    transport::Transport,
};

/// How a service lets its clients go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Farewell {
    /// The time that their ends are spread over.
    pub drain: Duration,
    /// Whether other instances are to take their sockets over.
    pub hands_over: bool,
}

/// How long clients whose sockets are to be taken over may take to come to another instance.
const RETURNING: Duration = Duration::from_secs(10);
/// How long clients may take to read what is queued for them at shutdown.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long connections may take to close after that.
const LAST_CALL: Duration = Duration::from_secs(1);

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// The process's runtime; the first service decides how many threads it has.
///
/// # Errors
///
/// When the system refuses threads.
pub fn runtime(threads: usize) -> io::Result<Handle> {
    let _one_at_a_time = STARTING.lock();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.handle().clone());
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name("websocket")
        .enable_all()
        .build()?;
    Ok(RUNTIME.get_or_init(|| runtime).handle().clone())
}

/// A service and, once it is initialised, its transport.
#[derive(Debug)]
pub struct Server {
    service: Arc<Service>,
    transport: OnceLock<Arc<Transport>>,
    /// Doors of our own.
    #[cfg(unix)]
    doors: Mutex<BTreeMap<u32, Listener>>,
    cluster: Option<Arc<Cluster>>,
    runtime: Handle,
    /// What looks after the service.
    watches: [AbortHandle; 4],
}

/// A task that looks after the service.
type Watch = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Server {
    /// A service in memory. Events go to `sink`.
    ///
    /// # Errors
    ///
    /// When the runtime cannot be started.
    pub fn new(config: Config, sink: Arc<dyn EventSink>) -> io::Result<Self> {
        let runtime = runtime(config.worker_threads)?;
        let service = Arc::new(Service::new(config, sink, &runtime));
        let cluster = join_cluster(&service, &runtime);
        let weak = Arc::downgrade(&service);
        let watch = |what, task: fn(Weak<Service>) -> Watch| {
            let weak = weak.clone();
            lasting::watch(&runtime, what, move || task(weak.clone()))
        };
        let watches = [
            watch("giving memory back", |service| Box::pin(memory::watch(service))),
            watch("telling of members", |service| {
                Box::pin(service::tell_gathered(service))
            }),
            watch("ending sockets", |service| Box::pin(service::watch_tokens(service))),
            watch("ending who is away", |service| {
                Box::pin(service::watch_recoveries(service))
            }),
        ];
        Ok(Self {
            watches,
            service,
            cluster,
            transport: OnceLock::new(),
            #[cfg(unix)]
            doors: Mutex::default(),
            runtime,
        })
    }

    /// The use cases.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The other servers, when the service is one of a cluster.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// The runtime that everything runs on.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// The network side; built by the first call.
    pub fn transport(&self) -> &Arc<Transport> {
        self.transport
            .get_or_init(|| Transport::new(self.service.clone(), self.runtime.clone()))
    }

    /// Opens a door of our own under a number; connections that are Node.js's go to `hand_over`. Returns where it listens.
    ///
    /// # Errors
    ///
    /// Those of the system: the address is in use, or not ours; and those of TLS.
    #[cfg(unix)]
    pub fn open_door(&self, number: u32, config: DoorConfig, hand_over: HandOver) -> Result<Address, OpenError> {
        let _runtime = self.runtime.enter();
        let door = Listener::open(self.transport(), config, hand_over)?;
        let address = door.address().clone();
        self.doors.lock().insert(number, door);
        Ok(address)
    }

    /// New connections of a door with TLS shake hands by these options. False when it is none.
    ///
    /// # Errors
    ///
    /// When the options are of no use; the earlier ones stay.
    #[cfg(unix)]
    pub fn set_secure_context(&self, number: u32, options: &TlsOptions) -> Result<bool, ContextError> {
        match self.doors.lock().get(&number) {
            Some(door) => door.set_secure_context(options),
            None => Ok(false),
        }
    }

    /// Ends the service and everything that belongs to it, see [`Self::shutdown_of`].
    pub fn shutdown(&self, farewell: Farewell) -> impl Future<Output = ()> + Send + 'static {
        #[cfg(unix)]
        let doors = std::mem::take(&mut *self.doors.lock());
        let parts = (self.service.clone(), self.opened_transport(), self.cluster.clone());
        let end = Self::shutdown_of(parts, farewell);
        async move {
            // Clients that poll fetch what is queued for them through these.
            end.await;
            #[cfg(unix)]
            futures_util::future::join_all(doors.values().map(Listener::close)).await;
        }
    }

    /// Refuses new clients, lets the others go, delivers to them what is queued, and closes everything in bounded time.
    /// Clients are not told that they are disconnected, so that they come back by themselves, here or to another instance. A
    /// second call waits for the same end.
    ///
    /// Nobody is let in or refused any more from the call on, before the future is polled for the first time.
    fn shutdown_of(
        (service, transport, cluster): (Arc<Service>, Option<Arc<Transport>>, Option<Arc<Cluster>>),
        farewell: Farewell,
    ) -> impl Future<Output = ()> + Send + 'static {
        service.close();
        async move {
            let has_others = cluster.as_ref().is_some_and(|cluster| cluster.state().instances > 1);
            let hands_over = farewell.hands_over && has_others && service.recovers().is_some();
            drain_clients(&service, farewell.drain, hands_over).await;
            if hands_over {
                service.emptied(RETURNING).await;
            }
            for socket in service.hub.sockets() {
                service.disconnect(&socket, DisconnectReason::Shutdown, Ending::Close);
            }
            service.fanout().flushed().await;
            let others = async {
                if let Some(cluster) = cluster {
                    cluster.leave().await;
                }
            };
            let clients = async {
                if let Some(transport) = transport {
                    transport.kill(false);
                    if tokio::time::timeout(FAREWELL, transport.quiet()).await.is_err() {
                        transport.kill(true);
                        let _ = tokio::time::timeout(LAST_CALL, transport.quiet()).await;
                    }
                }
            };
            tokio::join!(others, clients);
        }
    }

    /// Closes everything at once: the JavaScript that it served is ending.
    pub fn abandon(&self) {
        self.service.close();
        if let Some(cluster) = &self.cluster {
            cluster.abandon();
        }
        #[cfg(unix)]
        self.doors.lock().clear();
        if let Some(transport) = self.transport.get() {
            transport.kill(true);
        }
    }

    /// The network side, if it was built.
    pub fn opened_transport(&self) -> Option<Arc<Transport>> {
        self.transport.get().cloned()
    }
}

/// Lets clients go one after the other, so that they do not come to the other instances all at once. Their sockets end,
/// unless other instances are to take them over.
async fn drain_clients(service: &Service, time: Duration, hands_over: bool) {
    let sockets = service.hub.sockets();
    if (time.is_zero() && !hands_over) || sockets.is_empty() {
        return;
    }
    let began = tokio::time::Instant::now();
    let count = u32::try_from(sockets.len()).unwrap_or(u32::MAX);
    for (number, socket) in (1..).zip(sockets) {
        tokio::time::sleep_until(began + time.mul_f64(f64::from(number) / f64::from(count))).await;
        if !(hands_over && service.send_away(&socket)) {
            service.disconnect(&socket, DisconnectReason::Shutdown, Ending::Close);
        }
    }
}

/// Joins the cluster that the options name, if they name one, over the bus and the store that they name.
fn join_cluster(service: &Arc<Service>, runtime: &Handle) -> Option<Arc<Cluster>> {
    let redis = service.config.redis.as_ref()?;
    let settings = Settings {
        key_prefix: redis.key_prefix.clone(),
        heartbeat_interval: redis.heartbeat_interval,
        max_queued_messages: redis.max_queued_messages,
        max_queued_bytes: redis.max_queued_bytes,
        requests_timeout: redis.requests_timeout,
    };
    Cluster::start(service, &settings, redis::open(redis), runtime)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.watches.iter().for_each(AbortHandle::abort);
        // Its tasks would keep it for ever.
        if let Some(cluster) = &self.cluster {
            cluster.abandon();
        }
    }
}

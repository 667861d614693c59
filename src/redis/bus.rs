//! The connections of one instance, and what is told of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::{Blueprint, Doom, Life, Link, Target};
use super::error::ConnectionError;
use super::place::Places;
use super::supervisor;
use crate::config::{RedisAddress, RedisConfig, RedisMode};

/// What the connections tell, from their own tasks. Must not block, nor call back other than [`Connections::is_up`].
pub(crate) trait Observer: Send + Sync + 'static {
    /// A message, in the order in which Redis sent them, from one task at a time.
    fn message(&self, channel: &str, payload: Bytes);
    /// Publisher and subscriber are connected, and Redis has confirmed every channel.
    fn up(&self);
    /// One of them is lost or could not be made. Told once in an outage, and again when the kind of error changes.
    fn down(&self, error: &ConnectionError);
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Publisher,
    Subscriber,
    /// Hashes and streams of a Redis Cluster; elsewhere the publisher does it.
    Keys,
}

/// The connections of one instance.
pub(crate) struct Connections {
    pub(super) shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Connections to single nodes of a cluster, for questions that each node answers for itself.
    nodes: tokio::sync::Mutex<HashMap<RedisAddress, (Arc<Link>, Life)>>,
}

pub(super) struct Shared {
    pub(super) blueprint: Blueprint,
    pub(super) places: Places,
    pub(super) patterns: Vec<String>,
    pub(super) channels: Vec<String>,
    /// Time between two checks whether Redis answers.
    pub(super) beat: Duration,
    pub(super) timeout: Duration,
    pub(super) observer: Arc<dyn Observer>,
    /// The connection that publishes, and outside of a cluster reads and writes keys.
    publisher: watch::Sender<Option<Arc<Link>>>,
    keys: watch::Sender<Option<Arc<Link>>>,
    up: watch::Sender<bool>,
    pub(super) closing: watch::Sender<bool>,
    /// Serialises what the observer is told.
    outage: Mutex<Outage>,
}

/// How things stand with each connection.
#[derive(Default)]
pub(super) struct Outage {
    publisher: Standing,
    subscriber: Standing,
    keys: Standing,
}

#[derive(Default)]
pub(super) struct Standing {
    /// Where it is connected.
    address: Option<RedisAddress>,
    doom: Option<Arc<Doom>>,
    /// Why it is not, or was not at the last attempt.
    error: Option<ConnectionError>,
}

impl Connections {
    /// Connections that are yet to be made.
    pub(crate) fn new(
        config: &RedisConfig,
        patterns: Vec<String>,
        channels: Vec<String>,
        observer: Arc<dyn Observer>,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            blueprint: Blueprint::new(config),
            places: Places::new(config),
            patterns,
            channels,
            beat: config.heartbeat_interval,
            timeout: config.response_timeout,
            observer,
            publisher: watch::Sender::new(None),
            keys: watch::Sender::new(None),
            up: watch::Sender::new(false),
            closing: watch::Sender::new(false),
            outage: Mutex::default(),
        });
        Arc::new(Self {
            shared,
            tasks: Mutex::default(),
            nodes: tokio::sync::Mutex::default(),
        })
    }

    /// Starts connecting, and returns at once.
    pub(crate) fn connect(&self, runtime: &tokio::runtime::Handle) {
        let mut roles = vec![Role::Publisher, Role::Subscriber];
        if *self.shared.places.mode() == RedisMode::Cluster {
            roles.push(Role::Keys);
        }
        let supervise = |role| runtime.spawn(supervisor::supervise(Arc::clone(&self.shared), role));
        self.tasks.lock().extend(roles.into_iter().map(supervise));
    }

    /// Whether publisher and subscriber are connected, with every channel.
    pub(crate) fn is_up(&self) -> bool {
        *self.shared.up.borrow()
    }

    /// Waits until publisher and subscriber are connected, with every channel. For ever after [`Connections::close`].
    pub(crate) async fn until_up(&self) {
        // The sender lives as long as `self`, so this ends with success only.
        let mut up = self.shared.up.subscribe();
        let _up = up.wait_for(|up| *up).await;
    }

    /// Publishes in order, pipelined; resolves when Redis has answered all. After an error it is unknown which of them
    /// Redis has taken, and the connection is replaced.
    pub(crate) async fn publish(&self, batch: Vec<(Bytes, Bytes)>) -> Result<(), ConnectionError> {
        self.shared.link(Role::Publisher)?.publish(batch).await
    }

    /// How many connections are subscribed to a channel, patterns not counted. On a cluster all nodes are asked, and
    /// those that cannot be reached count as none.
    pub(crate) async fn subscribers(&self, channel: &str) -> Result<u64, ConnectionError> {
        let publisher = self.shared.link(Role::Publisher)?;
        if *self.shared.places.mode() != RedisMode::Cluster {
            return count_subscribers(&publisher, channel).await;
        }
        let links = self.node_links(&publisher).await?;
        let counts = join_all(links.iter().map(|link| count_subscribers(link, channel))).await;
        if let Some(Err(error @ ConnectionError::Refused(_))) = counts.iter().find(|count| count.is_err()) {
            return Err(error.clone());
        }
        Ok(counts.into_iter().flatten().sum())
    }

    /// The subscriber is dead although its connection is open: another is made.
    pub(crate) fn replace_subscriber(&self) {
        self.shared
            .outage
            .lock()
            .subscriber
            .replace("the subscription has fallen silent");
    }

    /// Ends all connections and tasks, within about a second. The observer hears nothing more.
    pub(crate) async fn close(&self) {
        self.shared.closing.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            let _ended = task.await;
        }
        let mut nodes = std::mem::take(&mut *self.nodes.lock().await);
        join_all(nodes.values_mut().map(|(link, life)| link.close(life))).await;
    }

    /// The connection for hashes and streams. That of a cluster may come up a little later than the others.
    pub(super) async fn keys(&self) -> Result<Arc<Link>, ConnectionError> {
        let role = match self.shared.places.mode() {
            RedisMode::Cluster => Role::Keys,
            RedisMode::Single | RedisMode::Sentinel(_) => Role::Publisher,
        };
        if role == Role::Keys && self.is_up() {
            let mut links = self.shared.keys.subscribe();
            drop(tokio::time::timeout(self.shared.timeout, links.wait_for(Option::is_some)).await);
        }
        self.shared.link(role)
    }

    /// A connection to each node of the cluster, kept for the next question.
    async fn node_links(&self, publisher: &Link) -> Result<Vec<Arc<Link>>, ConnectionError> {
        let Shared {
            places,
            blueprint,
            outage,
            ..
        } = &*self.shared;
        let own = outage
            .lock()
            .publisher
            .address
            .clone()
            .ok_or_else(ConnectionError::absent)?;
        let addresses = match places.learn(blueprint, publisher, &own).await {
            Err(ConnectionError::Refused(_)) => places.known(),
            learnt => learnt?,
        };
        let mut nodes = self.nodes.lock().await;
        nodes.retain(|address, (link, life)| addresses.contains(address) && !link.doom().is_set() && !life.is_over());
        let absent = addresses.into_iter().filter(|address| !nodes.contains_key(address));
        let opened = join_all(absent.map(|address| async {
            let opened = Link::open(blueprint, Target::Server(&address)).await;
            opened.map(|(link, life)| (address, (Arc::new(link), life)))
        }));
        let opened = opened.await;
        nodes.extend(opened.into_iter().flatten());
        Ok(nodes.values().map(|(link, _)| Arc::clone(link)).collect())
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.shared.closing.send_replace(true);
    }
}

async fn count_subscribers(link: &Link, channel: &str) -> Result<u64, ConnectionError> {
    let answer = link.call("PUBSUB", vec!["NUMSUB".into(), channel.into()]).await?;
    let count = answer.into_array().get(1).and_then(fred::types::Value::as_u64);
    count.ok_or_else(|| ConnectionError::unexpected("PUBSUB NUMSUB"))
}

impl Shared {
    /// Where the connection of a role is kept, if it takes commands.
    fn sender(&self, role: Role) -> Option<&watch::Sender<Option<Arc<Link>>>> {
        match role {
            Role::Publisher => Some(&self.publisher),
            Role::Keys => Some(&self.keys),
            Role::Subscriber => None,
        }
    }

    /// The connection of a role, or why there is none.
    fn link(&self, role: Role) -> Result<Arc<Link>, ConnectionError> {
        let link = self.sender(role).and_then(|sender| sender.borrow().clone());
        link.ok_or_else(|| {
            self.outage
                .lock()
                .of(role)
                .error
                .clone()
                .unwrap_or_else(ConnectionError::absent)
        })
    }

    pub(super) fn connected(&self, role: Role, link: Option<&Arc<Link>>, doom: &Arc<Doom>, address: &RedisAddress) {
        tracing::info!(?role, host = address.host, port = address.port, "connected to Redis");
        let mut outage = self.outage.lock();
        *outage.of(role) = Standing {
            address: Some(address.clone()),
            doom: Some(Arc::clone(doom)),
            error: None,
        };
        self.keep(role, link.cloned());
        if role == Role::Keys {
            return;
        }
        let Outage {
            publisher, subscriber, ..
        } = &*outage;
        let (Some(publisher), Some(subscriber)) = (&publisher.address, &subscriber.address) else {
            return;
        };
        if matches!(self.places.mode(), RedisMode::Sentinel(_)) && publisher != subscriber {
            // The master has moved between the two; the one that came first is at the old one.
            let old = if role == Role::Publisher {
                Role::Subscriber
            } else {
                Role::Publisher
            };
            outage.of(old).replace("the master has moved");
            return;
        }
        self.up.send_replace(true);
        self.observer.up();
    }

    pub(super) fn lost(&self, role: Role, error: &ConnectionError) {
        tracing::debug!(?role, %error, "no connection to Redis");
        let mut outage = self.outage.lock();
        self.keep(role, None);
        let before = std::mem::replace(
            outage.of(role),
            Standing {
                error: Some(error.clone()),
                ..Standing::default()
            },
        );
        if role == Role::Keys {
            return;
        }
        self.up.send_replace(false);
        let other = if role == Role::Publisher {
            &outage.subscriber
        } else {
            &outage.publisher
        };
        let told = [&before.error, &other.error];
        if !told.into_iter().flatten().any(|told| told.code() == error.code()) {
            self.observer.down(error);
        }
    }

    fn keep(&self, role: Role, link: Option<Arc<Link>>) {
        if let Some(sender) = self.sender(role) {
            sender.send_replace(link);
        }
    }

    /// The end that was asked for, of which the observer hears nothing.
    pub(super) fn closed(&self, role: Role) {
        let mut outage = self.outage.lock();
        *outage.of(role) = Standing::default();
        self.keep(role, None);
        self.up.send_replace(false);
    }
}

impl Standing {
    /// Has the connection made anew, if there is one.
    fn replace(&self, reason: &str) {
        if let Some(doom) = &self.doom {
            doom.set(ConnectionError::Unreachable(reason.to_owned()));
        }
    }
}

impl Outage {
    fn of(&mut self, role: Role) -> &mut Standing {
        match role {
            Role::Publisher => &mut self.publisher,
            Role::Subscriber => &mut self.subscriber,
            Role::Keys => &mut self.keys,
        }
    }
}

//! What all connections of one instance share: how they are made, where, which of them there are at the moment, and when
//! the observer is told of it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::client::{Blueprint, Client, Tombstone};
use super::error::ConnectionError;
use super::place::Places;
use super::standing::{Role, Standing, Standings};
use crate::cluster::bus::{BusError, Observer};
use crate::config::{RedisAddress, RedisConfig, RedisMode};

pub(super) struct State {
    pub(super) blueprint: Blueprint,
    pub(super) places: Places,
    /// Time between two checks whether Redis answers.
    pub(super) beat: Duration,
    /// How long it may take to connect, and each answer.
    pub(super) timeout: Duration,
    /// The connection that publishes, and outside of a cluster reads and writes keys.
    publisher: watch::Sender<Option<Arc<Client>>>,
    keys: watch::Sender<Option<Arc<Client>>>,
    up: watch::Sender<bool>,
    closing: watch::Sender<bool>,
    /// Serialises what the observer is told.
    standings: Mutex<Standings>,
}

impl State {
    /// Nothing is connected.
    pub(super) fn new(config: &RedisConfig) -> Self {
        Self {
            blueprint: Blueprint::new(config),
            places: Places::new(config),
            beat: config.heartbeat_interval,
            timeout: config.response_timeout,
            publisher: watch::Sender::new(None),
            keys: watch::Sender::new(None),
            up: watch::Sender::new(false),
            closing: watch::Sender::new(false),
            standings: Mutex::default(),
        }
    }

    /// Whether publisher and subscriber are connected, with every channel.
    pub(super) fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// Waits until publisher and subscriber are connected, with every channel.
    pub(super) async fn until_up(&self) {
        // The sender lives as long as `self`, so this ends with success only.
        let mut up = self.up.subscribe();
        let _up = up.wait_for(|up| *up).await;
    }

    /// All connections are to end.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Hears of the end.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Where the connection of a role is kept, if it takes commands.
    fn sender(&self, role: Role) -> Option<&watch::Sender<Option<Arc<Client>>>> {
        match role {
            Role::Publisher => Some(&self.publisher),
            Role::Keys => Some(&self.keys),
            Role::Subscriber => None,
        }
    }

    /// The connection of a role, or why there is none.
    pub(super) fn client(&self, role: Role) -> Result<Arc<Client>, ConnectionError> {
        let client = self.sender(role).and_then(|sender| sender.borrow().clone());
        client.ok_or_else(|| {
            let mut standings = self.standings.lock();
            let error = standings.of(role).error.clone();
            error.unwrap_or_else(ConnectionError::absent)
        })
    }

    /// The connection for hashes and streams. That of a cluster may come up a little later than the others.
    pub(super) async fn keys(&self) -> Result<Arc<Client>, ConnectionError> {
        let role = match self.places.mode() {
            RedisMode::Cluster => Role::Keys,
            RedisMode::Single | RedisMode::Sentinel(_) => Role::Publisher,
        };
        if role == Role::Keys && self.is_up() {
            let mut clients = self.keys.subscribe();
            drop(tokio::time::timeout(self.timeout, clients.wait_for(Option::is_some)).await);
        }
        self.client(role)
    }

    /// Where the publisher is connected.
    pub(super) fn publisher_address(&self) -> Option<RedisAddress> {
        self.standings.lock().publisher.address.clone()
    }

    /// The subscriber is dead although its connection is open: another is made.
    pub(super) fn replace_subscriber(&self) {
        let standings = self.standings.lock();
        standings.subscriber.replace("the subscription has fallen silent");
    }

    /// A connection was made.
    pub(super) fn connected(
        &self,
        role: Role,
        client: Option<&Arc<Client>>,
        tombstone: &Arc<Tombstone>,
        address: &RedisAddress,
        observer: &dyn Observer,
    ) {
        tracing::info!(?role, host = address.host, port = address.port, "connected to Redis");
        let mut standings = self.standings.lock();
        *standings.of(role) = Standing::connected(address.clone(), tombstone.clone());
        self.keep(role, client.cloned());
        if role == Role::Keys {
            return;
        }
        let (publisher, subscriber) = (&standings.publisher.address, &standings.subscriber.address);
        let (Some(publisher), Some(subscriber)) = (publisher, subscriber) else {
            return;
        };
        if matches!(self.places.mode(), RedisMode::Sentinel(_)) && publisher != subscriber {
            // The master has moved between the two; the one that came first is at the old one.
            let old = if role == Role::Publisher {
                Role::Subscriber
            } else {
                Role::Publisher
            };
            standings.of(old).replace("the master has moved");
            return;
        }
        self.up.send_replace(true);
        observer.up();
    }

    /// A connection was lost or could not be made.
    pub(super) fn lost(&self, role: Role, error: &ConnectionError, observer: &dyn Observer) {
        tracing::debug!(?role, %error, "no connection to Redis");
        let mut standings = self.standings.lock();
        self.keep(role, None);
        let before = std::mem::replace(standings.of(role), Standing::lost(error.clone()));
        if role == Role::Keys {
            return;
        }
        self.up.send_replace(false);
        let other = if role == Role::Publisher {
            &standings.subscriber
        } else {
            &standings.publisher
        };
        let told = [&before.error, &other.error];
        if !told.into_iter().flatten().any(|told| told.code() == error.code()) {
            observer.down(&BusError::from(error.clone()));
        }
    }

    fn keep(&self, role: Role, client: Option<Arc<Client>>) {
        if let Some(sender) = self.sender(role) {
            sender.send_replace(client);
        }
    }

    /// The end that was asked for, of which the observer hears nothing.
    pub(super) fn closed(&self, role: Role) {
        let mut standings = self.standings.lock();
        *standings.of(role) = Standing::default();
        self.keep(role, None);
        self.up.send_replace(false);
    }
}

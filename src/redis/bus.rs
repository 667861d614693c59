//! The [`Bus`] of an instance: its connections, and what every node of a cluster is asked.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::client::{Client, Destination, Lifetime};
use super::error::ConnectionError;
use super::standing::Role;
use super::state::State;
use super::subscription::Audience;
use super::supervisor;
use crate::cluster::bus::{Bus, BusError, Observer, Publication, Subscriptions};
use crate::config::{RedisAddress, RedisMode};
use crate::lasting;

/// The connections of one instance.
pub(super) struct RedisBus {
    state: Arc<State>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Connections to single nodes of a cluster, for questions that each node answers for itself.
    nodes: tokio::sync::Mutex<HashMap<RedisAddress, (Arc<Client>, Lifetime)>>,
}

impl RedisBus {
    /// Connections that are yet to be made.
    pub(super) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            tasks: Mutex::default(),
            nodes: tokio::sync::Mutex::default(),
        }
    }

    /// On a cluster all nodes are asked, and those that cannot be reached count as none.
    async fn count_subscribers(&self, channel: &str) -> Result<u64, ConnectionError> {
        let publisher = self.state.client(Role::Publisher)?;
        if *self.state.places.mode() != RedisMode::Cluster {
            return count_subscribers(&publisher, channel).await;
        }
        let clients = self.node_clients(&publisher).await?;
        let counts = join_all(clients.iter().map(|client| count_subscribers(client, channel))).await;
        if let Some(Err(error @ ConnectionError::Refused(_))) = counts.iter().find(|count| count.is_err()) {
            return Err(error.clone());
        }
        Ok(counts.into_iter().flatten().sum())
    }

    /// A connection to each node of the cluster, kept for the next question.
    async fn node_clients(&self, publisher: &Client) -> Result<Vec<Arc<Client>>, ConnectionError> {
        let State { places, blueprint, .. } = &*self.state;
        let own = self.state.publisher_address().ok_or_else(ConnectionError::absent)?;
        let addresses = match places.learn(blueprint, publisher, &own).await {
            Err(ConnectionError::Refused(_)) => places.known(),
            learnt => learnt?,
        };
        let mut nodes = self.nodes.lock().await;
        nodes.retain(|address, (client, lifetime)| {
            addresses.contains(address) && !client.tombstone().is_set() && !lifetime.is_over()
        });
        let absent = addresses.into_iter().filter(|address| !nodes.contains_key(address));
        let opened = join_all(absent.map(|address| async {
            let opened = Client::open(blueprint, Destination::Server(&address)).await;
            opened.map(|(client, lifetime)| (address, (Arc::new(client), lifetime)))
        }));
        let opened = opened.await;
        nodes.extend(opened.into_iter().flatten());
        Ok(nodes.values().map(|(client, _)| Arc::clone(client)).collect())
    }

    async fn close(&self) {
        self.state.close();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            let _ended = task.await;
        }
        let mut nodes = std::mem::take(&mut *self.nodes.lock().await);
        join_all(nodes.values_mut().map(|(client, lifetime)| client.close(lifetime))).await;
    }
}

async fn count_subscribers(client: &Client, channel: &str) -> Result<u64, ConnectionError> {
    let answer = client.call("PUBSUB", vec!["NUMSUB".into(), channel.into()]).await?;
    let count = answer.into_array().get(1).and_then(fred::types::Value::as_u64);
    count.ok_or_else(|| ConnectionError::unexpected("PUBSUB NUMSUB"))
}

impl Bus for RedisBus {
    fn start(&self, subscriptions: Subscriptions, observer: Arc<dyn Observer>, runtime: &Handle) {
        let audience = Arc::new(Audience::new(subscriptions, observer));
        let mut roles = vec![Role::Publisher, Role::Subscriber];
        if *self.state.places.mode() == RedisMode::Cluster {
            roles.push(Role::Keys);
        }
        let supervise = |role| {
            let (state, audience) = (self.state.clone(), audience.clone());
            lasting::spawn(runtime, "a connection to Redis", move || {
                supervisor::supervise(state.clone(), audience.clone(), role)
            })
        };
        self.tasks.lock().extend(roles.into_iter().map(supervise));
    }

    fn is_up(&self) -> bool {
        self.state.is_up()
    }

    fn until_up(&self) -> BoxFuture<'_, ()> {
        self.state.until_up().boxed()
    }

    fn publish(&self, batch: Vec<Publication>) -> BoxFuture<'_, Result<(), BusError>> {
        async { Ok(self.state.client(Role::Publisher)?.publish(batch).await?) }.boxed()
    }

    fn subscribers<'a>(&'a self, channel: &'a str) -> BoxFuture<'a, Result<u64, BusError>> {
        async { Ok(self.count_subscribers(channel).await?) }.boxed()
    }

    fn resubscribe(&self) {
        self.state.replace_subscriber();
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.close().boxed()
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        self.state.close();
    }
}

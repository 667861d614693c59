//! The bus that joins the instances of a cluster, and the store that outlives them, as contracts: [`Bus`] and [`Store`].
//!
//! | implementation | for |
//! |---|---|
//! | `redis` | Redis and Valkey: publish and subscribe, a hash, streams |
//! | `memory` | instances of one process, in the tests |
//!
//! `contract` runs the same cases over each. What is published and written, and when, is the cluster's; what it means
//! never matters here.

#[cfg(test)]
pub(crate) mod contract;
mod error;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
pub(crate) mod recorder;
mod store;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

pub(crate) use self::error::{BusError, Fault};
pub(crate) use self::store::{Record, Store};

/// A payload, and the channel on which it is heard. Any bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) channel: Bytes,
    pub(crate) payload: Bytes,
}

/// What an instance hears. A channel is meant by one of these at most: what two of them mean may arrive twice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subscriptions {
    /// All channels whose names begin with one of these. They may hold any characters; none is special.
    pub(crate) prefixes: Vec<String>,
    /// Channels of exactly these names.
    pub(crate) names: Vec<String>,
}

/// What the bus tells an instance, from tasks of its own. Must not block, nor wait for the bus.
pub(crate) trait Observer: Send + Sync + 'static {
    /// A publication, one's own among them. From one task at a time, and those of one publisher in their order.
    fn message(&self, channel: &str, payload: Bytes);
    /// It can be published, and every subscription is in force: what is published from now on arrives, until `down`.
    fn up(&self);
    /// It cannot be published, or not everything is heard. Told once in an outage, and again when the kind of error
    /// changes.
    fn down(&self, error: &BusError);
}

/// The way of one instance to all others.
///
/// What is published while it is up arrives at every instance that is up, in the order of each publisher and at most
/// once. An outage loses: what others publish between `down` and `up` never arrives, and neither may what was under way
/// just before; the bus keeps nothing and says nothing of what was lost. The cluster numbers what must not be missed.
///
/// Nothing is sent twice of the bus's own accord. What it was sending when it failed is given up, and the caller told.
pub(crate) trait Bus: Send + Sync + 'static {
    /// Connects, subscribes and goes on doing so for ever. Called once; returns at once. The observer is let go by
    /// [`Bus::stop`].
    fn start(&self, subscriptions: Subscriptions, observer: Arc<dyn Observer>, runtime: &Handle);

    /// Whether it is up, as the observer is told.
    fn is_up(&self) -> bool;

    /// Waits until it is up. For ever after [`Bus::stop`].
    fn until_up(&self) -> BoxFuture<'_, ()>;

    /// Publishes in order, and resolves when all has been taken. An error says that some of it may have been taken,
    /// from the first on, and the rest was not; while the bus is down, at once.
    fn publish(&self, batch: Vec<Publication>) -> BoxFuture<'_, Result<(), BusError>>;

    /// How many instances have subscribed to a channel of exactly this name, this one among them; servers of other
    /// software count as well.
    fn subscribers<'a>(&'a self, channel: &'a str) -> BoxFuture<'a, Result<u64, BusError>>;

    /// Nothing is heard although the bus is up: the subscriptions are made anew, after `down`.
    fn resubscribe(&self);

    /// Ends within about a second, whatever state it is in. Nothing is told any more from then on, `down` neither, and
    /// publishing fails. Can be called again.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

//! The [`Bus`] and the [`Store`] of a cluster over Redis: one connection that publishes and one that is subscribed, made
//! again for ever.
//!
//! | mode | publisher, subscriber | keys |
//! |---|---|---|
//! | single | the server | through the publisher |
//! | sentinel | the master that the sentinels name at that moment | through the publisher |
//! | cluster | one node each, since a node passes publications on to all others; another when it is gone | the masters |
//!
//! | module | owns |
//! |---|---|
//! | [`bus`] | the [`Bus`]: connections, questions to every node |
//! | [`store`] | the [`Store`], over [`rooms`] (a hash) and [`history`] (streams) |
//! | [`keys`] | the connection for their commands |
//! | [`supervisor`] | one connection after another |
//! | [`state`], [`standing`] | what is connected at the moment, and what is told of it |
//! | [`client`], [`subscription`] | a connection for commands, and one that hears |
//! | [`place`], [`tls`], [`error`] | where to connect, whom to trust, what went wrong |
//!
//! Commands go through fred, with its reconnecting switched off; messages are read by [`subscription`]. Nothing is sent
//! twice: a connection that fails is given up with all that was under way on it, and the caller hears of it. Nothing here
//! keeps messages or knows what they mean.

mod bus;
mod client;
mod error;
mod history;
mod keys;
mod place;
mod rooms;
mod standing;
mod state;
mod store;
mod subscription;
mod supervisor;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;

use self::bus::RedisBus;
use self::state::State;
use self::store::RedisStore;
use crate::cluster::bus::{Bus, Store};
use crate::config::RedisConfig;

/// The bus and the store that the options name, yet to be connected.
pub(crate) fn open(config: &RedisConfig) -> (Arc<dyn Bus>, Arc<dyn Store>) {
    let state = Arc::new(State::new(config));
    let store = RedisStore::new(state.clone(), &config.key_prefix);
    (Arc::new(RedisBus::new(state)), Arc::new(store))
}

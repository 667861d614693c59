//! The connections to Redis: one that publishes and one that is subscribed, made again for ever.
//!
//! | mode | publisher, subscriber | keys |
//! |---|---|---|
//! | single | the server | through the publisher |
//! | sentinel | the master that the sentinels name at that moment | through the publisher |
//! | cluster | one node each, since a node passes publications on to all others; another when it is gone | the masters |
//!
//! Commands go through fred, with its reconnecting switched off; messages are read by [`subscription`].
//!
//! Nothing is sent twice: a connection that fails is given up with all that was under way on it, and the caller hears of
//! it. This module never keeps messages and does not know what they mean.

mod bus;
mod client;
mod error;
mod keys;
mod place;
mod subscription;
mod supervisor;
#[cfg(test)]
pub(crate) mod tests;
mod tls;

pub(crate) use self::bus::{Connections, Observer};
use self::bus::{Role, Shared};
pub(crate) use self::error::ConnectionError;

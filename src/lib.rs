//! Rooms, messages and broadcasts for Socket.IO clients, on native threads.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | options, units and defaults |
//! | [`error`] | the one error type, with stable codes |
//! | [`disconnect`] | why a connection ended |
//! | [`clock`] | the time, and who moves it |
//! | [`metrics`] | what is counted |
//! | [`keyed_rate`] | a rate for each of many keys |
//! | [`lasting`] | tasks that a panic does not end |
//! | `sync` | locks and atomics, which tests replace |
//! | [`backpressure`] | what waits because of a client, and when its reader pauses |
//! | [`wire`] | packets and frames as bytes |
//! | [`link`] | the way to one client |
//! | [`selection`] | who is meant |
//! | [`hub`] | state in memory: sockets, rooms, history, counters |
//! | [`ports`] | the ways to JavaScript and to the other servers |
//! | [`fanout`] | delivery to connections, in order |
//! | [`service`] | the use cases: one function per verb of the API |
//! | [`transport`] | Engine.IO and Socket.IO over socketioxide: handshake, streams, long-polling |
//! | `adapter` | the messages of `@socket.io/redis-adapter`, byte for byte |
//! | [`cluster`] | what instances tell each other, over a bus and a store |
//! | `redis` | the bus and the store over Redis |
//! | [`memory`] | what is given back to the system after a storm |
//! | [`server`] | lifecycle: builds the parts, ordered shutdown |
//! | `fuzzing` | what the fuzz targets ask, with the feature of this name |
//! | `node` | the Node.js addon: conversions and the event bridge |

mod adapter;
pub mod backpressure;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod disconnect;
pub mod error;
pub mod fanout;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod hub;
pub mod keyed_rate;
pub mod lasting;
pub mod link;
pub mod memory;
pub mod metrics;
pub mod ports;
mod redis;
pub mod selection;
pub mod server;
pub mod service;
mod sync;
pub mod transport;
pub mod wire;

#[cfg(feature = "node")]
mod node;

//! Rooms, messages and broadcasts for Socket.IO clients, on native threads.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | options, units and defaults |
//! | [`error`] | the one error type, with stable codes |
//! | [`backpressure`] | what waits because of a client, and when its reader pauses |
//! | [`json`] | JSON text as it travels, read in place |
//! | [`packet`] | the wire form of a packet, encoded once |
//! | [`event`] | what the service tells the outside, and the ports it speaks through |
//! | [`hub`] | state in memory: users, rooms, history, counters |
//! | [`cluster`] | the other servers, over Redis |
//! | [`fanout`] | delivery to connections, in order |
//! | [`service`] | the use cases: one function per verb of the API |
//! | [`transport`] | Engine.IO and Socket.IO over socketioxide: handshake, streams, long-polling |
//! | [`memory`] | what is given back to the system after a storm |
//! | [`server`] | lifecycle: builds the parts, ordered shutdown |
//! | `node` | the Node.js addon: conversions and the event bridge |

pub mod backpressure;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod error;
pub mod event;
pub mod fanout;
pub mod hub;
pub mod json;
pub mod memory;
pub mod packet;
pub mod server;
pub mod service;
pub mod transport;

#[cfg(feature = "node")]
mod node;

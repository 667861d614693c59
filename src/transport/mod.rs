//! Engine.IO and Socket.IO over socketioxide.
//!
//! socketioxide keeps the sessions: handshake, heartbeat, the polling queue, upgrade, namespaces, CONNECT. Our stream
//! and gateway stand between it and the client: events and acknowledgements of clients are taken out before they
//! reach it and handled in the reader, in order; packets of the service are written past it; what it gets wrong
//! against Socket.IO is put right where it passes.
//!
//! | file | owns |
//! |---|---|
//! | `gateway` | requests from Node.js: Engine.IO's checks |
//! | `polling`, `upgrade` | the two ways in: polls and posts; streams for WebSocket |
//! | `handover` | doors: the descriptor of a connection of Node.js |
//! | `sessions`, `session` | which sessions there are; one of them and its socket |
//! | `phase` | where a client stands with its transport |
//! | `connection`, `outbox`, `carrier` | out: which way a packet takes; what waits; what carries bytes |
//! | `stream` | in: the frames of a WebSocket |
//! | `engine`, `handlers`, `poll_queue`, `marker` | socketioxide; what it calls; its queue for a client; what goes through |
//! | `heartbeat` | clients that cannot be heard |
//! | `head`, `reply` | what a request says; its answer |

mod carrier;
mod connection;
mod engine;
mod gateway;
mod handlers;
#[cfg(unix)]
pub mod handover;
mod head;
mod heartbeat;
mod marker;
mod outbox;
mod phase;
mod poll_queue;
mod polling;
mod reply;
mod session;
mod sessions;
mod stream;
mod upgrade;

pub use carrier::{ByteSink, Carrier};
pub use connection::Connection;
pub use gateway::Transport;
pub use head::Head;
pub use reply::Reply;
pub use stream::{Bytestream, Source};
pub use upgrade::Upgrade;

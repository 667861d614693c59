//! Engine.IO and Socket.IO: WebSocket by ourselves, long-polling over socketioxide.
//!
//! A client on WebSocket is ours from the response to its upgrade on. Of one that polls, socketioxide keeps the handshake,
//! the heartbeats, the queue and CONNECT, and forgets it when it moves to WebSocket. Events and acknowledgements of
//! either are handled in the session, in order; what the library gets wrong against Socket.IO is put right where it
//! passes.
//!
//! | file | owns |
//! |---|---|
//! | `gateway` | requests from Node.js: Engine.IO's checks |
//! | `polling`, `websocket` | Engine.IO over either |
//! | `upgrade` | streams for WebSocket: of new sessions, and of those that polled before |
//! | `handover`, `listener` | doors: the descriptor of a connection of Node.js; a port of our own |
//! | `tls` | a connection whose bytes are sealed |
//! | `cors` | what browsers are told about other origins |
//! | `sessions`, `session` | which sessions there are; one of them and its socket: Socket.IO |
//! | `phase` | where a client stands with its transport |
//! | `connection`, `outbox`, `carrier`, `socket` | out: which way a packet takes; what waits; what carries bytes; the kernel |
//! | `common` | what all connections have together |
//! | `heartbeat`, `hearing`, `wheel` | who is pinged, and who is gone; who could be heard; when each is looked at |
//! | `pressure` | the bytes of all clients together |
//! | `engine`, `handlers`, `poll_queue` | socketioxide; what it calls; its queue for a client |
//! | `entrance` | who may open a session |
//! | `head`, `reply` | what a request says; its answer |

mod carrier;
mod common;
mod connection;
mod cors;
mod engine;
mod entrance;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod gateway;
mod handlers;
#[cfg(unix)]
pub mod handover;
mod head;
mod hearing;
mod heartbeat;
#[cfg(unix)]
mod listener;
mod outbox;
mod phase;
mod poll_queue;
mod polling;
mod pressure;
mod reply;
mod session;
mod sessions;
#[cfg(unix)]
mod socket;
#[cfg(unix)]
mod tls;
mod upgrade;
mod websocket;
mod wheel;

pub use carrier::{ByteSink, Carrier};
pub use connection::Connection;
pub use entrance::Caller;
pub use gateway::Transport;
#[cfg(unix)]
pub use listener::{Address, DoorConfig, Foreign, HandOver, Listener, OpenError};
pub use reply::Reply;
#[cfg(unix)]
pub use tls::{ContextError, Tls, TlsOptions};
pub use upgrade::{Incoming, Upgrade};

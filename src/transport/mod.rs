//! Engine.IO and Socket.IO over socketioxide.
//!
//! socketioxide keeps the sessions: handshake, heartbeat, the polling queue, upgrade, namespaces, CONNECT. Our stream
//! and gateway stand between it and the client: events and acknowledgements of clients are taken out before they
//! reach it and handled in the reader, in order; packets of the service are written past it; what it gets wrong
//! against Socket.IO is put right where it passes.

mod connection;
mod engine;
mod gateway;
#[cfg(unix)]
pub mod handover;
mod head;
mod heartbeat;
mod outbox;
mod session;
mod stream;

pub use connection::Connection;
pub use engine::Transport;
pub use gateway::{Reply, Upgrade};
pub use head::Head;
pub use outbox::{ByteSink, Carrier};
pub use stream::{Bytestream, Source};

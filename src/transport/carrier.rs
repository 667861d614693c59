//! What carries the bytes of a WebSocket: a TCP connection of ours, or a stream that JavaScript reads and writes. Writes
//! and closes; never decides what, nor when.

use std::sync::Arc;

use bytes::Bytes;
#[cfg(unix)]
use tokio::net::TcpStream;

#[cfg(unix)]
use super::{handover::Descriptor, tls::Tls};

/// Where a connection's bytes go when they do not go to a descriptor of ours: TLS of Node.js, and anything without one.
pub trait ByteSink: Send + Sync {
    /// Writes bytes; the connection is told when they are gone.
    fn write(&self, bytes: Bytes);
    /// Ends the stream after what was written.
    fn end(&self);
    /// Closes the stream at once.
    fn destroy(&self);
}

/// What carries the bytes of a WebSocket.
#[derive(Clone)]
pub enum Carrier {
    /// A connection of our own.
    #[cfg(unix)]
    Tcp(Descriptor),
    /// One of our own over TLS.
    #[cfg(unix)]
    Tls(Arc<Tls>),
    /// A connection that JavaScript reads and writes.
    Bridge(Arc<dyn ByteSink>),
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            #[cfg(unix)]
            Self::Tcp(_) => "Tcp",
            #[cfg(unix)]
            Self::Tls(_) => "Tls",
            Self::Bridge(_) => "Bridge",
        })
    }
}

impl Carrier {
    /// Tells the client that no more comes.
    pub(super) fn finish(&self) {
        match self {
            #[cfg(unix)]
            Self::Tcp(stream) => {
                let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
            }
            #[cfg(unix)]
            Self::Tls(tls) => tls.finish(),
            Self::Bridge(sink) => sink.end(),
        }
    }

    /// Closes the stream at once.
    pub(super) fn close(&self) {
        match self {
            #[cfg(unix)]
            Self::Tcp(stream) => {
                let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Both);
            }
            #[cfg(unix)]
            Self::Tls(tls) => {
                let _ = socket2::SockRef::from(tls.stream()).shutdown(std::net::Shutdown::Both);
            }
            Self::Bridge(sink) => sink.destroy(),
        }
    }

    /// The connection that is ours, if it is.
    #[cfg(unix)]
    pub(super) fn stream(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(tls) => Some(tls.stream()),
            Self::Bridge(_) => None,
        }
    }
}

//! What carries the bytes of a WebSocket: a TCP connection of ours, or a stream that JavaScript reads and writes. Writes
//! and closes; never decides what, nor when.

use std::sync::Arc;
#[cfg(unix)]
use std::{collections::VecDeque, io};

use bytes::Bytes;

#[cfg(unix)]
use super::handover::Descriptor;

/// Buffers handed to the kernel in one call.
pub(super) const BUFFERS_PER_WRITE: usize = 64;

/// Where a connection's bytes go when they do not go to a descriptor of ours: TLS, and anything without one.
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
    /// A connection that JavaScript reads and writes.
    Bridge(Arc<dyn ByteSink>),
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            #[cfg(unix)]
            Self::Tcp(_) => "Tcp",
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
            Self::Bridge(sink) => sink.destroy(),
        }
    }
}

/// Writes what the kernel takes at once.
#[cfg(unix)]
pub(super) fn send(stream: &Descriptor, bytes: &[u8]) -> io::Result<usize> {
    // The descriptor is non-blocking, and Rust programs ignore SIGPIPE, but Node.js decides here.
    socket2::SockRef::from(stream).send_with_flags(bytes, libc::MSG_NOSIGNAL)
}

/// As [`send`], of several buffers.
#[cfg(unix)]
pub(super) fn send_vectored(stream: &Descriptor, pending: &VecDeque<Bytes>) -> io::Result<usize> {
    match pending.front() {
        Some(only) if pending.len() == 1 => send(stream, only),
        _ => {
            let buffers: smallvec::SmallVec<[io::IoSlice<'_>; BUFFERS_PER_WRITE]> = pending
                .iter()
                .take(BUFFERS_PER_WRITE)
                .map(|bytes| io::IoSlice::new(bytes))
                .collect();
            socket2::SockRef::from(stream).send_vectored_with_flags(&buffers, libc::MSG_NOSIGNAL)
        }
    }
}

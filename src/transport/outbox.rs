//! What waits for one client, and the stream it is written to. Never decides which way a packet takes.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::{Buf as _, Bytes};

#[cfg(unix)]
use super::handover::Descriptor;
use crate::{link::Ending, wire::packet::Packet};

/// Buffers handed to the kernel in one call.
const BUFFERS_PER_WRITE: usize = 64;

/// A byte stream that JavaScript writes for us: TLS, and anything without a descriptor.
pub trait ByteSink: Send + Sync {
    /// Writes bytes; [`Connection::written`] is told when they are gone.
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

/// Which way packets take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Route {
    /// Not connected yet: held.
    #[default]
    Held,
    /// Through socketioxide's queue, for long-polling.
    Queue,
    /// Upgraded: held until the queue has drained.
    Draining,
    /// Straight to the WebSocket.
    Direct,
}

/// What waits for one client, and where it goes.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) route: Route,
    pub(super) held: Vec<Packet>,
    pub(super) carrier: Option<Carrier>,
    /// Bytes the kernel has not taken yet; of the first buffer, what is left of it.
    pub(super) pending: VecDeque<Bytes>,
    pub(super) pending_bytes: usize,
    /// Bytes in socketioxide's queue, or held.
    pub(super) queued_bytes: usize,
    /// Counts the bytes that have left, and wraps: shows whether the client reads.
    pub(super) left: usize,
    /// So much waits that the client is watched.
    pub(super) is_slow: bool,
    /// It was seen to read nothing for long.
    pub(super) is_stalled: bool,
    pub(super) flushing: bool,
    /// The client is on WebSocket, or has completed its upgrade.
    pub(super) on_websocket: bool,
    /// Which socket on this transport packets are for; those for an earlier one are dropped.
    pub(super) generation: u64,
    pub(super) connect_passed: bool,
    /// Ended by the server while packets were held.
    pub(super) farewell: Option<Ending>,
    pub(super) closing: bool,
    pub(super) closed: bool,
}

impl Outbox {
    /// Bytes that still wait for the client.
    pub(super) fn waiting(&self) -> usize {
        if self.closed {
            0
        } else {
            self.pending_bytes + self.queued_bytes
        }
    }

    /// Bytes that senders wait for.
    pub(super) fn awaited(&self) -> usize {
        if self.is_stalled { 0 } else { self.waiting() }
    }

    /// Bytes in socketioxide's queue have left with a response.
    pub(super) fn polled(&mut self, bytes: usize) {
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        self.has_left(bytes);
    }

    /// Pending bytes have left.
    pub(super) fn written(&mut self, bytes: usize) {
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        self.has_left(bytes);
    }

    fn has_left(&mut self, bytes: usize) {
        self.left = self.left.wrapping_add(bytes);
        self.is_stalled = false;
    }

    pub(super) fn stage(&mut self, bytes: Bytes) {
        if !self.closed && !self.closing {
            self.pending_bytes += bytes.len();
            self.pending.push_back(bytes);
        }
    }

    /// Sends bytes past the queue when nothing waits there; what the kernel does not take, or an error that the next
    /// write meets again, leaves the rest in the queue. True when everything has left.
    pub(super) fn send_now(&mut self, bytes: &Bytes) -> bool {
        #[cfg(unix)]
        if let Some(Carrier::Tcp(stream)) = &self.carrier
            && self.pending.is_empty()
            && !self.closing
        {
            let written = send(stream, bytes).unwrap_or(0);
            if written == bytes.len() {
                return true;
            }
            self.stage(bytes.slice(written..));
            return false;
        }
        self.stage(bytes.clone());
        false
    }

    pub(super) fn write_pending(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match &self.carrier {
                #[cfg(unix)]
                Some(Carrier::Tcp(stream)) => {
                    let written = write_vectored(stream, &self.pending)?;
                    self.advance(written);
                }
                Some(Carrier::Bridge(sink)) => {
                    // What JavaScript has not written yet counts as pending until it says so.
                    self.pending.drain(..).for_each(|bytes| sink.write(bytes));
                }
                None => return Ok(()),
            }
        }
        if self.pending.capacity() > BUFFERS_PER_WRITE {
            self.pending = VecDeque::new();
        }
        Ok(())
    }

    #[cfg(unix)]
    fn advance(&mut self, mut written: usize) {
        self.written(written);
        while let Some(first) = self.pending.front_mut() {
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.pending.pop_front();
        }
    }

    /// Everything has left: tells the client that no more comes.
    pub(super) fn finish(&mut self) {
        match &self.carrier {
            #[cfg(unix)]
            Some(Carrier::Tcp(stream)) => {
                let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
            }
            Some(Carrier::Bridge(sink)) => sink.end(),
            None => {}
        }
    }

    /// The carrier broke: with it the connection, unless the client is polling and only tried to upgrade.
    pub(super) fn fail(&mut self) {
        if self.on_websocket {
            self.kill();
        } else {
            self.drop_carrier();
        }
    }

    pub(super) fn drop_carrier(&mut self) {
        self.pending = VecDeque::new();
        self.pending_bytes = 0;
        if let Some(carrier) = self.carrier.take() {
            carrier.close();
        }
    }

    pub(super) fn kill(&mut self) {
        self.closing = true;
        self.closed = true;
        self.drop_carrier();
    }
}

#[cfg(unix)]
fn send(stream: &Descriptor, bytes: &[u8]) -> io::Result<usize> {
    // The descriptor is non-blocking, and Rust programs ignore SIGPIPE, but Node.js decides here.
    socket2::SockRef::from(stream).send_with_flags(bytes, libc::MSG_NOSIGNAL)
}

#[cfg(unix)]
fn write_vectored(stream: &Descriptor, pending: &VecDeque<Bytes>) -> io::Result<usize> {
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

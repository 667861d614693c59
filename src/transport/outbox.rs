//! What waits for one client, and the write that takes it away. Never decides which way a packet takes, nor whether one
//! may still be sent.

use std::{collections::VecDeque, io};

#[cfg(unix)]
use bytes::Buf as _;
use bytes::Bytes;

use super::carrier::Carrier;
#[cfg(unix)]
use super::socket;
use crate::wire::packet::Packet;

/// Bytes of a bridged stream that JavaScript may have at a time: it copies them, and copies them again to seal them.
const HANDED: usize = 256 << 10;

/// What waits for one client.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Packets that may not leave yet.
    pub(super) held: Vec<Packet>,
    pub(super) carrier: Option<Carrier>,
    /// Bytes the kernel has not taken yet; of the first buffer, what is left of it. Given back when there are none.
    pub(super) pending: VecDeque<Bytes>,
    pending_bytes: usize,
    /// Bytes that JavaScript has of a bridged stream, and has not written.
    handed: usize,
    /// Bytes that wait for a poll, or are held.
    pub(super) queued_bytes: usize,
    /// Counts the bytes that have left, and wraps: shows whether the client reads.
    pub(super) left: usize,
    /// So much waits that the client is watched.
    pub(super) is_slow: bool,
    /// It was seen to read nothing for long.
    pub(super) is_stalled: bool,
    /// Packets are dropped: what the client missed is still to come.
    pub(super) awaits_replay: bool,
    /// A task writes what is pending when the client has read.
    pub(super) is_flushing: bool,
    /// Which socket on this transport packets are for; those for an earlier one are dropped.
    pub(super) generation: u32,
}

impl Outbox {
    /// Bytes that still wait for the client.
    pub(super) fn waiting(&self) -> usize {
        self.pending_bytes + self.queued_bytes
    }

    /// Shows each buffer that is kept for the client: its place in memory, which is the same for all who share it, and its
    /// length. Returns the bytes that are in none.
    pub(super) fn each_buffer(&self, see: &mut impl FnMut(usize, usize)) -> usize {
        for bytes in &self.pending {
            // Its beginning moves as it is written.
            see(bytes.as_ptr_range().end.addr(), bytes.len());
        }
        for packet in &self.held {
            see(packet.place(), packet.len());
        }
        self.handed
    }

    /// Bytes that senders wait for.
    pub(super) fn awaited(&self) -> usize {
        if self.is_stalled { 0 } else { self.waiting() }
    }

    /// Bytes have left with the answer to a poll.
    pub(super) fn polled(&mut self, bytes: usize) {
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        self.has_left(bytes);
    }

    /// Pending bytes have left.
    pub(super) fn written(&mut self, bytes: usize) {
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        self.has_left(bytes);
    }

    /// JavaScript has written bytes of a bridged stream.
    pub(super) fn taken_back(&mut self, bytes: usize) {
        self.handed = self.handed.saturating_sub(bytes);
        self.written(bytes);
    }

    fn has_left(&mut self, bytes: usize) {
        self.left = self.left.wrapping_add(bytes);
        self.is_stalled = false;
    }

    /// Keeps bytes for the next write.
    pub(super) fn stage(&mut self, bytes: Bytes) {
        self.pending_bytes += bytes.len();
        self.pending.push_back(bytes);
    }

    /// Sends bytes past the queue when nothing waits there; what the kernel does not take, or an error that the next
    /// write meets again, leaves the rest in the queue. True when everything has left.
    pub(super) fn send_now(&mut self, bytes: &Bytes) -> bool {
        #[cfg(unix)]
        if self.pending.is_empty() {
            let written = match &self.carrier {
                Some(Carrier::Tcp(stream)) => socket::send(stream, bytes).unwrap_or(0),
                Some(Carrier::Tls(tls)) => tls.send(bytes).unwrap_or(0),
                Some(Carrier::Bridge(_)) | None => 0,
            };
            if written == bytes.len() {
                return true;
            }
            self.stage(bytes.slice(written..));
            return false;
        }
        self.stage(bytes.clone());
        false
    }

    /// Writes what is pending, as far as the kernel takes it.
    pub(super) fn write_pending(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match &self.carrier {
                #[cfg(unix)]
                Some(Carrier::Tcp(stream)) => {
                    let written = socket::send_vectored(stream, &self.pending)?;
                    self.advance(written);
                }
                #[cfg(unix)]
                Some(Carrier::Tls(tls)) => {
                    let written = tls.send_pending(&self.pending)?;
                    self.advance(written);
                }
                Some(Carrier::Bridge(sink)) => {
                    if self.handed >= HANDED {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    // What JavaScript has not written yet counts as pending until it says so.
                    if let Some(bytes) = self.pending.pop_front() {
                        self.handed += bytes.len();
                        sink.write(bytes);
                    }
                }
                None => return Ok(()),
            }
        }
        self.pending = VecDeque::new();
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
    pub(super) fn finish(&self) {
        if let Some(carrier) = &self.carrier {
            carrier.finish();
        }
    }

    /// Takes the stream away, with what waits for it.
    pub(super) fn take_stream(&mut self) -> Self {
        Self {
            carrier: self.carrier.take(),
            pending: std::mem::take(&mut self.pending),
            pending_bytes: std::mem::take(&mut self.pending_bytes),
            handed: std::mem::take(&mut self.handed),
            ..Self::default()
        }
    }

    /// Closes the stream, and forgets what waited for it.
    pub(super) fn drop_carrier(&mut self) {
        self.pending = VecDeque::new();
        self.pending_bytes = 0;
        self.handed = 0;
        if let Some(carrier) = self.carrier.take() {
            carrier.close();
        }
    }

    /// Closes the stream, and forgets everything that waited.
    pub(super) fn clear(&mut self) {
        self.held = Vec::new();
        self.queued_bytes = 0;
        self.drop_carrier();
    }
}

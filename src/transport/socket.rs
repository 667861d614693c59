//! Writes to a connection of ours, past the runtime: as much as the kernel takes at once.

use std::{collections::VecDeque, io, os::fd::AsFd};

use bytes::Bytes;

/// Buffers handed to the kernel in one call.
const BUFFERS_PER_WRITE: usize = 64;

/// Writes what the kernel takes at once.
pub(super) fn send(stream: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    // The descriptor is non-blocking, and Rust programs ignore SIGPIPE, but Node.js decides here.
    socket2::SockRef::from(stream).send_with_flags(bytes, libc::MSG_NOSIGNAL)
}

/// As [`send`], of several buffers.
pub(super) fn send_vectored(stream: &impl AsFd, pending: &VecDeque<Bytes>) -> io::Result<usize> {
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

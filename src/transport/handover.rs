//! Taking over a connection from Node.js by its file descriptor. Besides `memory`, the only module with `unsafe` code.
#![allow(unsafe_code)]

use std::{
    io,
    ops::Deref,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd},
    sync::Arc,
};

use tokio::net::TcpStream;

/// A stream with its descriptor at hand: a write to each of many connections need not follow the pointer.
#[derive(Debug, Clone)]
pub struct Descriptor {
    fd: RawFd,
    stream: Arc<TcpStream>,
}

impl From<Arc<TcpStream>> for Descriptor {
    fn from(stream: Arc<TcpStream>) -> Self {
        Self {
            fd: stream.as_raw_fd(),
            stream,
        }
    }
}

impl Deref for Descriptor {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the stream that the descriptor was taken from lives as long as `self`, keeps it open and never
        // exchanges it.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

/// A stream of our own over the connection behind `fd`, which stays open until its owner closes it as well.
///
/// Must be called within the runtime.
///
/// # Errors
///
/// When the descriptor is not that of a connection.
pub fn duplicate(fd: RawFd) -> io::Result<TcpStream> {
    if fd < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: Node.js owns the descriptor and its event loop, which is where this runs, does not close it before
    // this function returns. Nothing is kept of the borrowed descriptor.
    let owned = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    let stream = std::net::TcpStream::from(owned);
    stream.set_nonblocking(true)?;
    // A Unix socket has no such thing.
    let _ = stream.set_nodelay(true);
    TcpStream::from_std(stream)
}

/// The kernel's smoothed round-trip estimate in microseconds.
#[cfg(target_os = "linux")]
pub(super) fn round_trip_us(stream: &TcpStream) -> Option<u32> {
    // SAFETY: `tcp_info` is plain data for which all zeroes is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(std::mem::size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the pointers are valid for `length` bytes, and the kernel writes no more than that.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            std::ptr::from_mut(&mut info).cast(),
            &raw mut length,
        )
    };
    (result == 0 && info.tcpi_rtt > 0).then_some(info.tcpi_rtt)
}

/// Not known on this system; the heartbeat's round-trip is used.
#[cfg(not(target_os = "linux"))]
pub(super) fn round_trip_us(_: &TcpStream) -> Option<u32> {
    None
}

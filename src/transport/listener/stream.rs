//! A connection that a door has accepted, bare or over TLS.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use crate::transport::{
    carrier::Carrier,
    tls::{Tls, TlsStream},
    upgrade::Incoming,
};

/// A connection that a door has accepted.
#[derive(Debug)]
pub(super) enum Stream {
    Bare(TcpStream),
    Tls(TlsStream),
}

impl Stream {
    /// Over TLS, after the handshake.
    pub(super) fn over_tls(tls: Arc<Tls>) -> Self {
        Self::Tls(TlsStream(tls))
    }

    /// Whether others on the way cannot read it.
    pub(super) fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Ready when there may be something to read.
    pub(super) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Bare(stream) => stream.poll_read_ready(context),
            Self::Tls(TlsStream(tls)) => tls.poll_read_ready(context),
        }
    }

    /// What carries a WebSocket over it.
    pub(super) fn into_carrier(self) -> (Carrier, Incoming) {
        match self {
            Self::Bare(stream) => {
                let stream = Arc::new(stream);
                (Carrier::Tcp(stream.clone().into()), Incoming::Tcp(stream))
            }
            Self::Tls(TlsStream(tls)) => (Carrier::Tls(tls.clone()), Incoming::Tls(tls)),
        }
    }

    /// The descriptor of a connection for Node.js: its own, or that of one over which the bytes go on.
    pub(super) fn into_descriptor(self) -> io::Result<std::net::TcpStream> {
        match self {
            Self::Bare(stream) => stream.into_std(),
            Self::Tls(stream) => {
                let (ours, theirs) = UnixStream::pair()?;
                tokio::spawn(super::relay::relay(stream, ours));
                // Reading, writing and shutting down are the same for both.
                Ok(std::os::fd::OwnedFd::from(theirs.into_std()?).into())
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Bare(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Bare(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Bare(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self, Self::Bare(_))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Bare(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Bare(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

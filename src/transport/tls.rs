//! TLS of our own: a TCP connection whose bytes are sealed. It is written to straight from a broadcast, as a bare connection is.
//!
//! | part | owns |
//! |---|---|
//! | `tls` | the connection: what is read, and what is written as far as the kernel takes it |
//! | `session` | the records: rustls, without any reading or writing |
//! | `context` | certificates, keys and what else a handshake goes by |

mod context;
mod session;

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

pub use self::context::{ContextError, TlsOptions};
use self::session::{RECORD, Session};
use super::socket::send;

/// Bytes read from a connection at once.
const READ_SIZE: usize = 64 * 1024;

thread_local! {
    /// What was read, and what it says.
    static INCOMING: RefCell<(Box<[u8]>, Vec<u8>)> = RefCell::new((vec![0; READ_SIZE].into_boxed_slice(), Vec::new()));
    /// What is to be sealed when it does not lie together, and what it becomes.
    static OUTGOING: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// A connection over TLS.
///
/// Its lock is taken within that of an outbox; nothing else is called while it is held.
#[derive(Debug)]
pub struct Tls {
    stream: TcpStream,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    session: Session,
    /// Plain bytes that the handshake, or a reader with little room, has left.
    plain: Vec<u8>,
    /// Sealed, and not taken by the kernel yet.
    unsent: Vec<u8>,
    /// How many of the bytes that [`Tls::send`] was given are in `unsent`.
    underway: usize,
    /// The client was told that no more comes.
    has_finished: bool,
    /// Nothing more comes.
    has_ended: bool,
}

impl Tls {
    /// Shakes hands with a client.
    pub(super) async fn accept(stream: TcpStream, context: Arc<ServerConfig>) -> io::Result<Arc<Self>> {
        let tls = Self {
            stream,
            state: Mutex::new(State {
                session: Session::new(context)?,
                plain: Vec::new(),
                unsent: Vec::new(),
                underway: 0,
                has_finished: false,
                has_ended: false,
            }),
        };
        while tls.state.lock().session.is_handshaking() {
            tls.stream.readable().await?;
            match tls.receive(|state, plain| state.plain.extend_from_slice(plain)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                outcome => outcome?,
            }
            std::future::poll_fn(|context| tls.poll_flushed(context)).await?;
            let state = tls.state.lock();
            if state.has_ended && state.session.is_handshaking() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Arc::new(tls))
    }

    /// The connection under the TLS, to wait for, and to ask about.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Resolves when there may be something to read.
    pub(super) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.state.lock();
        if state.has_ended || !state.plain.is_empty() {
            return Poll::Ready(Ok(()));
        }
        drop(state);
        self.stream.poll_read_ready(context)
    }

    /// Hands what can be read to `take`, once and together. `Ok(false)` when no more comes; `WouldBlock` when nothing has come
    /// that says anything.
    pub(super) fn read_with(&self, take: impl FnOnce(&mut [u8])) -> io::Result<bool> {
        let mut state = self.state.lock();
        if !state.plain.is_empty() {
            let mut plain = std::mem::take(&mut state.plain);
            drop(state);
            take(&mut plain);
            return Ok(true);
        }
        if state.has_ended {
            return Ok(false);
        }
        drop(state);
        let mut take = Some(take);
        INCOMING.with_borrow_mut(|(received, plain)| {
            self.receive_into(received, plain)?;
            if plain.is_empty() {
                return match self.state.lock().has_ended {
                    true => Ok(false),
                    false => Err(io::ErrorKind::WouldBlock.into()),
                };
            }
            // Not under the lock: it may answer at once.
            if let Some(take) = take.take() {
                take(plain);
            }
            Ok(true)
        })
    }

    fn receive(&self, take: impl FnOnce(&mut State, &[u8])) -> io::Result<()> {
        INCOMING.with_borrow_mut(|(received, plain)| {
            self.receive_into(received, plain)?;
            take(&mut self.state.lock(), plain);
            Ok(())
        })
    }

    /// Reads, and opens what was read; what the session has to say to that is sent as far as it can be now.
    fn receive_into(&self, received: &mut [u8], plain: &mut Vec<u8>) -> io::Result<()> {
        plain.clear();
        let length = self.stream.try_read(received)?;
        let mut state = self.state.lock();
        let State { session, unsent, .. } = &mut *state;
        let opened = session.open(received.get_mut(..length).unwrap_or_default(), plain, unsent);
        state.has_ended |= length == 0 || state.session.has_ended();
        // An error is met again by whoever writes next.
        let _ = self.flush(&mut state);
        opened
    }

    /// Seals what is in front of `pending`, and sends it. How many of its bytes have left: until they have, it has to be
    /// called with the same.
    pub(super) fn send_pending(&self, pending: &VecDeque<Bytes>) -> io::Result<usize> {
        match pending.front() {
            Some(first) if pending.len() > 1 && first.len() < RECORD => {
                OUTGOING.with_borrow_mut(|(together, sealed)| {
                    together.clear();
                    for bytes in pending {
                        let room = RECORD - together.len();
                        together.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
                        if together.len() == RECORD {
                            break;
                        }
                    }
                    self.send_whole(together, sealed)
                })
            }
            Some(first) => self.send(first),
            None => Ok(0),
        }
    }

    /// As [`Self::send_pending`], of one buffer.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        OUTGOING.with_borrow_mut(|(_, sealed)| self.send_whole(bytes, sealed))
    }

    fn send_whole(&self, bytes: &[u8], sealed: &mut Vec<u8>) -> io::Result<usize> {
        let mut state = self.state.lock();
        if state.underway == 0 {
            self.flush(&mut state)?;
            state.underway = self.put(&mut state, bytes, sealed)?;
        }
        self.flush(&mut state)?;
        Ok(std::mem::take(&mut state.underway))
    }

    /// Seals bytes, a record at most, when nothing waits to be sent; what the kernel does not take waits then. How many it were.
    fn put(&self, state: &mut State, bytes: &[u8], sealed: &mut Vec<u8>) -> io::Result<usize> {
        let record = bytes.get(..RECORD).unwrap_or(bytes);
        let length = state.session.seal(record, sealed, &mut state.unsent)?;
        let mut rest = sealed.get(..length).unwrap_or_default();
        if state.unsent.is_empty() {
            // A lasting error is met again.
            let sent = send(&self.stream, rest).unwrap_or(0);
            rest = rest.get(sent..).unwrap_or_default();
        }
        state.unsent.extend_from_slice(rest);
        Ok(record.len())
    }

    fn flush(&self, state: &mut State) -> io::Result<()> {
        while !state.unsent.is_empty() {
            let sent = send(&self.stream, &state.unsent)?;
            state.unsent.drain(..sent);
            if state.unsent.is_empty() {
                state.unsent = Vec::new();
            }
        }
        Ok(())
    }

    /// Tells the client that no more comes.
    pub(super) fn finish(&self) {
        let _ = self.say_goodbye(&mut self.state.lock());
        let _ = socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
    }

    fn say_goodbye(&self, state: &mut State) -> io::Result<()> {
        if !std::mem::replace(&mut state.has_finished, true) {
            state.session.say_goodbye(&mut state.unsent);
        }
        self.flush(state)
    }

    /// Writes some of the bytes, which need not come again.
    fn poll_put(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_writing(context, |state| {
            self.flush(state)?;
            OUTGOING.with_borrow_mut(|(_, sealed)| self.put(state, bytes, sealed))
        })
    }

    fn poll_flushed(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writing(context, |state| self.flush(state))
    }

    fn poll_writing<T>(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&mut State) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            let written = self.stream.try_io(Interest::WRITABLE, || write(&mut self.state.lock()));
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                written => return Poll::Ready(written),
            }
        }
    }
}

/// For what goes over a connection before it is a WebSocket's.
#[derive(Debug, Clone)]
pub(super) struct TlsStream(pub(super) Arc<Tls>);

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            let mut left = Vec::new();
            let read = self.0.read_with(|plain| {
                let room = plain.len().min(buffer.remaining());
                let (now, later) = plain.split_at(room);
                buffer.put_slice(now);
                left = later.to_vec();
            });
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                read => {
                    read?;
                    self.0.state.lock().plain = left;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_put(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flushed(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_writing(context, |state| self.0.say_goodbye(state)))?;
        self.0.finish();
        Poll::Ready(Ok(()))
    }
}

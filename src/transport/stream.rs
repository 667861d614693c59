//! The stream that socketioxide reads and writes in place of the client's.
//!
//! Reading: client frames are decoded here; what the session takes never reaches the library, the rest is passed on as
//! frames masked with zeroes. Writing: everything is taken at once, put right, and goes to the connection's outbox.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::session::{Session, Verdict, rewrite::Outgoing};
use crate::{
    disconnect::DisconnectReason,
    wire::{
        frame::{FrameError, FrameReader, Message, put_client_frame, put_client_text, server_frames},
        packet::text_frame,
        payload::FAREWELL,
    },
};

/// Bytes read from a connection at once, in a buffer that the connections of a thread share.
const READ_SIZE: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

/// Where the client's bytes come from.
#[derive(Debug)]
pub enum Source {
    /// A connection of our own.
    #[cfg(unix)]
    Tcp(Arc<tokio::net::TcpStream>),
    /// A connection that JavaScript reads.
    Bridge(mpsc::Receiver<Bytes>),
}

/// How far an upgrade from polling has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// The client has not completed it. Whether its probe was answered, the phase says.
    Pending,
    Upgraded,
    Failed,
    /// Not an upgrade, or one that is complete.
    None,
}

/// The stream between a client and socketioxide.
#[derive(Debug)]
pub struct Bytestream {
    session: Arc<Session>,
    source: Source,
    frames: FrameReader,
    /// Frames for socketioxide to read, and how many bytes of them it has read.
    inbound: Vec<u8>,
    read: usize,
    probe: Probe,
    ended: bool,
    /// The client may cause no more, and its heartbeat has been answered for that.
    is_paused: bool,
}

impl Bytestream {
    /// The stream of a new session; `received` has been read from it already.
    pub(super) fn new(session: Arc<Session>, source: Source, received: &[u8]) -> Self {
        let limit = session.sessions().service.config.max_http_buffer_size;
        let mut stream = Self {
            session,
            source,
            frames: FrameReader::new(limit),
            inbound: Vec::new(),
            read: 0,
            probe: Probe::None,
            ended: false,
            is_paused: false,
        };
        stream.take(&mut received.to_vec());
        stream
    }

    /// The stream of a session that may move here from polling.
    pub(super) fn probing(session: Arc<Session>, source: Source, received: &[u8]) -> Self {
        let mut stream = Self::new(session, source, &[]);
        stream.probe = Probe::Pending;
        stream.take(&mut received.to_vec());
        stream
    }

    /// Waits until the client has completed its upgrade.
    pub(super) async fn probed(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            loop {
                match self.probe {
                    Probe::Upgraded => {
                        self.probe = Probe::None;
                        return Poll::Ready(Ok(()));
                    }
                    Probe::Failed => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                    _ if self.ended => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    _ => ready!(self.poll_fill(context))?,
                }
            }
        })
        .await
    }

    /// Reads once from the client.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let pauses = self.probe == Probe::None && self.session.account().poll_ready(context).is_pending();
        let is_closing = (pauses || self.frames.is_stopped()) && self.session.phase().is_closing();
        let pauses = pauses && !is_closing;
        let was_paused = std::mem::replace(&mut self.is_paused, pauses);
        if self.session.takes_heartbeat() || (pauses && !was_paused) {
            put_client_text(&mut self.inbound, self.session.heartbeat());
            return Poll::Ready(Ok(()));
        }
        if pauses {
            return Poll::Pending;
        }
        if self.frames.is_stopped() && !is_closing {
            self.take(&mut []);
            return Poll::Ready(Ok(()));
        }
        match &mut self.source {
            #[cfg(unix)]
            Source::Tcp(stream) => {
                let stream = stream.clone();
                ready!(stream.poll_read_ready(context))?;
                SCRATCH.with_borrow_mut(|scratch| match stream.try_read(scratch) {
                    Ok(0) => self.ended = true,
                    Ok(length) => self.take(scratch.get_mut(..length).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => self.ended = true,
                });
            }
            Source::Bridge(receiver) => match ready!(receiver.poll_recv(context)) {
                Some(bytes) => self.take(&mut bytes.to_vec()),
                None => self.ended = true,
            },
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, bytes: &mut [u8]) {
        if (bytes.is_empty() && !self.frames.is_stopped()) || self.session.phase().is_closing() {
            return;
        }
        let Self {
            session,
            frames,
            inbound,
            probe,
            ..
        } = self;
        let mut fault = None;
        let outcome = frames.read(bytes, |message| {
            if *probe != Probe::None && *probe != Probe::Upgraded {
                *probe = advance(*probe, &message, session);
                if *probe == Probe::Upgraded {
                    // The library has its own part of the upgrade still before it.
                    put_client_text(inbound, "2probe");
                    put_client_text(inbound, "5");
                }
                return *probe != Probe::Failed;
            }
            let verdict = match &message {
                Message::Text(text) => session.on_text(text),
                Message::Binary(data) => session.on_binary(data),
                Message::Control(..) => Verdict::Pass,
            };
            match verdict {
                Verdict::Taken => {}
                Verdict::Pass => match message {
                    Message::Text(text) => put_client_text(inbound, text),
                    Message::Binary(data) => put_client_frame(inbound, OpCode::Data(Data::Binary), data),
                    Message::Control(code, payload) => put_client_frame(inbound, code, payload),
                },
                Verdict::Close(reason) => {
                    fault = Some(reason);
                    return false;
                }
            }
            // The rest waits with the client.
            session.account().has_room()
        });
        if let Err(FrameError::Invalid | FrameError::TooLarge) = outcome {
            fault = Some(DisconnectReason::TransportError);
        }
        if let Some(reason) = fault {
            if *probe == Probe::None {
                self.session.connection().close(reason);
                self.ended = true;
            } else {
                self.probe = Probe::Failed;
            }
        }
    }

    /// Takes what socketioxide wrote.
    fn put(&mut self, bytes: &[u8]) {
        let connection = self.session.connection().clone();
        let Some(frames) = server_frames(bytes) else {
            connection.write_raw(Bytes::copy_from_slice(bytes));
            return;
        };
        for frame in frames {
            let text = match frame.opcode {
                OpCode::Data(Data::Text) => std::str::from_utf8(frame.payload).ok(),
                _ => None,
            };
            match text.map(|text| self.session.outgoing(text, true)) {
                Some(Outgoing::Pass(text)) => {
                    connection.write_raw(Bytes::copy_from_slice(frame.whole));
                    if text == FAREWELL {
                        connection.farewell_passed();
                    }
                }
                None => connection.write_raw(Bytes::copy_from_slice(frame.whole)),
                Some(Outgoing::Replace(text)) => connection.write_raw(text_frame(&text)),
                Some(Outgoing::Connected(text)) => {
                    connection.write_raw(text_frame(&text));
                    connection.connect_passed(true);
                }
                Some(Outgoing::Answer(answer)) => {
                    put_client_text(&mut self.inbound, answer);
                    self.session.reader.wake();
                }
                Some(Outgoing::Drained) => connection.drained(),
                Some(Outgoing::Last) => connection.farewell_passed(),
                Some(Outgoing::Nothing) => {}
            }
        }
    }
}

/// The next step of an upgrade (Engine.IO protocol, "Upgrade").
fn advance(probe: Probe, message: &Message<'_>, session: &Session) -> Probe {
    match (probe, message) {
        (Probe::Pending, Message::Text("2probe")) if session.connection().probe() => probe,
        (Probe::Pending, Message::Text("5")) if session.phase().is_probed() => Probe::Upgraded,
        (_, Message::Control(OpCode::Control(Control::Ping | Control::Pong), _)) => probe,
        _ => Probe::Failed,
    }
}

impl AsyncRead for Bytestream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let waiting = self.inbound.get(self.read..).unwrap_or_default();
            if !waiting.is_empty() {
                let length = waiting.len().min(buffer.remaining());
                buffer.put_slice(waiting.get(..length).unwrap_or_default());
                self.read += length;
                if self.read == self.inbound.len() {
                    self.inbound = Vec::new();
                    self.read = 0;
                }
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            self.session.reader.register(context.waker());
            ready!(self.poll_fill(context))?;
        }
    }
}

impl AsyncWrite for Bytestream {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.put(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Bytestream {
    fn drop(&mut self) {
        // A failed upgrade leaves the session where it was.
        if self.probe == Probe::None {
            self.session.connection().reader_gone();
            self.session.ended();
        }
    }
}

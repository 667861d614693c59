//! Engine.IO over WebSocket: reads the frames of a client, answers those that are about the connection, and hands the session
//! what is in the others.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tungstenite::protocol::frame::coding::{Control, OpCode};

#[cfg(unix)]
use super::tls::Tls;
use super::{
    engine::SessionId,
    session::{Session, Verdict, no_namespace},
};
use crate::{
    config::Limit,
    disconnect::DisconnectReason,
    wire::{
        frame::{FrameError, FrameReader, Message, close_status},
        packet::{FIN_CLOSE, FIN_PONG, FIN_TEXT, put_frame},
        payload::base64,
    },
};

/// Bytes read from a connection at once, in a buffer that the connections of a thread share.
const READ_SIZE: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

/// Where a client's bytes come from: a connection of ours, or one that JavaScript reads.
pub(super) trait Source: Send + Unpin + 'static {
    /// Waits for bytes and hands them to `take`. Ready with false when no more come.
    fn poll_bytes(&mut self, context: &mut Context<'_>, take: impl FnOnce(&mut [u8])) -> Poll<bool>;
}

#[cfg(unix)]
impl Source for Arc<tokio::net::TcpStream> {
    fn poll_bytes(&mut self, context: &mut Context<'_>, take: impl FnOnce(&mut [u8])) -> Poll<bool> {
        if ready!(self.poll_read_ready(context)).is_err() {
            return Poll::Ready(false);
        }
        SCRATCH.with_borrow_mut(|scratch| match self.try_read(scratch) {
            Ok(0) => Poll::Ready(false),
            Ok(length) => {
                take(scratch.get_mut(..length).unwrap_or_default());
                Poll::Ready(true)
            }
            Err(error) => Poll::Ready(error.kind() == io::ErrorKind::WouldBlock),
        })
    }
}

#[cfg(unix)]
impl Source for Arc<Tls> {
    fn poll_bytes(&mut self, context: &mut Context<'_>, take: impl FnOnce(&mut [u8])) -> Poll<bool> {
        if ready!(self.poll_read_ready(context)).is_err() {
            return Poll::Ready(false);
        }
        let read = self.read_with(take);
        Poll::Ready(read.unwrap_or_else(|error| error.kind() == io::ErrorKind::WouldBlock))
    }
}

impl Source for mpsc::Receiver<Bytes> {
    fn poll_bytes(&mut self, context: &mut Context<'_>, take: impl FnOnce(&mut [u8])) -> Poll<bool> {
        let received = ready!(self.poll_recv(context));
        Poll::Ready(received.map(|bytes| take(&mut bytes.to_vec())).is_some())
    }
}

/// The frames of a client.
#[derive(Debug)]
pub(super) struct Stream<S> {
    source: S,
    frames: FrameReader,
}

/// How far an upgrade from polling has come.
#[derive(Debug)]
enum Probe {
    /// The client has not completed it. Whether its probe was answered, the phase says.
    Pending,
    Upgraded,
    /// It has sent something else, which is answered with this close frame.
    Failed(Bytes),
}

impl<S: Source> Stream<S> {
    /// A stream from its beginning.
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            frames: FrameReader::default(),
        }
    }

    /// Waits until a client that polls has completed its upgrade; `received` has been read from the stream already. An
    /// error when it does not: the close frame that it is to get.
    pub(super) async fn probed(&mut self, session: &Session, received: Vec<u8>) -> Result<(), Bytes> {
        let mut received = Some(received);
        let mut probe = Probe::Pending;
        std::future::poll_fn(|context| {
            loop {
                let limit = session.sessions().service.config.max_http_buffer_size;
                let frames = &mut self.frames;
                let mut take = |bytes: &mut [u8]| {
                    let outcome = frames.read(bytes, limit, |message| {
                        probe = advance(&message, session);
                        matches!(probe, Probe::Pending)
                    });
                    if let Err(error) = outcome {
                        probe = Probe::Failed(refusal(error));
                    }
                };
                let is_open = match received.take() {
                    Some(mut bytes) => {
                        take(&mut bytes);
                        true
                    }
                    None => ready!(self.source.poll_bytes(context, take)),
                };
                match std::mem::replace(&mut probe, Probe::Pending) {
                    Probe::Upgraded => return Poll::Ready(Ok(())),
                    Probe::Failed(close_frame) => return Poll::Ready(Err(close_frame)),
                    Probe::Pending if is_open => {}
                    Probe::Pending => return Poll::Ready(Err(Bytes::new())),
                }
            }
        })
        .await
    }

    /// Waits until no more comes.
    pub(super) async fn ended(&mut self) {
        std::future::poll_fn(|context| {
            while ready!(self.source.poll_bytes(context, |_| {})) {}
            Poll::Ready(())
        })
        .await;
    }
}

/// The next step of an upgrade (Engine.IO protocol, "Upgrade").
fn advance(message: &Message<'_>, session: &Session) -> Probe {
    match message {
        Message::Text("2probe") if session.connection().probe() => Probe::Pending,
        Message::Text(text) if text.starts_with('5') && session.phase().is_probed() => Probe::Upgraded,
        Message::Control(OpCode::Control(Control::Ping), payload) => {
            session.connection().write_raw(control(FIN_PONG, payload));
            Probe::Pending
        }
        Message::Control(OpCode::Control(Control::Pong), _) => Probe::Pending,
        Message::Control(OpCode::Control(Control::Close), payload) => Probe::Failed(match close_status(payload) {
            Ok(_) => control(FIN_CLOSE, payload),
            Err(error) => refusal(error),
        }),
        _ => Probe::Failed(control(FIN_CLOSE, &[])),
    }
}

/// The close frame for a client that breaks the protocol of WebSocket, as `ws` has it.
fn refusal(error: FrameError) -> Bytes {
    control(FIN_CLOSE, &error.status().to_be_bytes())
}

/// Reads a client for as long as it is connected. Its end is the end of the session.
#[derive(Debug)]
pub(super) struct Reader<S> {
    session: Arc<Session>,
    stream: Stream<S>,
}

impl<S: Source> Reader<S> {
    /// A reader of the stream of a session; `received` has been read from it already.
    pub(super) fn new(session: Arc<Session>, stream: Stream<S>, received: &[u8]) -> Self {
        let mut reader = Self { session, stream };
        if !received.is_empty() {
            take(&reader.session, &mut reader.stream.frames, &mut received.to_vec());
        }
        reader
    }
}

impl<S: Source> Future for Reader<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { session, stream } = &mut *self;
        if session.is_opening.load(Ordering::Relaxed) && session.is_opening.swap(false, Ordering::AcqRel) {
            session.connection().write_staged();
        }
        loop {
            let has_room = session.account().poll_ready(context).is_ready();
            if !session.phase().is_closing() {
                if !has_room {
                    session.was_paused.store(true, Ordering::Release);
                    return Poll::Pending;
                }
                if stream.frames.is_stopped() {
                    take(session, &mut stream.frames, &mut []);
                    continue;
                }
            }
            let frames = &mut stream.frames;
            if !ready!(stream.source.poll_bytes(context, |bytes| take(session, frames, bytes))) {
                return Poll::Ready(());
            }
        }
    }
}

impl<S> Drop for Reader<S> {
    fn drop(&mut self) {
        self.session.account().keeps(self.stream.frames.kept(), 0);
        self.session.connection().reader_gone();
        self.session.ended();
    }
}

/// Takes what has come, until the client may cause no more: the rest waits with it. What comes after the end is ignored.
fn take(session: &Arc<Session>, frames: &mut FrameReader, bytes: &mut [u8]) {
    if session.phase().is_closing() {
        return;
    }
    session.account().took(bytes.len());
    let limit = session.sessions().service.config.max_http_buffer_size;
    let (was_unfinished, kept_before) = (frames.is_unfinished(), frames.kept());
    let mut has_ended_message = false;
    let mut pongs = Pongs::default();
    let outcome = frames.read(bytes, limit, |message| {
        if let Message::Control(OpCode::Control(Control::Ping), payload) = message {
            session.heard();
            pongs.add(payload);
            return !session.phase().is_closing();
        }
        has_ended_message |= !matches!(message, Message::Control(..));
        match on_frame(session, &message) {
            Verdict::Close(reason) => session.hang_up(reason, &[]),
            Verdict::Connect(auth) => session.decide(auth),
            Verdict::Foreign(namespace) => session.connection().write_text(&no_namespace(namespace)),
            Verdict::Taken | Verdict::Left => {}
        }
        !session.phase().is_closing() && session.account().has_room()
    });
    if let Some(bytes) = pongs.into_bytes() {
        session.connection().write_raw(bytes);
    }
    if was_unfinished || frames.is_unfinished() {
        session.account().keeps(kept_before, frames.kept());
        // A message of empty fragments is one, too.
        session.keeps_message(frames.is_unfinished(), has_ended_message);
    }
    if let Err(error) = outcome {
        if error == FrameError::TooLarge {
            session.exceeded(Limit::MaxHttpBufferSize);
        }
        fail(session, error);
    }
}

/// Pings that come together and are all answered; of more, the last is (RFC 6455, section 5.5.3): a flood of them costs one small
/// write for each read.
const MOST_PONGS: usize = 16;

/// The answers to the pings of one read.
#[derive(Default)]
struct Pongs {
    frames: BytesMut,
    count: usize,
    /// Where the last of them begins.
    last: usize,
}

impl Pongs {
    fn add(&mut self, payload: &[u8]) {
        if self.count >= MOST_PONGS {
            self.frames.truncate(self.last);
        }
        self.count += 1;
        self.last = self.frames.len();
        put_frame(&mut self.frames, FIN_PONG, payload);
    }

    fn into_bytes(self) -> Option<Bytes> {
        (self.count > 0).then(|| self.frames.freeze())
    }
}

/// The client has broken the protocol of WebSocket: it is told how, as `ws` tells it.
fn fail(session: &Session, error: FrameError) {
    session.hang_up(DisconnectReason::TransportError, &error.status().to_be_bytes());
}

/// Takes a frame (Engine.IO protocol, "WebSocket"); what it means for the session is left to be done.
fn on_frame<'a>(session: &Arc<Session>, frame: &'a Message<'_>) -> Verdict<'a> {
    session.heard();
    match frame {
        Message::Text(text) => on_text(session, text),
        Message::Binary(data) if session.is_eio3() => on_typed(session, data),
        Message::Binary(data) => session.on_binary(data),
        Message::Control(OpCode::Control(Control::Close), payload) => match close_status(payload) {
            Ok(_) => {
                session.departed(DisconnectReason::TransportClose);
                session.connection().end_with(control(FIN_CLOSE, payload));
                Verdict::Taken
            }
            Err(error) => {
                fail(session, error);
                Verdict::Taken
            }
        },
        Message::Control(..) => Verdict::Taken,
    }
}

/// Bytes of Engine.IO 3, the first of which is the type.
fn on_typed(session: &Arc<Session>, data: &[u8]) -> Verdict<'static> {
    match data {
        [4, message @ ..] => session.on_binary(message),
        [2, ..] => {
            session.pinged();
            Verdict::Taken
        }
        [3, ..] => Verdict::Close(DisconnectReason::TransportError),
        _ => Verdict::Taken,
    }
}

fn on_text<'a>(session: &Arc<Session>, text: &'a str) -> Verdict<'a> {
    let data = text.get(1..).unwrap_or_default();
    if text.starts_with('3') && !session.is_eio3() {
        session.ponged();
        return Verdict::Taken;
    }
    session.spare();
    match text.as_bytes() {
        [b'4', ..] => session.on_message(data),
        [b'2', ..] if session.is_eio3() => {
            session.pinged();
            Verdict::Taken
        }
        // A heartbeat in the wrong direction.
        [b'2' | b'3', ..] => Verdict::Close(DisconnectReason::TransportError),
        // Open, close, upgrade and noop mean nothing here: what ends is the WebSocket.
        [b'0' | b'1' | b'5' | b'6', ..] => Verdict::Taken,
        [b'b', b'4', ..] if session.is_eio3() => session.on_binary(&base64(data.get(1..).unwrap_or_default())),
        [b'b', ..] if !session.is_eio3() => session.on_binary(&base64(data)),
        _ => Verdict::Close(DisconnectReason::ParseError),
    }
}

impl Session {
    /// Ends a client on WebSocket for a reason of ours: its socket at once, its stream with this close frame. What it still
    /// sends is read and ignored, or the frame might be lost with the connection.
    pub(super) fn hang_up(&self, reason: DisconnectReason, close_frame: &[u8]) {
        self.connection().because(reason.clone());
        self.departed(reason);
        self.connection().end_with(control(FIN_CLOSE, close_frame));
    }
}

/// A control frame with the payload of another.
fn control(first: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    put_frame(&mut frame, first, payload);
    frame.freeze()
}

/// The response that accepts a WebSocket and the open packet of its session. They leave in one write: `socket.io-client`
/// waits for ever when a connection ends between the two.
pub(super) fn opening(session: &Session, response: &str) -> Bytes {
    let config = &session.sessions().service.config;
    // In the order of Engine.IO, which clients have come to match.
    let open = format!(
        "0{{\"sid\":\"{}\",\"upgrades\":[],\"pingInterval\":{},\"pingTimeout\":{},\"maxPayload\":{}}}",
        session.sid().as_ref().map_or("", SessionId::as_str),
        config.ping_interval.as_millis(),
        config.ping_timeout.as_millis(),
        config.max_http_buffer_size,
    );
    let mut bytes = BytesMut::from(response);
    put_frame(&mut bytes, FIN_TEXT, open.as_bytes());
    bytes.freeze()
}

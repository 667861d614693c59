//! What hyper reads of a connection: one head at a time, and a body when somebody wants it. So nothing is read that may have
//! to be given to somebody else, and the head is there as it was sent.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;

/// Bytes that are read ahead of what may pass. Nobody sends so much behind a request that is not answered.
const AHEAD: usize = 64 << 10;
/// Bytes that are read at a time.
const READ: usize = 8 << 10;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// What may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passes {
    /// The head of a request, to its end.
    Head,
    /// So many bytes of a body.
    Body(u64),
    /// A body of which nobody knows how long it is.
    Chunks,
    /// Nothing: a request is being answered.
    Nothing,
}

#[derive(Debug)]
struct State {
    passes: Passes,
    /// What has passed of the head.
    head: BytesMut,
    /// The head was asked for: the request is being answered.
    is_seen: bool,
    /// The request has a body that somebody wants: it is answered though its client sends no more.
    has_body: bool,
    /// Whoever waits for the gate: something was read that may not pass, or the end.
    reader: Option<Waker>,
}

/// The hand on the gate.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Mutex<State>>);

impl Gate {
    /// The head of the request that is being answered, as it was sent; `None` when it has no end as HTTP has it.
    pub(super) fn head(&self) -> Option<Bytes> {
        let mut state = self.0.lock();
        let is_whole = state.passes == Passes::Nothing;
        state.is_seen = true;
        // The end of the connection may be seen now.
        let reader = state.reader.take();
        let head = is_whole.then(|| state.head.split().freeze());
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        head
    }

    /// Lets a body pass, of so many bytes, or in chunks.
    pub(super) fn open(&self, length: Option<u64>) {
        self.let_pass(length.map_or(Passes::Chunks, Passes::Body));
    }

    /// The request has been answered: the next one may come.
    pub(super) fn next(&self) {
        self.let_pass(Passes::Head);
    }

    fn let_pass(&self, passes: Passes) {
        let reader = {
            let mut state = self.0.lock();
            state.passes = passes;
            if passes == Passes::Head {
                state.head.clear();
                state.is_seen = false;
            }
            state.has_body = passes != Passes::Head;
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// A connection behind a gate.
#[derive(Debug)]
pub(super) struct Gated {
    stream: Stream,
    /// Read, but not passed on.
    ahead: BytesMut,
    /// Nothing more comes.
    has_ended: bool,
    gate: Gate,
}

impl Gated {
    /// A connection of which the first head may pass.
    pub(super) fn new(stream: Stream) -> (Self, Gate) {
        let gate = Gate(Arc::new(Mutex::new(State {
            passes: Passes::Head,
            head: BytesMut::new(),
            is_seen: false,
            has_body: false,
            reader: None,
        })));
        let gated = Self {
            stream,
            ahead: BytesMut::new(),
            has_ended: false,
            gate: gate.clone(),
        };
        (gated, gate)
    }

    /// The connection, and what was read ahead of it.
    pub(super) fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.ahead)
    }

    /// Passes on what may pass. False when nothing may, or nothing is there.
    fn pass(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let mut state = self.gate.0.lock();
        if state.passes == Passes::Head && state.head.is_empty() {
            // Empty lines before a request mean nothing (RFC 9112, section 2.2).
            let empty = self
                .ahead
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                .count();
            self.ahead.advance(empty);
        }
        let most = self.ahead.len().min(buffer.remaining());
        let most = match state.passes {
            Passes::Head => {
                let before = state.head.len();
                state.head.extend_from_slice(self.ahead.get(..most).unwrap_or_default());
                let from = before.saturating_sub(END_OF_HEAD.len() - 1);
                let end = memchr::memmem::find(state.head.get(from..).unwrap_or_default(), END_OF_HEAD);
                match end {
                    Some(at) => {
                        let end = from + at + END_OF_HEAD.len();
                        state.head.truncate(end);
                        state.passes = Passes::Nothing;
                        end - before
                    }
                    None => most,
                }
            }
            Passes::Body(left) => {
                let most = most.min(usize::try_from(left).unwrap_or(usize::MAX));
                state.passes = match left - most as u64 {
                    0 => Passes::Nothing,
                    left => Passes::Body(left),
                };
                most
            }
            Passes::Chunks => most,
            Passes::Nothing => 0,
        };
        buffer.put_slice(self.ahead.get(..most).unwrap_or_default());
        self.ahead.advance(most);
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        most > 0
    }

    /// Reads what is there, or the end. By way of the stack: a buffer of each connection would be made for each request.
    fn read_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = [MaybeUninit::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        self.ahead.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Whether what waits is behind a request that is being answered and has no body: it might wait for long.
    fn is_flooded(&self) -> bool {
        let state = self.gate.0.lock();
        state.passes == Passes::Nothing && state.is_seen && !state.has_body
    }

    /// Whether the end of the connection may be seen: not before what came in front of it has been.
    fn may_end(&self) -> bool {
        let state = self.gate.0.lock();
        match state.passes {
            Passes::Head => true,
            Passes::Body(_) | Passes::Chunks => self.ahead.is_empty(),
            Passes::Nothing => state.is_seen && !state.has_body && self.ahead.is_empty(),
        }
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.pass(buffer) {
                return Poll::Ready(Ok(()));
            }
            if this.has_ended || !this.ahead.is_empty() {
                this.gate.0.lock().reader = Some(context.waker().clone());
            }
            if this.has_ended {
                return if this.may_end() {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            }
            if this.ahead.len() >= AHEAD {
                return match this.is_flooded() {
                    true => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                    false => Poll::Pending,
                };
            }
            // Also while nothing may pass: the end of the connection is to be seen.
            ready!(this.stream.poll_read_ready(context))?;
            this.has_ended = ready!(this.read_ahead(context))? == 0;
        }
    }
}

impl AsyncWrite for Gated {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    async fn pair() -> (TcpStream, Gated, Gate) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (gated, gate) = Gated::new(Stream::Bare(listener.accept().await.unwrap().0));
        (client, gated, gate)
    }

    /// What passes now.
    async fn passing(gated: &mut Gated) -> String {
        let mut bytes = vec![0; 4096];
        let length = gated.read(&mut bytes).await.unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[tokio::test]
    async fn a_head_passes_alone_and_what_follows_when_it_may() {
        let (mut client, mut gated, gate) = pair().await;
        client
            .write_all(b"POST / HTTP/1.1\r\n\r\nbodyGET / HTTP/1.1\r\n\r\nrest")
            .await
            .unwrap();
        assert_eq!(passing(&mut gated).await, "POST / HTTP/1.1\r\n\r\n");
        assert_eq!(gate.head().unwrap(), "POST / HTTP/1.1\r\n\r\n");
        gate.open(Some(4));
        assert_eq!(passing(&mut gated).await, "body");
        gate.next();
        assert_eq!(passing(&mut gated).await, "GET / HTTP/1.1\r\n\r\n");
        assert_eq!(gate.head().unwrap(), "GET / HTTP/1.1\r\n\r\n");
        assert_eq!(gated.into_parts().1, "rest");
    }

    #[tokio::test]
    async fn a_head_that_comes_in_pieces_ends_where_it_does() {
        let (mut client, mut gated, gate) = pair().await;
        let mut passed = String::new();
        for piece in ["GET / HTTP/1.1\r", "\n\r", "\nX"] {
            client.write_all(piece.as_bytes()).await.unwrap();
            passed += &passing(&mut gated).await;
        }
        assert_eq!(passed, "GET / HTTP/1.1\r\n\r\n");
        assert_eq!(gate.head().unwrap(), passed);
        assert_eq!(gated.into_parts().1, "X");
    }

    /// Whether nothing passes, not even the end.
    async fn is_shut(gated: &mut Gated) -> bool {
        let mut byte = [0];
        let reading = gated.read(&mut byte);
        tokio::time::timeout(std::time::Duration::from_millis(20), reading)
            .await
            .is_err()
    }

    #[tokio::test]
    async fn the_end_of_a_connection_is_seen_when_its_request_has_been() {
        let (mut client, mut gated, gate) = pair().await;
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        drop(client);
        passing(&mut gated).await;
        assert!(is_shut(&mut gated).await);
        gate.head();
        assert_eq!(passing(&mut gated).await, "");
    }

    #[tokio::test]
    async fn a_body_and_its_answer_come_before_the_end() {
        let (mut client, mut gated, gate) = pair().await;
        client.write_all(b"POST / HTTP/1.1\r\n\r\nbody").await.unwrap();
        drop(client);
        passing(&mut gated).await;
        gate.head();
        assert!(is_shut(&mut gated).await);
        gate.open(Some(4));
        assert_eq!(passing(&mut gated).await, "body");
        assert!(is_shut(&mut gated).await);
        gate.next();
        assert_eq!(passing(&mut gated).await, "");
    }

    #[tokio::test]
    async fn a_large_body_waits_until_it_is_wanted() {
        let (mut client, mut gated, gate) = pair().await;
        client.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
        passing(&mut gated).await;
        let body = vec![b'x'; 3 * AHEAD];
        let sending = tokio::spawn(async move { client.write_all(&body).await.map(|()| client) });
        assert!(is_shut(&mut gated).await);
        gate.head();
        gate.open(Some(3 * AHEAD as u64));
        let mut left = 3 * AHEAD;
        while left > 0 {
            left -= passing(&mut gated).await.len();
        }
        assert!(sending.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn empty_lines_before_a_request_are_passed_over() {
        let (mut client, mut gated, gate) = pair().await;
        client.write_all(b"\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(passing(&mut gated).await, "GET / HTTP/1.1\r\n\r\n");
        assert_eq!(gate.head().unwrap(), "GET / HTTP/1.1\r\n\r\n");
    }

    #[tokio::test]
    async fn nobody_fills_memory_behind_a_request() {
        let (mut client, mut gated, gate) = pair().await;
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        passing(&mut gated).await;
        gate.head();
        let flooding = tokio::spawn(async move { while client.write_all(&[b'x'; 4096]).await.is_ok() {} });
        assert!(gated.read(&mut [0]).await.is_err());
        assert!(gated.ahead.len() <= AHEAD + READ);
        drop(gated);
        flooding.await.unwrap();
    }
}

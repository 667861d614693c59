//! The outgoing half of one client: its outbox, and the ways a packet may take.
//!
//! A packet goes straight to the connection when the client is on WebSocket, through socketioxide's queue when it
//! polls. Where one way follows the other, packets are held until the earlier ones have demonstrably left: first
//! until the CONNECT answer has passed, and after an upgrade until a marker has come through the queue.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use parking_lot::{Mutex, MutexGuard};
use socketioxide::socket::Sid;

use super::engine::PollQueue;
use crate::{
    event::Link,
    packet::{Packet, text_frame},
};

/// How long a client may take to read what is left and to close its side.
const LINGER: Duration = Duration::from_secs(3);
/// Buffers handed to the kernel in one call.
const BUFFERS_PER_WRITE: usize = 64;
/// WebSocket close frame with status 1000.
const CLOSE_FRAME: [u8; 4] = [0x88, 0x02, 0x03, 0xe8];

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
    Tcp(Arc<tokio::net::TcpStream>),
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
                let _ = socket2::SockRef::from(&**stream).shutdown(std::net::Shutdown::Both);
            }
            Self::Bridge(sink) => sink.destroy(),
        }
    }
}

/// Which way packets take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// Not connected yet: held.
    Held,
    /// Through socketioxide's queue, for long-polling.
    Queue,
    /// Upgraded: held until the queue has drained.
    Draining,
    /// Straight to the WebSocket.
    Direct,
}

#[derive(Debug)]
struct Outbox {
    route: Route,
    held: Vec<Packet>,
    carrier: Option<Carrier>,
    /// Bytes the kernel has not taken yet; of the first buffer, what is left of it.
    pending: VecDeque<Bytes>,
    pending_bytes: usize,
    /// Bytes in socketioxide's queue.
    queued_bytes: usize,
    flushing: bool,
    /// The client is on WebSocket, or has completed its upgrade.
    on_websocket: bool,
    /// Which socket on this transport packets are for; those for an earlier one are dropped.
    generation: u64,
    connect_passed: bool,
    /// Disconnected by the server while packets were held; whether with the transport.
    farewell: Option<bool>,
    closing: bool,
    closed: bool,
}

/// The outgoing half of one client.
#[derive(Debug)]
pub struct Connection {
    outbox: Mutex<Outbox>,
    queue: PollQueue,
    eio3: bool,
    limit: usize,
    runtime: tokio::runtime::Handle,
    round_trip_us: AtomicU32,
    /// Set when the connection is closed for a fault of the client's: its reason.
    overflowed: AtomicBool,
}

impl Connection {
    /// A connection that holds its packets. `limit`: bytes that may wait for it.
    pub(super) fn new(queue: PollQueue, eio3: bool, limit: usize, runtime: tokio::runtime::Handle) -> Self {
        Self {
            outbox: Mutex::new(Outbox {
                route: Route::Held,
                held: Vec::new(),
                carrier: None,
                pending: VecDeque::new(),
                pending_bytes: 0,
                queued_bytes: 0,
                flushing: false,
                on_websocket: false,
                generation: 0,
                connect_passed: false,
                farewell: None,
                closing: false,
                closed: false,
            }),
            queue,
            eio3,
            limit,
            runtime,
            round_trip_us: AtomicU32::new(0),
            overflowed: AtomicBool::new(false),
        }
    }

    /// Gives the connection the stream that it writes to: at a WebSocket handshake, or when an upgrade begins.
    pub(super) fn carry(&self, carrier: Carrier, on_websocket: bool) {
        let mut outbox = self.outbox.lock();
        outbox.carrier = Some(carrier);
        outbox.on_websocket = on_websocket;
        if outbox.closed {
            outbox.kill();
        }
    }

    /// Keeps bytes for the next write.
    pub(super) fn stage_raw(&self, bytes: Bytes) {
        self.outbox.lock().stage(bytes);
    }

    /// Closes the stream of an upgrade that failed; the client goes on polling.
    pub(super) fn drop_carrier(&self) {
        self.outbox.lock().drop_carrier();
    }

    /// Holds packets again until the next CONNECT answer has passed.
    pub(super) fn hold(&self) {
        let mut outbox = self.outbox.lock();
        outbox.route = Route::Held;
        outbox.connect_passed = false;
        outbox.generation += 1;
    }

    /// The client has upgraded to WebSocket: what comes now follows what the queue still holds.
    pub(super) fn upgraded(&self) {
        let mut outbox = self.outbox.lock();
        outbox.on_websocket = true;
        if outbox.route == Route::Queue {
            outbox.route = Route::Draining;
            self.queue.push_marker();
        }
    }

    /// The CONNECT answer is in the queue; a polling client's packets may follow it.
    pub(super) fn connected(self: &Arc<Self>, polling: bool) {
        let mut outbox = self.outbox.lock();
        if outbox.route != Route::Held {
            return;
        }
        if polling && !outbox.on_websocket {
            outbox.route = Route::Queue;
            outbox.queued_bytes = 0;
            for packet in std::mem::take(&mut outbox.held) {
                self.enqueue(&mut outbox, &packet);
            }
            if let Some(transport) = outbox.farewell.take() {
                drop(outbox);
                self.say_goodbye(transport);
            }
        } else if outbox.connect_passed {
            self.go_direct(outbox);
        }
    }

    /// The CONNECT answer has left.
    pub(super) fn connect_passed(self: &Arc<Self>, over_websocket: bool) {
        let mut outbox = self.outbox.lock();
        outbox.connect_passed = true;
        if over_websocket && outbox.route == Route::Held {
            self.go_direct(outbox);
        }
    }

    /// The marker came out of the queue: nothing older is left there.
    pub(super) fn drained(self: &Arc<Self>) {
        let outbox = self.outbox.lock();
        if outbox.route == Route::Draining {
            self.go_direct(outbox);
        }
    }

    fn go_direct(self: &Arc<Self>, mut outbox: MutexGuard<'_, Outbox>) {
        outbox.route = Route::Direct;
        outbox.queued_bytes = 0;
        for packet in std::mem::take(&mut outbox.held) {
            let frames = self.frames(&packet);
            outbox.stage(frames);
        }
        self.write(&mut outbox);
        if let Some(transport) = outbox.farewell.take() {
            drop(outbox);
            self.say_goodbye(transport);
        }
    }

    /// Bytes that still wait for the client.
    pub(super) fn waiting(&self) -> usize {
        let outbox = self.outbox.lock();
        outbox.pending_bytes + outbox.queued_bytes
    }

    fn say_goodbye(self: &Arc<Self>, transport: bool) {
        let mut outbox = self.outbox.lock();
        match outbox.route {
            Route::Held | Route::Draining => outbox.farewell = Some(transport),
            Route::Direct if transport => {
                outbox.stage(text_frame("41"));
                drop(outbox);
                self.end();
            }
            Route::Direct | Route::Queue => {
                drop(outbox);
                self.queue.disconnect(transport);
            }
        }
    }

    /// Writes bytes of socketioxide's, or of ours, that are not packets: handshake, heartbeat, close.
    pub(super) fn write_raw(self: &Arc<Self>, bytes: Bytes) {
        let mut outbox = self.outbox.lock();
        if !outbox.closing {
            outbox.stage(bytes);
            self.write(&mut outbox);
        }
    }

    /// Bytes left the polling queue with a response.
    pub(super) fn polled(&self, bytes: usize) {
        let mut outbox = self.outbox.lock();
        outbox.queued_bytes = outbox.queued_bytes.saturating_sub(bytes);
    }

    /// JavaScript has written bytes of a bridged stream.
    pub fn written(self: &Arc<Self>, bytes: usize) {
        let mut outbox = self.outbox.lock();
        outbox.pending_bytes = outbox.pending_bytes.saturating_sub(bytes);
    }

    /// A heartbeat took this long.
    pub(super) fn heartbeat(&self, elapsed: Duration) {
        let micros = u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX).max(1);
        self.round_trip_us.store(micros, Ordering::Relaxed);
    }

    /// Whether the client was dropped because it read too slowly.
    pub(super) fn has_overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Acquire)
    }

    /// Whether the server is closing the connection: what still comes from the client is ignored.
    pub(super) fn is_closing(&self) -> bool {
        self.outbox.lock().closing
    }

    /// Says goodbye over WebSocket: delivers what is queued, ends our side, and closes for good after a while.
    pub(super) fn end(self: &Arc<Self>) {
        let mut outbox = self.outbox.lock();
        if outbox.closing || outbox.carrier.is_none() {
            return;
        }
        outbox.stage(Bytes::from_static(&CLOSE_FRAME));
        outbox.closing = true;
        self.write(&mut outbox);
        let connection = self.clone();
        drop(outbox);
        self.runtime.spawn(async move {
            let mut left = usize::MAX;
            // As long as the client reads, it gets what is queued; shutdown has a deadline of its own.
            loop {
                tokio::time::sleep(LINGER).await;
                let waiting = connection.waiting();
                if waiting == 0 || waiting >= left {
                    return connection.kill();
                }
                left = waiting;
            }
        });
    }

    /// Closes the stream at once.
    pub(super) fn kill(&self) {
        let mut outbox = self.outbox.lock();
        outbox.kill();
    }

    /// The stream's reader is gone: lets what is pending leave, then closes.
    pub(super) fn reader_gone(self: &Arc<Self>) {
        let mut outbox = self.outbox.lock();
        if outbox.pending.is_empty() || outbox.closed {
            outbox.kill();
        } else {
            drop(outbox);
            self.end();
        }
    }

    fn enqueue(self: &Arc<Self>, outbox: &mut Outbox, packet: &Packet) {
        outbox.queued_bytes += packet.polling_len();
        // A refused packet belongs to a session that has ended.
        if outbox.queued_bytes > self.limit {
            self.overflow(outbox);
        } else {
            self.queue.push(packet);
        }
    }

    fn overflow(self: &Arc<Self>, outbox: &mut Outbox) {
        self.overflowed.store(true, Ordering::Release);
        let waiting = outbox.pending_bytes + outbox.queued_bytes;
        self.queue.warn(format!(
            "a client reads too slowly: closed with {waiting} bytes waiting"
        ));
        outbox.kill();
        self.queue.close();
    }

    fn frames(&self, packet: &Packet) -> Bytes {
        if self.eio3 {
            packet.frames_v3()
        } else {
            packet.frames_v4()
        }
    }

    /// Writes what the kernel takes and leaves the rest to a task that waits for the client.
    fn write(self: &Arc<Self>, outbox: &mut Outbox) {
        if outbox.flushing {
            return self.check_limit(outbox);
        }
        match outbox.write_pending() {
            Ok(()) => {
                if outbox.closing {
                    outbox.finish();
                }
                // Of a bridged stream, bytes are pending until JavaScript has written them.
                self.check_limit(outbox);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.check_limit(outbox);
                #[cfg(unix)]
                if let Some(Carrier::Tcp(stream)) = &outbox.carrier {
                    outbox.flushing = true;
                    self.runtime.spawn(self.clone().flush_when_writable(stream.clone()));
                }
            }
            Err(_) => outbox.fail(),
        }
    }

    fn check_limit(self: &Arc<Self>, outbox: &mut Outbox) {
        if outbox.pending_bytes > self.limit {
            self.overflow(outbox);
        }
    }

    #[cfg(unix)]
    async fn flush_when_writable(self: Arc<Self>, stream: Arc<tokio::net::TcpStream>) {
        while stream.writable().await.is_ok() {
            let mut outbox = self.outbox.lock();
            let written = stream.try_io(tokio::io::Interest::WRITABLE, || outbox.write_pending());
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !outbox.closed => continue,
                Ok(()) if outbox.closing => outbox.finish(),
                Ok(()) => {}
                Err(_) => outbox.fail(),
            }
            outbox.flushing = false;
            return;
        }
        let mut outbox = self.outbox.lock();
        outbox.flushing = false;
        outbox.fail();
    }
}

impl Outbox {
    fn stage(&mut self, bytes: Bytes) {
        if !self.closed && !self.closing {
            self.pending_bytes += bytes.len();
            self.pending.push_back(bytes);
        }
    }

    fn write_pending(&mut self) -> io::Result<()> {
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
        self.pending_bytes = self.pending_bytes.saturating_sub(written);
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
    fn finish(&mut self) {
        match &self.carrier {
            #[cfg(unix)]
            Some(Carrier::Tcp(stream)) => {
                let _ = socket2::SockRef::from(&**stream).shutdown(std::net::Shutdown::Write);
            }
            Some(Carrier::Bridge(sink)) => sink.end(),
            None => {}
        }
    }

    /// The carrier broke: with it the connection, unless the client is polling and only tried to upgrade.
    fn fail(&mut self) {
        if self.on_websocket {
            self.kill();
        } else {
            self.drop_carrier();
        }
    }

    fn drop_carrier(&mut self) {
        self.pending = VecDeque::new();
        self.pending_bytes = 0;
        if let Some(carrier) = self.carrier.take() {
            carrier.close();
        }
    }

    fn kill(&mut self) {
        self.closing = true;
        self.closed = true;
        self.drop_carrier();
    }
}

#[cfg(unix)]
fn write_vectored(stream: &tokio::net::TcpStream, pending: &VecDeque<Bytes>) -> io::Result<usize> {
    let socket = socket2::SockRef::from(stream);
    // The descriptor is non-blocking, and Rust programs ignore SIGPIPE, but Node.js decides here.
    match pending.front() {
        Some(only) if pending.len() == 1 => socket.send_with_flags(only, libc::MSG_NOSIGNAL),
        _ => {
            let buffers: smallvec::SmallVec<[io::IoSlice<'_>; BUFFERS_PER_WRITE]> = pending
                .iter()
                .take(BUFFERS_PER_WRITE)
                .map(|bytes| io::IoSlice::new(bytes))
                .collect();
            socket.send_vectored_with_flags(&buffers, libc::MSG_NOSIGNAL)
        }
    }
}

/// [`Connection`] as the service sees it.
#[derive(Debug)]
pub(super) struct ClientLink {
    connection: Arc<Connection>,
    generation: u64,
}

impl ClientLink {
    /// The way to the socket that is on the connection now.
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        let generation = connection.outbox.lock().generation;
        Self { connection, generation }
    }
}

impl Link for ClientLink {
    fn send(&self, packet: &Packet, now: bool) -> bool {
        let mut outbox = self.connection.outbox.lock();
        if outbox.closing || outbox.generation != self.generation {
            return false;
        }
        match outbox.route {
            Route::Direct => {
                let first = outbox.pending.is_empty();
                let frames = self.connection.frames(packet);
                outbox.stage(frames);
                if now {
                    self.connection.write(&mut outbox);
                    return false;
                }
                first
            }
            Route::Queue => {
                self.connection.enqueue(&mut outbox, packet);
                false
            }
            Route::Held | Route::Draining => {
                outbox.held.push(packet.clone());
                outbox.queued_bytes += packet.polling_len();
                if outbox.queued_bytes > self.connection.limit {
                    self.connection.overflow(&mut outbox);
                }
                false
            }
        }
    }

    fn flush(&self) {
        let mut outbox = self.connection.outbox.lock();
        if outbox.route == Route::Direct && !outbox.pending.is_empty() {
            self.connection.write(&mut outbox);
        }
    }

    fn is_busy(&self) -> bool {
        let outbox = self.connection.outbox.lock();
        outbox.pending_bytes > 0 || outbox.queued_bytes > 0
    }

    fn close(&self, transport: bool) {
        if self.connection.outbox.lock().generation == self.generation {
            self.connection.say_goodbye(transport);
        }
    }

    fn round_trip_us(&self) -> Option<u32> {
        #[cfg(unix)]
        if let Some(Carrier::Tcp(stream)) = &self.connection.outbox.lock().carrier {
            return super::handover::round_trip_us(stream);
        }
        Some(self.connection.round_trip_us.load(Ordering::Relaxed)).filter(|micros| *micros > 0)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.outbox.get_mut().kill();
    }
}

/// Identity of a session in socketioxide, told to no one but its own client's transport.
pub(super) type SessionId = Sid;

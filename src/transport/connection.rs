//! The outgoing half of one client: its outbox, and the ways a packet may take.
//!
//! A packet goes straight to the connection when the client is on WebSocket, through socketioxide's queue when it
//! polls. Where one way follows the other, packets are held until the earlier ones have demonstrably left: first
//! until the CONNECT answer has passed, and after an upgrade until a marker has come through the queue.

use std::{
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use socketioxide::socket::Sid;

#[cfg(unix)]
use super::handover::Descriptor;
use super::{
    engine::{DRAINED, LAST, PollQueue},
    outbox::{Carrier, Outbox, Route},
    session::FAREWELL,
};
use crate::{
    backpressure::{Account, Congestion},
    link::{Ending, Link},
    wire::packet::{Packet, text_frame},
};

/// How long a client may take to read what is left and to close its side.
const LINGER: Duration = Duration::from_secs(3);
/// Number of a connection's first socket.
const FIRST: u64 = 0;
/// Bytes that may wait for a client that reads, as a multiple of those for one that does not.
const MOST_FOR_READERS: usize = 4;
/// Looks at a slow client within the time after which it counts as one that does not read.
const LOOKS_PER_STALL: u32 = 8;
/// WebSocket close frame with status 1000.
const CLOSE_FRAME: [u8; 4] = [0x88, 0x02, 0x03, 0xe8];

/// The outgoing half of one client.
#[derive(Debug)]
pub struct Connection {
    outbox: Mutex<Outbox>,
    queue: PollQueue,
    eio3: bool,
    /// What the client has caused, and what holds its reader back.
    account: Arc<Account>,
    limits: Limits,
    runtime: tokio::runtime::Handle,
    /// For the tasks that finish what a call began.
    me: Weak<Self>,
    round_trip_us: AtomicU32,
    /// Set when the connection is closed for a fault of the client's: its reason.
    overflowed: AtomicBool,
}

/// What bounds the queue of a client.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Bytes that may wait for a client that does not read.
    pub(super) queued_bytes: usize,
    /// For how long that may be so.
    pub(super) stall: Duration,
    /// Where slow clients are counted.
    pub(super) congestion: Arc<Congestion>,
}

impl Connection {
    /// A connection that holds its packets.
    pub(super) fn new(
        queue: PollQueue,
        eio3: bool,
        account: Arc<Account>,
        limits: Limits,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            outbox: Mutex::default(),
            queue,
            eio3,
            account,
            limits,
            runtime,
            me: me.clone(),
            round_trip_us: AtomicU32::new(0),
            overflowed: AtomicBool::new(false),
        })
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

    /// What the client has caused.
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
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
            self.queue.push_marker(DRAINED);
        }
    }

    /// The CONNECT answer is in the queue; a polling client's packets may follow it.
    pub(super) fn connected(&self, polling: bool) {
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
            if let Some(ending) = outbox.farewell.take() {
                drop(outbox);
                self.say_goodbye(ending);
            }
        } else if outbox.connect_passed {
            self.go_direct(outbox);
        }
    }

    /// The CONNECT answer has left.
    pub(super) fn connect_passed(&self, over_websocket: bool) {
        let mut outbox = self.outbox.lock();
        outbox.connect_passed = true;
        if over_websocket && outbox.route == Route::Held {
            self.go_direct(outbox);
        }
    }

    /// The marker came out of the queue: nothing older is left there.
    pub(super) fn drained(&self) {
        let outbox = self.outbox.lock();
        if outbox.route == Route::Draining {
            self.go_direct(outbox);
        }
    }

    fn go_direct(&self, mut outbox: MutexGuard<'_, Outbox>) {
        outbox.route = Route::Direct;
        outbox.queued_bytes = 0;
        for packet in std::mem::take(&mut outbox.held) {
            let frames = self.frames(&packet);
            outbox.stage(frames);
        }
        self.write(&mut outbox);
        if let Some(ending) = outbox.farewell.take() {
            drop(outbox);
            self.say_goodbye(ending);
        }
    }

    fn say_goodbye(&self, ending: Ending) {
        let mut outbox = self.outbox.lock();
        match (outbox.route, ending) {
            (Route::Held | Route::Draining, _) => outbox.farewell = Some(ending),
            (Route::Direct, Ending::Kick | Ending::Close) => {
                if ending == Ending::Kick {
                    outbox.stage(text_frame(FAREWELL));
                }
                drop(outbox);
                self.end();
            }
            (Route::Direct, Ending::Leave) | (Route::Queue, _) => {
                drop(outbox);
                self.queue.end(ending);
            }
        }
    }

    /// A polling client is to get its close with the next response: it would drop what comes with it in one.
    pub(super) fn close_later(&self) {
        self.queue.push_marker(LAST);
    }

    /// Writes bytes of socketioxide's, or of ours, that are not packets: handshake, heartbeat, close.
    pub(super) fn write_raw(&self, bytes: Bytes) {
        let mut outbox = self.outbox.lock();
        if !outbox.closing {
            outbox.stage(bytes);
            self.write(&mut outbox);
        }
    }

    /// The library answers the client, which keeps so many bytes until it is polled.
    pub(super) fn answered(&self, bytes: usize) {
        let mut outbox = self.outbox.lock();
        // Over WebSocket, what it writes is counted.
        if !outbox.on_websocket {
            outbox.queued_bytes += bytes;
            self.check_limit(&mut outbox);
        }
    }

    /// Bytes left the polling queue with a response.
    pub(super) fn polled(&self, bytes: usize) {
        let mut outbox = self.outbox.lock();
        outbox.polled(bytes);
        self.progressed(&outbox);
    }

    /// JavaScript has written bytes of a bridged stream.
    pub fn written(&self, bytes: usize) {
        let mut outbox = self.outbox.lock();
        outbox.written(bytes);
        self.progressed(&outbox);
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

    /// Whether the server ends the connection, now or once what is held has left.
    pub(super) fn is_ending(&self) -> bool {
        let outbox = self.outbox.lock();
        outbox.closing || outbox.farewell.is_some()
    }

    /// Whether the server is closing the connection: what still comes from the client is ignored.
    pub(super) fn is_closing(&self) -> bool {
        self.outbox.lock().closing
    }

    /// Says goodbye over WebSocket: delivers what is queued, ends our side, and closes for good after a while.
    pub(super) fn end(&self) {
        let mut outbox = self.outbox.lock();
        if outbox.closing || outbox.carrier.is_none() {
            return;
        }
        outbox.stage(Bytes::from_static(&CLOSE_FRAME));
        outbox.closing = true;
        self.write(&mut outbox);
        drop(outbox);
        // What still comes from the client is read, to see it go.
        self.account.wake();
        let Some(connection) = self.me.upgrade() else { return };
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
        self.ended(&outbox);
    }

    /// The outbox may have been closed: whoever waits for the client, or reads from it, sees that.
    fn ended(&self, outbox: &Outbox) {
        if outbox.closed {
            self.account.wake();
            self.progressed(outbox);
        }
    }

    /// The stream's reader is gone: lets what is pending leave, then closes.
    pub(super) fn reader_gone(&self) {
        let mut outbox = self.outbox.lock();
        if outbox.pending.is_empty() || outbox.closed {
            outbox.kill();
        } else {
            drop(outbox);
            self.end();
        }
    }

    fn enqueue(&self, outbox: &mut Outbox, packet: &Packet) {
        outbox.queued_bytes += packet.polling_len();
        self.check_limit(outbox);
        if !outbox.closed {
            // A refused packet belongs to a session that has ended.
            self.queue.push(packet);
        }
    }

    fn overflow(&self, outbox: &mut Outbox) {
        self.overflowed.store(true, Ordering::Release);
        let waiting = outbox.waiting();
        self.queue.warn(format!(
            "a client reads too slowly: closed with {waiting} bytes waiting"
        ));
        outbox.kill();
        self.ended(outbox);
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
    fn write(&self, outbox: &mut Outbox) {
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
                if let (Some(Carrier::Tcp(stream)), Some(connection)) = (&outbox.carrier, self.me.upgrade()) {
                    let stream = stream.clone();
                    outbox.flushing = true;
                    self.runtime.spawn(connection.flush_when_writable(stream));
                }
            }
            Err(_) => self.fail(outbox),
        }
    }

    fn fail(&self, outbox: &mut Outbox) {
        outbox.fail();
        self.ended(outbox);
    }

    /// Closes a client for which far too much waits, and watches one for which much does.
    fn check_limit(&self, outbox: &mut Outbox) {
        let waiting = outbox.waiting();
        if waiting > self.limits.queued_bytes.saturating_mul(MOST_FOR_READERS) {
            self.overflow(outbox);
        } else if waiting >= self.limits.congestion.quarter().max(1) && !outbox.is_slow {
            outbox.is_slow = true;
            self.limits.congestion.enter();
            self.runtime.spawn(watch(self.me.clone(), self.limits.stall));
        }
    }

    /// Bytes have left, or do not wait any more.
    fn progressed(&self, outbox: &Outbox) {
        if outbox.is_slow {
            self.limits.congestion.progressed(outbox.awaited());
        }
    }

    /// Looks at a slow client. False when there is nothing to watch any more.
    fn look(&self, seen: &mut Seen) -> bool {
        let mut outbox = self.outbox.lock();
        let waiting = outbox.waiting();
        if waiting < self.limits.congestion.quarter().max(1) {
            outbox.is_slow = false;
            outbox.is_stalled = false;
            self.limits.congestion.leave();
            return false;
        }
        if seen.left != Some(outbox.left) {
            *seen = Seen {
                left: Some(outbox.left),
                since: Instant::now(),
            };
        } else if seen.since.elapsed() >= self.limits.stall {
            if waiting > self.limits.queued_bytes {
                self.overflow(&mut outbox);
            } else if !std::mem::replace(&mut outbox.is_stalled, true) {
                self.progressed(&outbox);
            }
        }
        true
    }

    #[cfg(unix)]
    async fn flush_when_writable(self: Arc<Self>, stream: Descriptor) {
        while stream.writable().await.is_ok() {
            let mut outbox = self.outbox.lock();
            let written = stream.try_io(tokio::io::Interest::WRITABLE, || outbox.write_pending());
            self.progressed(&outbox);
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !outbox.closed => continue,
                Ok(()) if outbox.closing => outbox.finish(),
                Ok(()) => {}
                Err(_) => self.fail(&mut outbox),
            }
            outbox.flushing = false;
            return;
        }
        let mut outbox = self.outbox.lock();
        outbox.flushing = false;
        self.fail(&mut outbox);
    }
}

/// What was seen of a slow client: how much had left, and since when that has been so.
#[derive(Debug)]
struct Seen {
    left: Option<usize>,
    since: Instant,
}

/// Watches a slow client until it is fast again: one that does not read is closed.
async fn watch(connection: Weak<Connection>, stall: Duration) {
    let mut seen = Seen {
        left: None,
        since: Instant::now(),
    };
    let step = (stall / LOOKS_PER_STALL).max(Duration::from_millis(1));
    while connection
        .upgrade()
        .is_some_and(|connection| connection.look(&mut seen))
    {
        tokio::time::sleep(step).await;
    }
}

impl Connection {
    /// The way to the socket that is on the connection now.
    pub(super) fn link(self: &Arc<Self>) -> Arc<dyn Link> {
        let generation = self.outbox.lock().generation;
        if generation == FIRST {
            self.clone()
        } else {
            let connection = self.clone();
            Arc::new(LaterSocket { connection, generation })
        }
    }

    fn send_to(&self, generation: u64, packet: &Packet, now: bool) -> bool {
        let mut outbox = self.outbox.lock();
        if outbox.closing || outbox.generation != generation {
            return false;
        }
        match outbox.route {
            Route::Direct if now => {
                if !outbox.send_now(&self.frames(packet)) {
                    self.write(&mut outbox);
                }
                false
            }
            Route::Direct => {
                let first = outbox.pending.is_empty();
                outbox.stage(self.frames(packet));
                first
            }
            Route::Queue => {
                self.enqueue(&mut outbox, packet);
                false
            }
            Route::Held | Route::Draining => {
                outbox.held.push(packet.clone());
                outbox.queued_bytes += packet.polling_len();
                self.check_limit(&mut outbox);
                false
            }
        }
    }

    fn close_socket(&self, generation: u64, ending: Ending) {
        if self.outbox.lock().generation == generation {
            self.say_goodbye(ending);
        }
    }
}

/// The first socket of a connection, nearly always the only one, is reached without a detour.
impl Link for Connection {
    fn send(&self, packet: &Packet, now: bool) -> bool {
        self.send_to(FIRST, packet, now)
    }

    fn flush(&self) {
        let mut outbox = self.outbox.lock();
        if outbox.route == Route::Direct && !outbox.pending.is_empty() {
            self.write(&mut outbox);
        }
    }

    fn waiting(&self) -> usize {
        self.outbox.lock().waiting()
    }

    fn awaited(&self) -> usize {
        self.outbox.lock().awaited()
    }

    fn close(&self, ending: Ending) {
        self.close_socket(FIRST, ending);
    }

    fn round_trip_us(&self) -> Option<u32> {
        #[cfg(unix)]
        if let Some(Carrier::Tcp(stream)) = &self.outbox.lock().carrier {
            return super::handover::round_trip_us(stream);
        }
        Some(self.round_trip_us.load(Ordering::Relaxed)).filter(|micros| *micros > 0)
    }
}

/// A socket that came back on a connection after an earlier one had left.
#[derive(Debug)]
struct LaterSocket {
    connection: Arc<Connection>,
    generation: u64,
}

impl Link for LaterSocket {
    fn send(&self, packet: &Packet, now: bool) -> bool {
        self.connection.send_to(self.generation, packet, now)
    }

    fn flush(&self) {
        self.connection.flush();
    }

    fn waiting(&self) -> usize {
        self.connection.waiting()
    }

    fn awaited(&self) -> usize {
        self.connection.awaited()
    }

    fn close(&self, ending: Ending) {
        self.connection.close_socket(self.generation, ending);
    }

    fn round_trip_us(&self) -> Option<u32> {
        self.connection.round_trip_us()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let outbox = self.outbox.get_mut();
        outbox.kill();
        if outbox.is_slow {
            self.limits.congestion.leave();
        }
    }
}

/// Identity of a session in socketioxide, told to no one but its own client's transport.
pub(super) type SessionId = Sid;

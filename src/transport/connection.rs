//! The outgoing half of one client: its outbox, and the way that a packet takes.
//!
//! A packet goes straight to the connection when the client is on WebSocket, through socketioxide's queue when it
//! polls. Where one way follows the other, packets are held until the earlier ones have demonstrably left: first
//! until the CONNECT answer has passed, and after an upgrade until a marker has come through the queue.
//!
//! | part | owns |
//! |---|---|
//! | `connection` | packets on their way, and the write |
//! | `ending` | goodbye: what still leaves, and what closes when |
//! | `slow` | clients that read slowly, and what may wait for them |
//! | `way` | the [`Link`](crate::link::Link) of each socket that is on the connection |

mod ending;
mod slow;
mod way;

use std::{
    io,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

#[cfg(unix)]
use super::handover::Descriptor;
use super::{
    carrier::Carrier,
    marker::Marker,
    outbox::Outbox,
    phase::{Phase, PhaseCell, Route},
    poll_queue::PollQueue,
    sessions::Seat,
};
use crate::{
    backpressure::{Account, Congestion},
    disconnect::DisconnectReason,
    ports::EventSink,
    wire::packet::{Packet, text_frame},
};

/// The outgoing half of one client.
///
/// In this order: a delivery reads the phase beside the lock that it takes, and needs no cache line more for it.
#[derive(Debug)]
#[repr(C)]
pub struct Connection {
    phase: PhaseCell,
    round_trip_us: AtomicU32,
    outbox: Mutex<Outbox>,
    queue: PollQueue,
    limits: Limits,
    /// What the client has caused, and what holds its reader back.
    account: Arc<Account>,
    runtime: tokio::runtime::Handle,
    /// For the tasks that finish what a call began.
    me: Weak<Self>,
    seat: Seat,
    /// Why the server ends it, if it does.
    reason: OnceLock<DisconnectReason>,
    /// Tells whoever waits for a phase that it has come: a probe, or the end.
    changed: Notify,
}

/// What bounds the queue of a client.
pub(super) struct Limits {
    /// Bytes that may wait for a client that does not read.
    pub(super) queued_bytes: usize,
    /// For how long that may be so.
    pub(super) stall: Duration,
    /// Where slow clients are counted.
    pub(super) congestion: Arc<Congestion>,
    /// Where it is told that one was closed.
    pub(super) sink: Weak<dyn EventSink>,
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut limits = formatter.debug_struct("Limits");
        limits.field("queued_bytes", &self.queued_bytes).finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection that holds its packets.
    pub(super) fn new(
        phase: Phase,
        queue: PollQueue,
        account: Arc<Account>,
        limits: Limits,
        runtime: tokio::runtime::Handle,
        seat: Seat,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            phase: PhaseCell::new(phase),
            round_trip_us: AtomicU32::new(0),
            outbox: Mutex::default(),
            queue,
            limits,
            account,
            runtime,
            me: me.clone(),
            seat,
            reason: OnceLock::new(),
            changed: Notify::new(),
        })
    }

    /// Where the client stands with its transport.
    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// The queue that socketioxide keeps.
    pub(super) fn queue(&self) -> &PollQueue {
        &self.queue
    }

    /// The session's place among those that live.
    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// What the client has caused.
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Gives the connection the stream that it writes to: at a WebSocket handshake, or when an upgrade begins.
    pub(super) fn carry(&self, carrier: Carrier) {
        let mut outbox = self.outbox.lock();
        outbox.carrier = Some(carrier);
        if self.phase().is_closed() {
            outbox.clear();
        }
    }

    /// Keeps bytes for the next write.
    pub(super) fn stage_raw(&self, bytes: Bytes) {
        let mut outbox = self.outbox.lock();
        if !self.phase().is_closing() {
            outbox.stage(bytes);
        }
    }

    /// Holds packets again until the next CONNECT answer has passed.
    pub(super) fn hold(&self) {
        let mut outbox = self.outbox.lock();
        self.phase.step(Phase::hold);
        outbox.generation += 1;
    }

    /// A polling client opens a stream to move to. False when it may not: one at a time, and there is no way back.
    pub(super) fn begin_upgrade(&self) -> bool {
        self.phase.step(Phase::begin_upgrade).is_some()
    }

    /// The client's probe has come; whoever waits for its poll to end is told. False when none was expected.
    pub(super) fn probe(&self) -> bool {
        // First: a session that closes meanwhile then knows that its client waits.
        let was_expected = self.phase.step(Phase::probe).is_some();
        if was_expected {
            self.write_raw(text_frame("3probe"));
            self.changed.notify_waiters();
        }
        was_expected
    }

    /// The client has upgraded to WebSocket: what comes now follows what the queue still holds. False when it had no
    /// probe answered.
    pub(super) fn upgrade(&self) -> bool {
        let _outbox = self.outbox.lock();
        let Some(before) = self.phase.step(Phase::upgrade) else {
            return false;
        };
        if before.route() == Route::Queue {
            self.queue.push_marker(Marker::Drained);
        }
        true
    }

    /// Closes the stream of an upgrade that failed; the client goes on polling.
    pub(super) fn fail_upgrade(&self) {
        self.outbox.lock().drop_carrier();
        self.phase.step(Phase::fail_upgrade);
    }

    /// The CONNECT answer is in the queue; a polling client's packets may follow it.
    pub(super) fn connected(&self) {
        self.follow(Phase::register);
    }

    /// The CONNECT answer has left.
    pub(super) fn connect_passed(&self, over_websocket: bool) {
        self.follow(|phase| phase.pass_answer(over_websocket));
    }

    /// The marker came out of the queue: nothing older is left there.
    pub(super) fn drained(&self) {
        self.follow(Phase::drain);
    }

    /// Takes a step; where packets may then leave that were held, they do, and a goodbye after them.
    fn follow(&self, step: impl Fn(Phase) -> Option<Phase>) {
        let outbox = self.outbox.lock();
        if self.phase.step(step).is_some() {
            match self.phase().route() {
                Route::Held => {}
                route => self.let_go(outbox, route),
            }
        }
    }

    fn let_go(&self, mut outbox: MutexGuard<'_, Outbox>, route: Route) {
        outbox.queued_bytes = 0;
        let held = std::mem::take(&mut outbox.held);
        if self.phase().is_closing() {
            return;
        }
        for packet in held {
            match route {
                Route::Direct => {
                    let frames = self.frames(&packet);
                    outbox.stage(frames);
                }
                Route::Queue | Route::Held => self.enqueue(&mut outbox, &packet),
            }
        }
        if route == Route::Direct {
            self.write(&mut outbox);
        }
        if let Some(ending) = self.phase.step(Phase::release).and_then(Phase::asked) {
            drop(outbox);
            self.say_goodbye(ending);
        }
    }

    /// Writes bytes of socketioxide's, or of ours, that are not packets: handshake, heartbeat, close.
    pub(super) fn write_raw(&self, bytes: Bytes) {
        let mut outbox = self.outbox.lock();
        if !self.phase().is_closing() {
            outbox.stage(bytes);
            self.write(&mut outbox);
        }
    }

    /// The library answers the client, which keeps so many bytes until it is polled.
    pub(super) fn answered(&self, bytes: usize) {
        let mut outbox = self.outbox.lock();
        let phase = self.phase();
        // Over WebSocket, what it writes is counted.
        if !phase.is_on_websocket() && !phase.is_closing() {
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

    /// Resolves when a poll is to end that waits.
    pub(super) async fn polls_end(&self) {
        self.reached(Phase::ends_polls).await;
    }

    /// Resolves when the session has ended.
    pub(super) async fn over(&self) {
        self.reached(Phase::is_over).await;
    }

    async fn reached(&self, is_reached: impl Fn(Phase) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_reached(self.phase()) {
                return;
            }
            changed.await;
        }
    }

    fn enqueue(&self, outbox: &mut Outbox, packet: &Packet) {
        if self.phase().is_closed() {
            return;
        }
        outbox.queued_bytes += packet.polling_len();
        self.check_limit(outbox);
        if !self.phase().is_closed() {
            self.queue.push(packet);
        }
    }

    fn frames(&self, packet: &Packet) -> Bytes {
        if self.queue.is_eio3() {
            packet.frames_v3()
        } else {
            packet.frames_v4()
        }
    }

    /// Writes what the kernel takes and leaves the rest to a task that waits for the client.
    fn write(&self, outbox: &mut Outbox) {
        if outbox.is_flushing {
            return self.check_limit(outbox);
        }
        match outbox.write_pending() {
            Ok(()) => {
                if self.phase().is_closing() {
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
                    outbox.is_flushing = true;
                    self.runtime.spawn(connection.flush_when_writable(stream));
                }
            }
            Err(_) => self.fail(outbox),
        }
    }

    #[cfg(unix)]
    async fn flush_when_writable(self: Arc<Self>, stream: Descriptor) {
        while stream.writable().await.is_ok() {
            let mut outbox = self.outbox.lock();
            let written = stream.try_io(tokio::io::Interest::WRITABLE, || outbox.write_pending());
            self.progressed(&outbox);
            let phase = self.phase();
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !phase.is_closed() => continue,
                Ok(()) if phase.is_closing() => outbox.finish(),
                Ok(()) => {}
                Err(_) => self.fail(&mut outbox),
            }
            outbox.is_flushing = false;
            return;
        }
        let mut outbox = self.outbox.lock();
        outbox.is_flushing = false;
        self.fail(&mut outbox);
    }
}

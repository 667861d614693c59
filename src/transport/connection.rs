//! The outgoing half of one client: its outbox, and the way that a packet takes.
//!
//! A packet goes straight to the connection when the client is on WebSocket, and waits for its next poll when it polls.
//! Before either, packets are held until the CONNECT answer is on its way. At an upgrade, what waits for a poll is written
//! first.
//!
//! | part | owns |
//! |---|---|
//! | `connection` | packets on their way, and the write |
//! | `ending` | goodbye: what still leaves, and what closes when |
//! | `slow` | clients that read slowly, and what may wait for them |
//! | `way` | the [`Link`](crate::link::Link) of each socket that is on the connection |

mod ending;
#[cfg(test)]
#[cfg(feature = "shuttle")]
mod interleavings;
mod slow;
mod way;

use std::{
    io,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::Notify;

pub(super) use self::ending::{CLOSE_FRAME, LINGER};
use super::{
    carrier::Carrier,
    common::{Common, Seat},
    engine::Engine,
    outbox::Outbox,
    phase::{Phase, PhaseCell, Route},
    poll_queue::{PollQueue, Waiting},
};
use crate::{
    backpressure::Account,
    disconnect::DisconnectReason,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
    wire::{
        packet::{Packet, text_frame},
        payload::FAREWELL,
    },
};

/// The outgoing half of one client.
///
/// In this order: a delivery reads the phase beside the lock that it takes, and needs no cache line more for it.
#[derive(Debug)]
#[repr(C)]
pub struct Connection {
    phase: PhaseCell,
    eio3: bool,
    round_trip_us: AtomicU32,
    outbox: Mutex<Outbox>,
    /// What waits for the next poll of a client that polls or did.
    queue: Option<Box<PollQueue>>,
    /// What the client has caused, and what holds its reader back.
    account: Arc<Account>,
    /// For the tasks that finish what a call began.
    me: Weak<Self>,
    seat: Seat,
    rare: OnceLock<Box<Rare>>,
}

/// What few connections need.
#[derive(Debug, Default)]
struct Rare {
    /// Why the server ends it, if it does.
    reason: OnceLock<DisconnectReason>,
    /// Tells whoever waits for a phase that it has come: a probe, the upgrade, or the end.
    changed: Notify,
}

impl Connection {
    /// A connection of a client on WebSocket, that holds its packets.
    pub(super) fn over_websocket(common: &Arc<Common>, account: Arc<Account>, eio3: bool) -> Arc<Self> {
        Self::new(common, account, eio3, None)
    }

    /// A connection of a client that polls, that holds its packets.
    pub(super) fn over_polling(
        common: &Arc<Common>,
        account: Arc<Account>,
        eio3: bool,
        engine: &Arc<Engine>,
    ) -> Arc<Self> {
        Self::new(common, account, eio3, Some(Box::new(PollQueue::new(engine, eio3))))
    }

    fn new(common: &Arc<Common>, account: Arc<Account>, eio3: bool, queue: Option<Box<PollQueue>>) -> Arc<Self> {
        let seat = Seat::take(common);
        seat.pass_through_node(queue.is_some());
        Arc::new_cyclic(|me| Self {
            phase: PhaseCell::new(Phase::begin(queue.is_none())),
            eio3,
            round_trip_us: AtomicU32::new(0),
            outbox: Mutex::default(),
            queue,
            account,
            me: me.clone(),
            seat,
            rare: OnceLock::new(),
        })
    }

    /// Where the client stands with its transport.
    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// What waits for the next poll of a client that polls or did.
    pub(super) fn queue(&self) -> Option<&PollQueue> {
        self.queue.as_deref()
    }

    /// Whether the client speaks Engine.IO 3.
    pub(super) fn is_eio3(&self) -> bool {
        self.eio3
    }

    /// Posts packets to the library as if the client had that polls.
    pub(super) async fn post(&self, packets: &str) {
        if let Some(queue) = self.queue() {
            queue.post(packets).await;
        }
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

    /// Writes what is kept.
    pub(super) fn write_staged(&self) {
        let mut outbox = self.outbox.lock();
        if !outbox.pending.is_empty() {
            self.write(&mut outbox);
        }
    }

    /// Holds packets again until the next CONNECT answer has passed.
    pub(super) fn hold(&self) {
        let mut outbox = self.outbox.lock();
        self.phase.step(Phase::hold);
        outbox.generation += 1;
        outbox.awaits_replay = false;
    }

    /// A polling client opens a stream to move to. False when it may not: one at a time, and there is no way back.
    pub(super) fn begin_upgrade(&self) -> bool {
        self.phase.step(Phase::begin_upgrade).is_some()
    }

    /// The client's probe has come; whoever waits for its poll to end is told. False when none was expected.
    pub(super) fn probe(&self) -> bool {
        // First: a session that closes meanwhile then knows that its client waits.
        let is_first = self.phase.step(Phase::probe).is_some();
        if is_first || self.phase().is_probed() {
            self.write_text("3probe");
        }
        if is_first {
            self.has_changed();
        }
        self.phase().is_probed()
    }

    /// The client has upgraded to WebSocket: it gets there what waited for a poll, and what comes from now on. False when it
    /// had no probe answered.
    pub(super) fn upgrade(&self) -> bool {
        let mut outbox = self.outbox.lock();
        if self.phase.step(Phase::upgrade).is_none() {
            return false;
        }
        let is_last = self.write_waiting(&mut outbox);
        drop(outbox);
        self.has_changed();
        if is_last {
            self.farewell_passed();
        }
        true
    }

    /// Writes what waited for a poll. True when the goodbye is among it.
    fn write_waiting(&self, outbox: &mut Outbox) -> bool {
        let mut is_last = false;
        let waiting = self.queue().map(|queue| queue.take_while(|_| true));
        for item in waiting.into_iter().flatten() {
            outbox.polled(item.len());
            match item {
                Waiting::Packet(packet) => {
                    let frames = self.frames(&packet);
                    outbox.stage(frames);
                }
                Waiting::Text(text) => outbox.stage(text_frame(&text)),
                Waiting::Farewell => {
                    is_last = true;
                    outbox.stage(text_frame(FAREWELL));
                }
                Waiting::Close => is_last = true,
            }
        }
        if !outbox.pending.is_empty() {
            self.write(outbox);
        }
        is_last
    }

    /// The client goes on polling. Its stream, the last of which is to be written.
    pub(super) fn fail_upgrade(&self) -> Outbox {
        let stream = self.outbox.lock().take_stream();
        self.phase.step(Phase::fail_upgrade);
        stream
    }

    /// Passes on what socketioxide says to the client, wherever that is now.
    pub(super) fn say(&self, text: String) {
        let mut outbox = self.outbox.lock();
        let phase = self.phase();
        if phase.is_closing() {
            return;
        }
        if phase.is_on_websocket() {
            outbox.stage(text_frame(&text));
            return self.write(&mut outbox);
        }
        if let Some(queue) = self.queue() {
            queue.push(Waiting::Text(text));
            queue.wake();
        }
    }

    /// As [`Self::say`], with the CONNECT answer: packets that were held follow it.
    pub(super) fn say_connected(&self, text: String) {
        let outbox = self.outbox.lock();
        if self.phase().is_on_websocket() {
            let generation = outbox.generation;
            drop(outbox);
            return self.answer_connect(&text, generation);
        }
        if let Some(queue) = self.queue().filter(|_| !self.phase().is_closing()) {
            queue.push(Waiting::Text(text));
            if self.phase.step(Phase::pass_answer).is_some() {
                self.let_go(outbox, Route::Queue);
            }
            queue.wake();
        }
    }

    /// Shows each buffer that waits for the client, as [`Outbox::each_buffer`] does.
    pub(super) fn each_buffer(&self, see: &mut impl FnMut(usize, usize)) -> usize {
        let queued = self.queue().map_or(0, |queue| queue.each_buffer(see));
        self.outbox.lock().each_buffer(see) + queued
    }

    /// Which socket on this transport packets are for.
    pub(super) fn generation(&self) -> u32 {
        self.outbox.lock().generation
    }

    /// Writes the CONNECT answer of a client on WebSocket; what was held follows in the same write. Nothing when there has
    /// been another CONNECT since.
    pub(super) fn answer_connect(&self, text: &str, generation: u32) {
        let mut outbox = self.outbox.lock();
        if self.phase().is_closing() || outbox.generation != generation {
            return;
        }
        outbox.stage(text_frame(text));
        if self.phase.step(Phase::pass_answer).is_some() {
            self.let_go(outbox, Route::Direct);
        } else {
            self.write(&mut outbox);
        }
    }

    fn let_go(&self, mut outbox: MutexGuard<'_, Outbox>, route: Route) {
        let held = std::mem::take(&mut outbox.held);
        let bytes = held.iter().map(Packet::polling_len).sum();
        outbox.queued_bytes = outbox.queued_bytes.saturating_sub(bytes);
        if self.phase().is_closing() {
            return;
        }
        for packet in held {
            match route {
                Route::Direct => {
                    let frames = self.frames(&packet);
                    outbox.stage(frames);
                }
                Route::Queue | Route::Held => drop(self.enqueue(&mut outbox, &packet)),
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

    /// Writes a text frame: heartbeats, refusals.
    pub(super) fn write_text(&self, text: &str) {
        self.write_raw(text_frame(text));
    }

    /// Writes bytes that are no packets: the handshake, heartbeats, what the queue still held.
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

    /// Bytes have left with the answer to a poll.
    pub(super) fn polled(&self, bytes: usize) {
        let mut outbox = self.outbox.lock();
        outbox.polled(bytes);
        self.progressed(&outbox);
    }

    /// JavaScript has written bytes of a bridged stream.
    pub fn written(&self, bytes: usize) {
        let mut outbox = self.outbox.lock();
        outbox.taken_back(bytes);
        self.progressed(&outbox);
        if !outbox.pending.is_empty() {
            self.write(&mut outbox);
        }
    }

    /// A heartbeat took this long.
    pub(super) fn heartbeat(&self, elapsed: Duration) {
        let micros = u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX).max(1);
        self.round_trip_us.store(micros, Ordering::Relaxed);
    }

    /// Resolves when the session has ended.
    pub(super) async fn over(&self) {
        self.until(|| self.phase().is_over()).await;
    }

    /// Waits for something of which [`Self::has_changed`] tells.
    pub(super) async fn until(&self, is_reached: impl Fn() -> bool) {
        let rare = self.rare.get_or_init(Box::default);
        loop {
            let changed = rare.changed.notified();
            // Whoever changes it takes the lock, and looks afterwards whether anybody waits.
            drop(self.outbox.lock());
            if is_reached() {
                return;
            }
            changed.await;
        }
    }

    /// Tells whoever waits that the phase has changed, or something else that is waited for.
    pub(super) fn has_changed(&self) {
        drop(self.outbox.lock());
        if let Some(queue) = self.queue() {
            queue.wake();
        }
        if let Some(rare) = self.rare.get() {
            rare.changed.notify_waiters();
        }
    }

    /// Has a packet wait for the next poll. True when nothing else did: the poll that is open is to be told.
    fn enqueue(&self, outbox: &mut Outbox, packet: &Packet) -> bool {
        let bytes = packet.polling_len();
        self.account.took(bytes);
        outbox.queued_bytes += bytes;
        self.check_limit(outbox);
        let queue = self.queue().filter(|_| !self.phase().is_closed());
        queue.is_some_and(|queue| queue.push(Waiting::Packet(packet.clone())))
    }

    fn frames(&self, packet: &Packet) -> Bytes {
        let frames = if self.eio3 {
            packet.frames_v3()
        } else {
            packet.frames_v4()
        };
        self.account.took(frames.len());
        frames
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
                // Of a bridged stream, JavaScript says when more may come.
                if let (Some(carrier), Some(connection)) = (outbox.carrier.clone(), self.me.upgrade())
                    && carrier.stream().is_some()
                {
                    outbox.is_flushing = true;
                    self.seat
                        .common()
                        .runtime
                        .spawn(connection.flush_when_writable(carrier));
                }
            }
            Err(_) => self.fail(outbox),
        }
    }

    #[cfg(unix)]
    async fn flush_when_writable(self: Arc<Self>, carrier: Carrier) {
        while let Some(stream) = carrier.stream()
            && stream.writable().await.is_ok()
        {
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

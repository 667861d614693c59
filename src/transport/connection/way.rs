//! The way to the socket that is on a connection: nearly always one for the whole life of the connection.

use std::sync::Arc;

use super::Connection;
#[cfg(unix)]
use crate::transport::{carrier::Carrier, handover};
use crate::{
    disconnect::DisconnectReason,
    link::{Ending, Link},
    sync::atomic::Ordering,
    transport::phase::Route,
    wire::{packet::Packet, series::Series},
};

/// Number of a connection's first socket.
const FIRST: u32 = 0;

impl Connection {
    /// The way to the socket that is on the connection now.
    pub(in crate::transport) fn link(self: &Arc<Self>) -> Arc<dyn Link> {
        let generation = self.outbox.lock().generation;
        if generation == FIRST {
            self.clone()
        } else {
            let connection = self.clone();
            Arc::new(LaterSocket { connection, generation })
        }
    }

    fn send_to(&self, generation: u32, packet: &Packet, now: bool) -> bool {
        let mut outbox = self.outbox.lock();
        let phase = self.phase();
        // What carries an offset is among what is brought; anything else was on its way to the connection before, and would
        // overtake that.
        if phase.is_closing() || outbox.generation != generation || outbox.awaits_replay {
            return false;
        }
        match phase.route() {
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
                let is_first = self.enqueue(&mut outbox, packet);
                if is_first && now {
                    self.tell_poll();
                }
                is_first && !now
            }
            Route::Held => {
                outbox.held.push(packet.clone());
                outbox.queued_bytes += packet.polling_len();
                self.check_limit(&mut outbox);
                false
            }
        }
    }

    fn send_series_to(&self, generation: u32, series: &Series) -> bool {
        let mut outbox = self.outbox.lock();
        let phase = self.phase();
        if phase.is_closing() || outbox.generation != generation {
            return false;
        }
        if phase.route() == Route::Direct && !outbox.awaits_replay {
            let is_first = outbox.pending.is_empty();
            let frames = if self.eio3 {
                series.frames_v3()
            } else {
                series.frames_v4()
            };
            self.account.took(frames.len());
            outbox.stage(frames);
            return is_first;
        }
        drop(outbox);
        let mut is_first = false;
        for packet in series.packets() {
            is_first |= self.send_to(generation, packet, false);
        }
        is_first
    }

    fn await_replay_of(&self, generation: u32) {
        let mut outbox = self.outbox.lock();
        outbox.awaits_replay = outbox.generation == generation;
    }

    /// Before the answer to CONNECT has passed, this is held as well.
    fn replay_to(&self, generation: u32, missed: Vec<Packet>) {
        {
            let mut outbox = self.outbox.lock();
            if outbox.generation != generation {
                return;
            }
            outbox.awaits_replay = false;
        }
        for packet in missed {
            self.send_to(generation, &packet, false);
        }
        Link::flush(self);
    }

    /// Tells the poll that is open that something waits for it.
    fn tell_poll(&self) {
        if let Some(queue) = self.queue() {
            queue.wake();
        }
    }

    fn abandon_socket(&self, generation: u32) {
        if self.outbox.lock().generation == generation {
            Self::close(self, DisconnectReason::TransportClose);
        }
    }

    fn close_socket(&self, generation: u32, ending: Ending) {
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

    fn send_series(&self, series: &Series) -> bool {
        self.send_series_to(FIRST, series)
    }

    fn flush(&self) {
        let mut outbox = self.outbox.lock();
        match self.phase().route() {
            Route::Direct if !outbox.pending.is_empty() => self.write(&mut outbox),
            Route::Queue => self.tell_poll(),
            Route::Direct | Route::Held => {}
        }
    }

    fn waiting(&self) -> usize {
        self.outbox.lock().waiting()
    }

    fn awaited(&self) -> usize {
        self.outbox.lock().awaited()
    }

    fn await_replay(&self) {
        self.await_replay_of(FIRST);
    }

    fn replay(&self, missed: Vec<Packet>) {
        self.replay_to(FIRST, missed);
    }

    fn abandon(&self) {
        self.abandon_socket(FIRST);
    }

    fn close(&self, ending: Ending) {
        self.close_socket(FIRST, ending);
    }

    fn round_trip_us(&self) -> Option<u32> {
        #[cfg(unix)]
        if let Some(stream) = self.outbox.lock().carrier.as_ref().and_then(Carrier::stream)
            && let Some(micros) = handover::round_trip_us(stream)
        {
            return Some(micros);
        }
        Some(self.round_trip_us.load(Ordering::Relaxed)).filter(|micros| *micros > 0)
    }
}

/// A socket that came back on a connection after an earlier one had left.
#[derive(Debug)]
struct LaterSocket {
    connection: Arc<Connection>,
    generation: u32,
}

impl Link for LaterSocket {
    fn send(&self, packet: &Packet, now: bool) -> bool {
        self.connection.send_to(self.generation, packet, now)
    }

    fn send_series(&self, series: &Series) -> bool {
        self.connection.send_series_to(self.generation, series)
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

    fn await_replay(&self) {
        self.connection.await_replay_of(self.generation);
    }

    fn replay(&self, missed: Vec<Packet>) {
        self.connection.replay_to(self.generation, missed);
    }

    fn abandon(&self) {
        self.connection.abandon_socket(self.generation);
    }

    fn close(&self, ending: Ending) {
        self.connection.close_socket(self.generation, ending);
    }

    fn round_trip_us(&self) -> Option<u32> {
        self.connection.round_trip_us()
    }
}

//! The way to one client, a port: implemented by network connections and by sockets that live in JavaScript.

use crate::wire::{packet::Packet, series::Series};

/// How the server ends the connection of a socket. What was sent before is delivered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client is told that it is disconnected (DISCONNECT), and does not come back by itself. Its transport stays.
    Leave,
    /// As `Leave`, and the transport is closed.
    Kick,
    /// The transport is closed, and no more: the client comes back by itself.
    Close,
}

impl Ending {
    /// Disconnects the client, its transport as well if so asked.
    pub fn kick(transport: bool) -> Self {
        if transport { Self::Kick } else { Self::Leave }
    }
}

/// The way to one client. Implemented by network connections and by sockets that live in JavaScript.
///
/// Only the fan-out worker that owns the connection calls these, in the order in which packets were handed in.
pub trait Link: Send + Sync + std::fmt::Debug {
    /// Takes a packet: writes it now, or stages it until [`Link::flush`]. True when it is the first one staged.
    fn send(&self, packet: &Packet, now: bool) -> bool;
    /// Stages packets that go to many. True when nothing was staged before.
    fn send_series(&self, series: &Series) -> bool {
        let mut is_first = false;
        for packet in series.packets() {
            is_first |= self.send(packet, false);
        }
        is_first
    }
    /// Writes what is staged; nothing to do where nothing is ever staged.
    fn flush(&self) {}
    /// Bytes that still wait for the client; while there are any, volatile packets are dropped.
    fn waiting(&self) -> usize {
        0
    }
    /// Bytes that senders wait for: those that wait for the client, unless it reads nothing.
    fn awaited(&self) -> usize {
        self.waiting()
    }
    /// Nothing goes to the client until [`Link::replay`], which brings what carries an offset.
    fn await_replay(&self) {}
    /// Brings a client that has come back what it missed, before everything that is sent from now on.
    fn replay(&self, _missed: Vec<Packet>) {}
    /// Ends the connection at once: its client is on another one, which brings what is queued here.
    fn abandon(&self) {}
    /// Delivers what is queued, then ends the connection.
    fn close(&self, _ending: Ending) {}
    /// Round-trip time in microseconds, when known.
    fn round_trip_us(&self) -> Option<u32> {
        None
    }
}

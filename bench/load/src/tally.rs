//! What was sent and what came back: messages by number, deliveries, delays by phase. Pure bookkeeping.

use crate::chat::{MESSAGE_EVENT, Stamp};
use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Instant;

/// The part of a run a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Sent outside what is measured.
    Margin,
    /// Sent while everything is normal.
    Normal,
    /// Sent while the server's JavaScript is blocked.
    Blocked,
}

/// Delays of deliveries in milliseconds.
#[derive(Serialize)]
pub struct Delays {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// Deliveries of the measured messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deliveries {
    /// Arrived, duplicates not counted.
    pub deliveries: u64,
    /// Members of the room at each message, summed up.
    pub expected: u64,
    pub losses: u64,
    pub duplicates: u64,
}

struct Sent {
    phase: Phase,
    members: u32,
    received: u32,
}

pub struct Tally {
    clock: Instant,
    sent: Vec<Sent>,
    unfinished: u32,
    /// Deliveries of any phase.
    arrived: u64,
    normal_us: Histogram<u64>,
    blocked_us: Histogram<u64>,
    /// Beginning of an event that is counted by name.
    counted: Option<Vec<u8>>,
    counted_events: u64,
    closed: u64,
}

impl Tally {
    /// `counted`: name of an event whose arrivals are counted.
    pub fn new(counted: Option<&str>) -> Result<Self> {
        Ok(Self {
            clock: Instant::now(),
            sent: Vec::new(),
            unfinished: 0,
            arrived: 0,
            normal_us: Histogram::new(3)?,
            blocked_us: Histogram::new(3)?,
            counted: counted.map(|name| format!("[\"{name}\"").into_bytes()),
            counted_events: 0,
            closed: 0,
        })
    }

    /// Books a message that is about to be sent to a room of `members`.
    pub fn send(&mut self, phase: Phase, members: u32) -> Result<Stamp> {
        let sequence = u64::try_from(self.sent.len())?;
        self.sent.push(Sent {
            phase,
            members,
            received: 0,
        });
        self.unfinished += 1;
        Ok(Stamp {
            sequence,
            sent_ns: self.now_ns()?,
        })
    }

    /// Books a received event, everything behind `42`; `true` if it was the last delivery of its message.
    pub fn receive(&mut self, event: &[u8]) -> Result<bool> {
        if self.counted.as_ref().is_some_and(|name| event.starts_with(name)) {
            self.counted_events += 1;
        }
        if !event.starts_with(MESSAGE_EVENT) {
            return Ok(false);
        }
        let Some(Stamp { sequence, sent_ns }) = Stamp::find(event) else {
            return Ok(false);
        };
        let delay_us = self.now_ns()?.saturating_sub(sent_ns) / 1_000;
        let Some(message) = self.sent.get_mut(usize::try_from(sequence)?) else {
            return Ok(false);
        };
        message.received += 1;
        self.arrived += 1;
        match message.phase {
            Phase::Margin => {}
            Phase::Normal => self.normal_us.record(delay_us)?,
            Phase::Blocked => self.blocked_us.record(delay_us)?,
        }
        let finished = message.received == message.members;
        if finished {
            self.unfinished -= 1;
        }
        Ok(finished)
    }

    pub fn close(&mut self) {
        self.closed += 1;
    }

    /// Messages that some member has not received.
    pub fn unfinished(&self) -> u32 {
        self.unfinished
    }

    /// Deliveries so far, of messages of any phase.
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    pub fn counted_events(&self) -> u64 {
        self.counted_events
    }

    /// Connections that ended before the run did.
    pub fn closed(&self) -> u64 {
        self.closed
    }

    /// Deliveries of the messages outside the margins.
    pub fn deliveries(&self) -> Deliveries {
        let mut sum = Deliveries::default();
        for message in self.sent.iter().filter(|message| message.phase != Phase::Margin) {
            let arrived = message.received.min(message.members);
            sum.deliveries += u64::from(arrived);
            sum.expected += u64::from(message.members);
            sum.losses += u64::from(message.members - arrived);
            sum.duplicates += u64::from(message.received - arrived);
        }
        sum
    }

    pub fn normal_delays(&self) -> Delays {
        Delays::of(&self.normal_us)
    }

    pub fn blocked_delays(&self) -> Delays {
        Delays::of(&self.blocked_us)
    }

    fn now_ns(&self) -> Result<u64> {
        Ok(u64::try_from(self.clock.elapsed().as_nanos())?)
    }
}

impl Delays {
    fn of(us: &Histogram<u64>) -> Self {
        let ms = |us: u64| us as f64 / 1_000.0;
        Self {
            p50: ms(us.value_at_quantile(0.5)),
            p99: ms(us.value_at_quantile(0.99)),
            max: ms(us.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Packet, message};

    #[test]
    fn losses_and_duplicates_are_counted_per_message() -> Result<()> {
        let mut tally = Tally::new(None)?;
        let lost = message("r", tally.send(Phase::Normal, 2)?);
        let doubled = message("r", tally.send(Phase::Normal, 1)?);
        let ignored = message("r", tally.send(Phase::Margin, 1)?);
        let mut finished = Vec::new();
        for text in [&lost, &doubled, &doubled, &ignored] {
            let Packet::Event(event) = Packet::parse(text.as_bytes()) else {
                panic!("not an event")
            };
            finished.push(tally.receive(event)?);
        }
        assert_eq!(finished, [false, true, false, true]);
        assert_eq!(tally.unfinished(), 1);
        let expected = Deliveries {
            deliveries: 2,
            expected: 3,
            losses: 1,
            duplicates: 1,
        };
        assert_eq!(tally.deliveries(), expected);
        Ok(())
    }
}

//! What was sent and what came back: every delivery by message and by client, the order in each room, delays by phase.
//! Pure bookkeeping.

use crate::{
    chat::{self, MESSAGE_EVENT, Stamp},
    order::{Arrival, Reader},
};
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
    /// Missing at a member, whatever came twice elsewhere.
    pub losses: u64,
    /// Came to a client again, or to one outside the room.
    pub duplicates: u64,
    /// Came to a client after one that the room's first receivers had later. Counted in all phases.
    pub disorders: u64,
}

struct Sent {
    phase: Phase,
    room: usize,
    members: u32,
    /// Members that have it.
    received: u32,
    /// Arrivals beyond those.
    duplicates: u32,
    /// Its place in the order of its room: that of the first arrival, at whichever member.
    position: Option<u64>,
}

/// A client as a receiver.
#[derive(Default)]
struct Listener {
    room: Option<usize>,
    messages: Reader,
    counted: Reader,
}

pub struct Tally {
    clock: Instant,
    sent: Vec<Sent>,
    listeners: Vec<Listener>,
    /// Messages of each room that have arrived somewhere.
    begun: Vec<u64>,
    disorders: u64,
    unfinished: u32,
    /// Deliveries of any phase.
    arrived: u64,
    /// Delays are those of the clients from this one on.
    timed_from: usize,
    normal_us: Histogram<u64>,
    blocked_us: Histogram<u64>,
    /// Beginning of an event that is counted by name, up to its sequence number.
    counted: Option<Vec<u8>>,
    counted_events: Deliveries,
    closed: u64,
}

impl Tally {
    /// `counted`: name of an event whose arrivals are counted; its data begins with `"sequence"`, from 0.
    pub fn new(counted: Option<&str>) -> Result<Self> {
        Ok(Self {
            clock: Instant::now(),
            sent: Vec::new(),
            listeners: Vec::new(),
            begun: Vec::new(),
            disorders: 0,
            unfinished: 0,
            arrived: 0,
            timed_from: 0,
            normal_us: Histogram::new(3)?,
            blocked_us: Histogram::new(3)?,
            counted: counted.map(|name| format!("[\"{name}\",{{\"sequence\":").into_bytes()),
            counted_events: Deliveries::default(),
            closed: 0,
        })
    }

    /// Makes room for the books of `clients`; client `i` listens to room `i mod rooms`.
    pub fn expect(&mut self, clients: usize, rooms: usize) {
        let listener = |index: usize| Listener {
            room: index.checked_rem(rooms),
            ..Listener::default()
        };
        self.listeners = (0..clients).map(listener).collect();
        self.begun = vec![0; rooms];
    }

    /// Measures the delays of the clients from `client` on alone.
    pub fn time_from(&mut self, client: usize) {
        self.timed_from = client;
    }

    /// Books a message that is about to be sent to a room of `members`.
    pub fn send(&mut self, phase: Phase, room: usize, members: u32) -> Result<Stamp> {
        let sequence = u64::try_from(self.sent.len())?;
        self.sent.push(Sent {
            phase,
            room,
            members,
            received: 0,
            duplicates: 0,
            position: None,
        });
        self.unfinished += 1;
        Ok(Stamp {
            sequence,
            sent_ns: self.now_ns()?,
        })
    }

    /// Books an event, everything behind `42`, that a client received; `true` if it was the last delivery of its
    /// message.
    pub fn receive(&mut self, client: usize, event: &[u8]) -> Result<bool> {
        if let Some(rest) = self
            .counted
            .as_ref()
            .and_then(|name| event.strip_prefix(name.as_slice()))
        {
            self.count(client, rest);
            return Ok(false);
        }
        match Stamp::find(event) {
            Some(stamp) if event.starts_with(MESSAGE_EVENT) => self.deliver(client, stamp),
            _ => Ok(false),
        }
    }

    fn count(&mut self, client: usize, sequence: &[u8]) {
        let (Some(listener), Some(sequence)) = (self.listeners.get_mut(client), chat::leading_number(sequence)) else {
            return;
        };
        let counts = &mut self.counted_events;
        match listener.counted.receive(sequence) {
            Arrival::InOrder => counts.deliveries += 1,
            Arrival::Late => {
                counts.deliveries += 1;
                counts.disorders += 1;
            }
            Arrival::Again => counts.duplicates += 1,
        }
    }

    fn deliver(&mut self, client: usize, stamp: Stamp) -> Result<bool> {
        let delay_us = self.now_ns()?.saturating_sub(stamp.sent_ns) / 1_000;
        let (Some(message), Some(listener)) = (
            self.sent.get_mut(usize::try_from(stamp.sequence)?),
            self.listeners.get_mut(client),
        ) else {
            return Ok(false);
        };
        self.arrived += 1;
        if listener.room != Some(message.room) {
            message.duplicates += 1;
            return Ok(false);
        }
        let Some(begun) = self.begun.get_mut(message.room) else {
            return Ok(false);
        };
        let position = *message.position.get_or_insert_with(|| {
            *begun += 1;
            *begun - 1
        });
        match listener.messages.receive(position) {
            Arrival::InOrder => {}
            Arrival::Late => self.disorders += 1,
            Arrival::Again => {
                message.duplicates += 1;
                return Ok(false);
            }
        }
        message.received += 1;
        match message.phase {
            _ if client < self.timed_from => {}
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

    /// Messages sent so far, of any phase.
    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// The events counted by name. Lost is what a client did not get before a later one; what is still on its way when
    /// this is asked is not.
    pub fn counted_events(&self) -> Deliveries {
        let losses = self.listeners.iter().map(|listener| listener.counted.missed()).sum();
        let expected = self.counted_events.deliveries + losses;
        Deliveries {
            losses,
            expected,
            ..self.counted_events
        }
    }

    /// Connections that ended before the run did.
    pub fn closed(&self) -> u64 {
        self.closed
    }

    /// Deliveries of the messages outside the margins.
    pub fn deliveries(&self) -> Deliveries {
        let mut sum = Deliveries {
            disorders: self.disorders,
            ..Deliveries::default()
        };
        for message in self.sent.iter().filter(|message| message.phase != Phase::Margin) {
            sum.deliveries += u64::from(message.received);
            sum.expected += u64::from(message.members);
            sum.losses += u64::from(message.members.saturating_sub(message.received));
            sum.duplicates += u64::from(message.duplicates);
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
    pub fn of(us: &Histogram<u64>) -> Self {
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

    /// Two clients in one room.
    fn tally_of_two(counted: Option<&str>) -> Result<Tally> {
        let mut tally = Tally::new(counted)?;
        tally.expect(2, 1);
        Ok(tally)
    }

    fn send(tally: &mut Tally, phase: Phase) -> Result<String> {
        Ok(message("r", tally.send(phase, 0, 2)?))
    }

    fn receive(tally: &mut Tally, client: usize, text: &str) -> Result<bool> {
        let Packet::Event(event) = Packet::parse(text.as_bytes()) else {
            panic!("not an event")
        };
        tally.receive(client, event)
    }

    #[test]
    fn a_duplicate_at_one_client_does_not_hide_a_loss_at_another() -> Result<()> {
        let mut tally = tally_of_two(None)?;
        let text = send(&mut tally, Phase::Normal)?;
        assert!(!receive(&mut tally, 0, &text)?);
        assert!(!receive(&mut tally, 0, &text)?);
        assert_eq!(tally.unfinished(), 1);
        let expected = Deliveries {
            deliveries: 1,
            expected: 2,
            losses: 1,
            duplicates: 1,
            disorders: 0,
        };
        assert_eq!(tally.deliveries(), expected);
        Ok(())
    }

    #[test]
    fn delays_are_those_of_the_timed_clients() -> Result<()> {
        let mut tally = tally_of_two(None)?;
        tally.time_from(1);
        let text = send(&mut tally, Phase::Normal)?;
        receive(&mut tally, 0, &text)?;
        assert_eq!(tally.normal_us.len(), 0);
        assert!(receive(&mut tally, 1, &text)?);
        assert_eq!(tally.normal_us.len(), 1);
        assert_eq!(tally.deliveries().deliveries, 2);
        Ok(())
    }

    #[test]
    fn members_must_agree_on_an_order_whatever_was_sent_first() -> Result<()> {
        let mut tally = tally_of_two(None)?;
        let (first, second) = (send(&mut tally, Phase::Normal)?, send(&mut tally, Phase::Normal)?);
        for text in [&second, &first] {
            receive(&mut tally, 0, text)?;
        }
        for text in [&second, &first] {
            receive(&mut tally, 1, text)?;
        }
        assert_eq!(tally.deliveries().disorders, 0);
        let (third, fourth) = (send(&mut tally, Phase::Normal)?, send(&mut tally, Phase::Normal)?);
        for (client, text) in [(0, &third), (0, &fourth), (1, &fourth), (1, &third)] {
            receive(&mut tally, client, text)?;
        }
        let expected = Deliveries {
            deliveries: 8,
            expected: 8,
            disorders: 1,
            ..Deliveries::default()
        };
        assert_eq!(tally.deliveries(), expected);
        assert_eq!(tally.unfinished(), 0);
        Ok(())
    }

    #[test]
    fn messages_of_the_margin_and_of_other_rooms_are_told_apart() -> Result<()> {
        let mut tally = Tally::new(None)?;
        tally.expect(2, 2);
        let margin = message("r", tally.send(Phase::Margin, 0, 1)?);
        let normal = message("r", tally.send(Phase::Normal, 1, 1)?);
        assert!(receive(&mut tally, 0, &margin)?);
        assert!(!receive(&mut tally, 0, &normal)?);
        assert!(receive(&mut tally, 1, &normal)?);
        let expected = Deliveries {
            deliveries: 1,
            expected: 1,
            duplicates: 1,
            ..Deliveries::default()
        };
        assert_eq!(tally.deliveries(), expected);
        Ok(())
    }

    #[test]
    fn counted_events_are_checked_by_their_sequence_at_each_client() -> Result<()> {
        let mut tally = tally_of_two(Some("bench"))?;
        for (client, sequence) in [(0, 0), (0, 1), (0, 1), (1, 1), (1, 0), (1, 3)] {
            let text = format!(r#"42["bench",{{"sequence":{sequence},"text":"x"}}]"#);
            receive(&mut tally, client, &text)?;
        }
        let expected = Deliveries {
            deliveries: 5,
            expected: 6,
            losses: 1,
            duplicates: 1,
            disorders: 1,
        };
        assert_eq!(tally.counted_events(), expected);
        Ok(())
    }
}

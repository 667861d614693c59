//! What clients that come and go have received: every message of their room is to reach each of them once and in order,
//! whatever became of its connections. Pure bookkeeping.

use crate::{
    chat::{MESSAGE_EVENT, Stamp},
    order::{Arrival, Reader},
    tally::Delays,
};
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Deliveries of all messages, those sent to members that were away included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Members of the room at each message, summed up.
    pub expected: u64,
    /// Arrived, duplicates not counted.
    pub deliveries: u64,
    /// Arrived and did not come again.
    pub exactly_once: u64,
    /// Missing at a member.
    pub losses: u64,
    /// Came to a client again, or to one outside the room.
    pub duplicates: u64,
    /// Came to a client after one that was sent later.
    pub disorders: u64,
    /// Connections that took the place of one that had ended.
    pub returns: u64,
    /// Those of them that the server took for the client of before.
    pub recovered: u64,
}

/// Times of recovered clients that had missed something: what was sent before they asked to be connected again.
#[derive(Serialize)]
pub struct CatchUps {
    count: u64,
    /// From the answer to CONNECT to the newest missed message; 0 if it came before the answer.
    from_answer_ms: Delays,
    /// From the CONNECT packet until both have come.
    from_connect_ms: Delays,
}

struct Member {
    room: usize,
    reader: Reader,
    /// Numbers that have come more than once.
    repeated: BTreeSet<u64>,
    /// How far it had come when its connection ended, until it is back.
    had: Option<u64>,
    /// When it sent CONNECT, and how many messages had been sent to its room by then.
    asked: Option<(Instant, u64)>,
    behind: Option<Behind>,
}

/// A catch-up that is not finished.
#[derive(Clone, Copy)]
struct Behind {
    /// Messages of the room that were sent before the client asked.
    newest: u64,
    asked: Instant,
    answered: Instant,
}

pub struct Ledger {
    /// Messages sent to each room.
    rooms: Vec<u64>,
    /// Room of each message, and its number there.
    sent: Vec<(usize, u64)>,
    members: Vec<Member>,
    counts: Received,
    from_answer_us: Histogram<u64>,
    from_connect_us: Histogram<u64>,
}

impl Ledger {
    /// Client `i` is a member of room `i mod rooms` from before the first message to the end.
    pub fn new(clients: usize, rooms: usize) -> Result<Self> {
        let member = |client: usize| {
            Some(Member {
                room: client.checked_rem(rooms)?,
                reader: Reader::default(),
                repeated: BTreeSet::new(),
                had: None,
                asked: None,
                behind: None,
            })
        };
        Ok(Self {
            rooms: vec![0; rooms],
            sent: Vec::new(),
            members: (0..clients).map(member).collect::<Option<_>>().context("no rooms")?,
            counts: Received::default(),
            from_answer_us: Histogram::new(3)?,
            from_connect_us: Histogram::new(3)?,
        })
    }

    /// Books a message that is about to be sent.
    pub fn send(&mut self, room: usize) -> Result<Stamp> {
        let number = self.rooms.get_mut(room).context("unknown room")?;
        let sequence = u64::try_from(self.sent.len())?;
        self.sent.push((room, *number));
        *number += 1;
        Ok(Stamp { sequence, sent_ns: 0 })
    }

    /// Books an event, everything behind `42`, that a client has received.
    pub fn receive(&mut self, client: usize, event: &[u8], now: Instant) -> Result<()> {
        if !event.starts_with(MESSAGE_EVENT) {
            return Ok(());
        }
        let stamp = Stamp::find(event).context("a message without a stamp")?;
        let sent = self.sent.get(usize::try_from(stamp.sequence)?);
        let (room, number) = *sent.context("a message that nobody has sent")?;
        let member = self.members.get_mut(client).context("unknown client")?;
        if room != member.room {
            self.counts.duplicates += 1;
            return Ok(());
        }
        match member.reader.receive(number) {
            Arrival::InOrder => self.counts.deliveries += 1,
            Arrival::Late => {
                self.counts.deliveries += 1;
                self.counts.disorders += 1;
            }
            Arrival::Again => {
                self.counts.duplicates += 1;
                member.repeated.insert(number);
            }
        }
        let reached = member.reader.reached();
        if let Some(behind) = member.behind.take_if(|behind| reached >= behind.newest) {
            self.caught_up(behind, now)?;
        }
        Ok(())
    }

    /// The connection of a client has ended.
    pub fn cut(&mut self, client: usize) {
        if let Some(member) = self.members.get_mut(client) {
            member.had = Some(member.reader.reached());
        }
    }

    /// A client is about to send CONNECT.
    pub fn ask(&mut self, client: usize, now: Instant) -> Result<()> {
        let member = self.members.get_mut(client).context("unknown client")?;
        let newest = self.rooms.get(member.room).context("unknown room")?;
        member.asked = Some((now, *newest));
        Ok(())
    }

    /// CONNECT is answered; nothing to book if it is the client's first one.
    pub fn answer(&mut self, client: usize, recovered: bool, answered: Instant) -> Result<()> {
        let member = self.members.get_mut(client).context("unknown client")?;
        let (Some(had), Some((asked, newest))) = (member.had.take(), member.asked.take()) else {
            return Ok(());
        };
        self.counts.returns += 1;
        if !recovered {
            return Ok(());
        }
        self.counts.recovered += 1;
        // A catch-up that the end of the last connection has interrupted goes on.
        if newest == had || member.behind.is_some() {
            return Ok(());
        }
        let behind = Behind {
            newest,
            asked,
            answered,
        };
        if member.reader.reached() >= newest {
            return self.caught_up(behind, answered);
        }
        member.behind = Some(behind);
        Ok(())
    }

    fn caught_up(&mut self, behind: Behind, now: Instant) -> Result<()> {
        let us = |time: Duration| u64::try_from(time.as_micros());
        self.from_answer_us.record(us(now - behind.answered)?)?;
        self.from_connect_us.record(us(now - behind.asked)?)?;
        Ok(())
    }

    /// Members that do not have the newest message of their room.
    pub fn waiting(&self) -> usize {
        let waits = |member: &&Member| self.unreached(member) > 0;
        self.members.iter().filter(waits).count()
    }

    fn unreached(&self, member: &Member) -> u64 {
        let sent = self.rooms.get(member.room).copied().unwrap_or_default();
        sent.saturating_sub(member.reader.reached())
    }

    /// Arrivals so far, duplicates not counted.
    pub fn deliveries(&self) -> u64 {
        self.counts.deliveries
    }

    /// What has become of everything that was sent so far.
    pub fn received(&self) -> Received {
        let missing = |member: &Member| member.reader.missed() + self.unreached(member);
        let losses: u64 = self.members.iter().map(missing).sum();
        let repeated: usize = self.members.iter().map(|member| member.repeated.len()).sum();
        Received {
            losses,
            expected: self.counts.deliveries + losses,
            exactly_once: self.counts.deliveries - repeated as u64,
            ..self.counts
        }
    }

    pub fn catch_ups(&self) -> CatchUps {
        CatchUps {
            count: self.from_answer_us.len(),
            from_answer_ms: Delays::of(&self.from_answer_us),
            from_connect_ms: Delays::of(&self.from_connect_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Packet, message};

    /// Two clients in one room, to which `count` messages have been sent.
    fn ledger_of(count: usize) -> Result<(Ledger, Vec<String>)> {
        let mut ledger = Ledger::new(2, 1)?;
        let texts = (0..count)
            .map(|_| Ok(message("r", ledger.send(0)?)))
            .collect::<Result<_>>()?;
        Ok((ledger, texts))
    }

    fn receive(ledger: &mut Ledger, client: usize, text: &str, now: Instant) -> Result<()> {
        let Packet::Event(event) = Packet::parse(text.as_bytes()) else {
            panic!("not an event")
        };
        ledger.receive(client, event, now)
    }

    /// What the books say when client 0 is served as it should be and client 1 gets these messages of four.
    fn received_when(numbers: &[usize]) -> Result<Received> {
        let (mut ledger, texts) = ledger_of(4)?;
        let now = Instant::now();
        for text in &texts {
            receive(&mut ledger, 0, text, now)?;
        }
        for number in numbers {
            receive(&mut ledger, 1, &texts[*number], now)?;
        }
        Ok(ledger.received())
    }

    const RIGHT: Received = Received {
        expected: 8,
        deliveries: 8,
        exactly_once: 8,
        losses: 0,
        duplicates: 0,
        disorders: 0,
        returns: 0,
        recovered: 0,
    };

    #[test]
    fn everything_once_and_in_order_is_right() -> Result<()> {
        assert_eq!(received_when(&[0, 1, 2, 3])?, RIGHT);
        Ok(())
    }

    #[test]
    fn losses_are_caught_wherever_they_are() -> Result<()> {
        for numbers in [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]] {
            let expected = Received {
                deliveries: 7,
                exactly_once: 7,
                losses: 1,
                ..RIGHT
            };
            assert_eq!(received_when(&numbers)?, expected, "{numbers:?}");
        }
        Ok(())
    }

    #[test]
    fn what_comes_again_is_caught_and_was_not_delivered_exactly_once() -> Result<()> {
        let expected = Received {
            exactly_once: 7,
            duplicates: 2,
            ..RIGHT
        };
        assert_eq!(received_when(&[0, 1, 2, 1, 1, 3])?, expected);
        Ok(())
    }

    #[test]
    fn a_duplicate_does_not_make_up_for_a_loss() -> Result<()> {
        let expected = Received {
            deliveries: 7,
            exactly_once: 6,
            losses: 1,
            duplicates: 1,
            ..RIGHT
        };
        assert_eq!(received_when(&[0, 0, 2, 3])?, expected);
        Ok(())
    }

    #[test]
    fn swapped_messages_are_caught() -> Result<()> {
        let expected = Received { disorders: 1, ..RIGHT };
        assert_eq!(received_when(&[0, 2, 1, 3])?, expected);
        Ok(())
    }

    #[test]
    fn messages_of_other_rooms_and_of_nobody_are_caught() -> Result<()> {
        let mut ledger = Ledger::new(2, 2)?;
        let text = message("r", ledger.send(0)?);
        receive(&mut ledger, 1, &text, Instant::now())?;
        assert_eq!(ledger.received().duplicates, 1);
        assert_eq!(ledger.received().losses, 1);
        let foreign = message(
            "r",
            Stamp {
                sequence: 7,
                sent_ns: 0,
            },
        );
        assert!(receive(&mut ledger, 1, &foreign, Instant::now()).is_err());
        Ok(())
    }

    #[test]
    fn a_catch_up_ends_with_the_newest_message_of_the_time_away() -> Result<()> {
        let (mut ledger, mut texts) = ledger_of(1)?;
        let ms = Duration::from_millis;
        let begun = Instant::now();
        receive(&mut ledger, 0, &texts[0], begun)?;
        ledger.cut(0);
        for _ in 0..2 {
            texts.push(message("r", ledger.send(0)?));
        }
        ledger.ask(0, begun)?;
        texts.push(message("r", ledger.send(0)?));
        ledger.answer(0, true, begun + ms(10))?;
        receive(&mut ledger, 0, &texts[1], begun + ms(12))?;
        assert_eq!(ledger.from_answer_us.len(), 0);
        assert_eq!(ledger.waiting(), 2);
        receive(&mut ledger, 0, &texts[2], begun + ms(15))?;
        receive(&mut ledger, 0, &texts[3], begun + ms(20))?;
        assert_eq!(ledger.waiting(), 1);
        assert_eq!(ledger.from_answer_us.len(), 1);
        let close = |us: u64, ms: u64| us.abs_diff(ms * 1_000) < 20;
        assert!(close(ledger.from_answer_us.max(), 5));
        assert!(close(ledger.from_connect_us.max(), 15));
        assert_eq!((ledger.counts.returns, ledger.counts.recovered), (1, 1));
        Ok(())
    }

    #[test]
    fn what_comes_before_the_answer_takes_no_time_after_it() -> Result<()> {
        let (mut ledger, texts) = ledger_of(1)?;
        let now = Instant::now();
        ledger.cut(0);
        ledger.ask(0, now)?;
        receive(&mut ledger, 0, &texts[0], now)?;
        ledger.answer(0, true, now)?;
        assert_eq!((ledger.from_answer_us.len(), ledger.from_answer_us.max()), (1, 0));
        Ok(())
    }

    #[test]
    fn who_missed_nothing_or_was_not_recovered_has_nothing_to_catch_up_with() -> Result<()> {
        let (mut ledger, texts) = ledger_of(1)?;
        let now = Instant::now();
        receive(&mut ledger, 0, &texts[0], now)?;
        for client in [0, 1] {
            ledger.cut(client);
            ledger.ask(client, now)?;
            ledger.answer(client, client == 0, now)?;
        }
        assert_eq!(ledger.from_answer_us.len(), 0);
        assert_eq!((ledger.counts.returns, ledger.counts.recovered), (2, 1));
        Ok(())
    }
}

//! What was sent lately, for clients that lost their connection: each packet once, shared by all who got it, in the order
//! in which packets were handed to the fan-out. Bounded by time and by bytes, all rooms together.
//!
//! A packet's number travels with it as its last argument, the *offset*, which a client names when it comes back. It has
//! then seen everything before it that was meant for it, because a connection keeps the order in which packets are handed
//! in. What was missed is found by the *trails*: one for each room, for everyone, and for each socket, which hold numbers.
//! An offset begins with a tag of the instance whose number it is: nobody else's is taken for one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::Except;
use crate::wire::{
    id,
    packet::{Offset, Origin, Packet},
};

/// What a packet takes besides its bytes, roughly.
const OVERHEAD: usize = 160;
/// Numbers that a trail keeps room for.
const ROOM_FOR: usize = 64;

/// Numbers of the packets that went one way, the oldest first.
#[derive(Debug, Default)]
pub struct Trail(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    kept: VecDeque<u64>,
    /// The newest that is not kept any more, as far as it counts for everybody.
    forgotten: u64,
    /// Later ones that are not kept either, and for whom they were not; the oldest first.
    partly: VecDeque<(u64, Except)>,
}

/// Forgotten packets of which it is known for whom they were not, those in a row that are for the same counted once.
const MOST_PARTLY: usize = 8;

impl Numbers {
    /// The newest that is not kept any more.
    fn newest_forgotten(&self) -> u64 {
        self.partly.back().map_or(self.forgotten, |(number, _)| *number)
    }

    /// The newest that is not kept any more and was for this socket.
    fn forgotten_for(&self, key: u64) -> u64 {
        let partly = self.partly.iter().rev().find(|(_, except)| !except.contains(key));
        partly.map_or(self.forgotten, |(number, _)| *number)
    }

    fn forget(&mut self, number: u64, except: Except) {
        if except.is_empty() {
            self.forgotten = number;
            self.partly = VecDeque::new();
            return;
        }
        match self.partly.back_mut() {
            Some((newest, same)) if *same == except => *newest = number,
            _ => self.partly.push_back((number, except)),
        }
        if self.partly.len() > MOST_PARTLY
            && let Some((oldest, _)) = self.partly.pop_front()
        {
            self.forgotten = oldest;
        }
    }
}

impl Trail {
    fn push(&self, number: u64) {
        self.0.lock().kept.push_back(number);
    }

    /// Numbers are forgotten in the order in which they came.
    fn forget(&self, number: u64, except: Except) {
        let mut numbers = self.0.lock();
        numbers.forget(number, except);
        numbers.kept.pop_front();
        if numbers.kept.capacity() > ROOM_FOR && numbers.kept.len() < numbers.kept.capacity() / 4 {
            let left = numbers.kept.len() * 2;
            numbers.kept.shrink_to(left);
        }
    }

    /// Adds the numbers of a span. False when one of them that was for this socket is not kept any more.
    fn collect(&self, after: u64, until: u64, key: u64, into: &mut Vec<u64>) -> bool {
        let numbers = self.0.lock();
        let first = numbers.kept.partition_point(|number| *number <= after);
        into.extend(numbers.kept.range(first..).take_while(|number| **number <= until));
        numbers.forgotten_for(key) <= after
    }
}

/// A part of a trail: the numbers after one, up to another.
#[derive(Debug, Clone)]
pub struct Span {
    /// Of which trail.
    pub trail: Arc<Trail>,
    /// The number before the first.
    pub after: u64,
    /// The last number.
    pub until: u64,
}

impl Span {
    /// Whether nothing of it is kept.
    pub fn is_forgotten(&self) -> bool {
        self.trail.0.lock().newest_forgotten() >= self.until
    }
}

#[derive(Debug)]
struct Kept {
    since: Duration,
    trail: Arc<Trail>,
    except: Except,
    packet: Packet,
}

#[derive(Debug, Default)]
struct Inner {
    /// Without holes; the number of the first is `newest + 1 - kept.len()`.
    kept: VecDeque<Kept>,
    newest: u64,
    bytes: usize,
}

impl Inner {
    /// The packet of this number.
    fn get(&self, number: u64) -> Option<&Kept> {
        let first = self.newest + 1 - self.kept.len() as u64;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        self.kept.get(index)
    }

    /// Those of these packets that are kept and were for this socket.
    fn meant<'a>(&'a self, numbers: &'a [u64], key: u64) -> impl Iterator<Item = (u64, &'a Packet)> {
        numbers.iter().filter_map(move |number| {
            let kept = self.get(*number)?;
            (!kept.except.contains(key)).then_some((*number, &kept.packet))
        })
    }
}

/// The numbers of these spans in order, each once. An error when one that was for this socket is not kept any more.
fn numbers_of(spans: &[Span], key: u64) -> Result<Vec<u64>, Forgotten> {
    let mut numbers = Vec::new();
    let is_whole = spans
        .iter()
        .all(|span| span.trail.collect(span.after, span.until, key, &mut numbers));
    numbers.sort_unstable();
    numbers.dedup();
    is_whole.then_some(numbers).ok_or(Forgotten)
}

/// What a client missed cannot be told any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten;

/// A packet that was missed, and what its client is to name when it has seen it.
pub type Missed = (Offset, Packet);

/// Characters that begin every offset of one instance.
type Tag = [u8; 4];

/// The packets that were sent lately.
#[derive(Debug)]
pub struct Replay {
    tag: Tag,
    inner: Mutex<Inner>,
    newest: AtomicU64,
    began: Instant,
    most_age: Duration,
    most_bytes: usize,
}

impl Replay {
    /// Keeps packets for so long, and at most so many bytes.
    pub fn new(most_age: Duration, most_bytes: usize) -> Self {
        Self {
            tag: id::random().unwrap_or(*b"none"),
            inner: Mutex::default(),
            newest: AtomicU64::new(0),
            began: Instant::now(),
            most_age,
            most_bytes,
        }
    }

    /// The newest number. Under the lock of a room: what is sent there later has a higher one, what was before has not.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Numbers a packet and hands it on with its number: in the same order. `hand_on` must not block.
    pub fn append<R>(
        &self,
        trail: &Arc<Trail>,
        except: &Except,
        packet: &Packet,
        hand_on: impl FnOnce(&Packet) -> R,
    ) -> R {
        // Copied before the lock: the senders of all rooms take it.
        let sent = packet.with_offset(&Offset::default());
        let mut inner = self.inner.lock();
        let number = self.keep(&mut inner, trail, except, packet);
        self.trim(&mut inner);
        hand_on(&sent.at_offset(&self.offset(number)))
    }

    fn keep(&self, inner: &mut Inner, trail: &Arc<Trail>, except: &Except, packet: &Packet) -> u64 {
        let number = inner.newest + 1;
        inner.newest = number;
        self.newest.store(number, Ordering::Release);
        trail.push(number);
        inner.bytes += cost(packet);
        inner.kept.push_back(Kept {
            since: self.began.elapsed(),
            trail: trail.clone(),
            except: except.clone(),
            packet: packet.clone(),
        });
        number
    }

    /// Hands on a packet that is not kept, with the newest number: its client has seen everything before it.
    pub fn pass<R>(&self, packet: &Packet, hand_on: impl FnOnce(&Packet) -> R) -> R {
        let sent = packet.with_offset(&Offset::default());
        let inner = self.inner.lock();
        hand_on(&sent.at_offset(&self.offset(inner.newest)))
    }

    /// The packets of these spans for a socket, in order, each once; handed on before anything else is numbered.
    pub fn collect<R>(&self, spans: &[Span], key: u64, hand_on: impl FnOnce(Vec<Missed>) -> R) -> Result<R, Forgotten> {
        let inner = self.inner.lock();
        let numbers = numbers_of(spans, key)?;
        let packets = inner.meant(&numbers, key);
        Ok(hand_on(
            packets
                .map(|(number, packet)| (self.offset(number), packet.clone()))
                .collect(),
        ))
    }

    /// The packets that [`Self::collect`] would find.
    pub fn packets(&self, spans: &[Span], key: u64) -> Result<Vec<Packet>, Forgotten> {
        self.collect(spans, key, |missed| {
            missed.into_iter().map(|(_, packet)| packet).collect()
        })
    }

    /// For a socket that another instance had before: what its client missed there, then what came here since, which these
    /// spans tell, without what is in both. All of it is kept as sent to the socket alone, behind everything else. `hand_on`
    /// is called with it, and with the newest number before.
    pub fn inherit<R>(
        &self,
        missed: Vec<Packet>,
        spans: &[Span],
        (key, trail): (u64, &Arc<Trail>),
        hand_on: impl FnOnce(Vec<Missed>, u64) -> R,
    ) -> Result<R, Forgotten> {
        let mut inner = self.inner.lock();
        let numbers = numbers_of(spans, key)?;
        let mut known: HashMap<Origin, usize> = HashMap::new();
        for origin in missed.iter().filter_map(Packet::origin) {
            *known.entry(origin).or_default() += 1;
        }
        let mut is_new = |packet: &Packet| match packet.origin().and_then(|origin| known.get_mut(&origin)) {
            Some(times @ 1..) => {
                *times -= 1;
                false
            }
            _ => true,
        };
        let since = inner.meant(&numbers, key).map(|(_, packet)| packet);
        let since: Vec<Packet> = since.filter(|packet| is_new(packet)).cloned().collect();
        let before = inner.newest;
        let mut numbered = |packet: Packet| {
            let number = self.keep(&mut inner, trail, &Except::new(), &packet);
            (self.offset(number), packet)
        };
        let packets = missed.into_iter().chain(since).map(&mut numbered).collect();
        let outcome = hand_on(packets, before);
        self.trim(&mut inner);
        Ok(outcome)
    }

    /// Bytes of what [`Self::collect`] would find.
    pub fn weigh(&self, spans: &[Span], key: u64) -> Result<usize, Forgotten> {
        let inner = self.inner.lock();
        let numbers = numbers_of(spans, key)?;
        Ok(inner.meant(&numbers, key).map(|(_, packet)| packet.len()).sum())
    }

    /// The newest number of a trail that was for a socket, if there is one after this.
    pub fn last(&self, trail: &Trail, key: u64, after: u64) -> Option<u64> {
        let inner = self.inner.lock();
        let numbers = trail.0.lock();
        let is_for_it = |number: &u64| inner.get(*number).is_some_and(|kept| !kept.except.contains(key));
        let newest_first = numbers.kept.iter().rev().copied();
        let last = newest_first.take_while(|number| *number > after).find(is_for_it);
        last.or_else(|| Some(numbers.forgotten_for(key)).filter(|number| *number > after))
    }

    /// Forgets what is too old.
    pub fn expire(&self) {
        self.trim(&mut self.inner.lock());
    }

    fn trim(&self, inner: &mut Inner) {
        let now = self.began.elapsed();
        let is_over = |inner: &Inner| {
            let is_old = |kept: &Kept| now.saturating_sub(kept.since) > self.most_age;
            inner.bytes > self.most_bytes || inner.kept.front().is_some_and(is_old)
        };
        while is_over(inner)
            && let Some(kept) = inner.kept.pop_front()
        {
            inner.bytes -= cost(&kept.packet);
            kept.trail.forget(inner.newest - inner.kept.len() as u64, kept.except);
        }
        if inner.kept.capacity() > ROOM_FOR && inner.kept.len() < inner.kept.capacity() / 4 {
            let left = inner.kept.len() * 2;
            inner.kept.shrink_to(left);
        }
    }

    /// Packets that are kept, and their bytes.
    pub fn kept(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.kept.len(), inner.bytes)
    }
}

fn cost(packet: &Packet) -> usize {
    packet.len() + OVERHEAD
}

/// Digits of a number, of which ten last for a hundred years at a million packets a second.
const DIGITS: u32 = 36;

impl Replay {
    /// A number as clients are told it.
    pub fn offset(&self, mut number: u64) -> Offset {
        let mut offset = Offset::default();
        let (tag, digits) = offset.split_at_mut(self.tag.len());
        tag.copy_from_slice(&self.tag);
        for place in digits.iter_mut().rev() {
            let digit = u32::try_from(number % u64::from(DIGITS)).unwrap_or(0);
            *place = char::from_digit(digit, DIGITS)
                .and_then(|digit| u8::try_from(digit).ok())
                .unwrap_or(b'0');
            number /= u64::from(DIGITS);
        }
        offset
    }

    /// The number that a client names; `None` when it was never told one like this here.
    pub fn number(&self, offset: &str) -> Option<u64> {
        let digits = offset.as_bytes().strip_prefix(&self.tag)?;
        let is_ours = offset.len() == Offset::default().len()
            && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z'));
        let digits = std::str::from_utf8(digits).ok().filter(|_| is_ours)?;
        let number = u64::from_str_radix(digits, DIGITS).ok()?;
        (number <= self.newest()).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn packet(text: &str) -> Packet {
        Packet::event("e", &format!("\"{text}\""))
    }

    fn append(replay: &Replay, trail: &Arc<Trail>, text: &str) -> String {
        replay.append(trail, &Except::new(), &packet(text), |packet| packet.args().to_owned())
    }

    fn span(trail: &Arc<Trail>, after: u64) -> Span {
        Span {
            trail: trail.clone(),
            after,
            until: u64::MAX,
        }
    }

    fn missed(replay: &Replay, spans: &[Span], key: u64) -> Result<Vec<u64>, Forgotten> {
        replay.collect(spans, key, |packets| {
            let number = |(offset, _): &Missed| replay.number(std::str::from_utf8(offset).unwrap()).unwrap();
            packets.iter().map(number).collect()
        })
    }

    #[test]
    fn what_was_missed_on_several_ways_comes_in_one_order() {
        let replay = Replay::new(LONG, 1 << 20);
        let [room, other, foreign] = [(); 3].map(|()| Arc::new(Trail::default()));
        for trail in [&room, &foreign, &other, &room, &other] {
            append(&replay, trail, "x");
        }
        assert_eq!(
            missed(&replay, &[span(&room, 0), span(&other, 0)], 1),
            Ok(vec![1, 3, 4, 5])
        );
        assert_eq!(missed(&replay, &[span(&room, 3), span(&other, 3)], 1), Ok(vec![4, 5]));
        let left = Span {
            until: 3,
            ..span(&other, 0)
        };
        assert_eq!(missed(&replay, &[span(&room, 1), left], 1), Ok(vec![3, 4]));
        assert_eq!(missed(&replay, &[span(&room, 5)], 1), Ok(vec![]));
    }

    #[test]
    fn a_packet_carries_its_number_and_one_that_is_not_kept_the_one_before() {
        let replay = Replay {
            tag: *b"-aZ9",
            ..Replay::new(LONG, 1 << 20)
        };
        let trail = Arc::new(Trail::default());
        assert_eq!(append(&replay, &trail, "a"), r#"["e","a","-aZ90000000001"]"#);
        assert_eq!(
            replay.pass(&packet("b"), |packet| packet.args().to_owned()),
            r#"["e","b","-aZ90000000001"]"#
        );
        assert_eq!(append(&replay, &trail, "c"), r#"["e","c","-aZ90000000002"]"#);
        assert_eq!((replay.last(&trail, 1, 0), replay.newest()), (Some(2), 2));
    }

    #[test]
    fn whoever_was_left_out_missed_nothing() {
        let replay = Replay::new(LONG, 1 << 20);
        let trail = Arc::new(Trail::default());
        replay.append(&trail, &Except::from_iter([7]), &packet("a"), |_| ());
        append(&replay, &trail, "b");
        assert_eq!(missed(&replay, &[span(&trail, 0)], 7), Ok(vec![2]));
        assert_eq!(missed(&replay, &[span(&trail, 0)], 8), Ok(vec![1, 2]));
    }

    #[test]
    fn whoever_was_left_out_of_what_is_forgotten_can_be_told_everything() {
        let replay = Replay::new(LONG, 0);
        let trail = Arc::new(Trail::default());
        let but = |key: u64| replay.append(&trail, &Except::from_iter([key]), &packet("x"), |_| ());
        let of = |key, after| missed(&replay, &[span(&trail, after)], key);
        append(&replay, &trail, "x");
        (0..20).for_each(|_| but(7));
        assert_eq!((of(7, 1), of(8, 21)), (Ok(vec![]), Ok(vec![])));
        assert_eq!((of(7, 0), of(8, 20)), (Err(Forgotten), Err(Forgotten)));
        assert_eq!((replay.last(&trail, 7, 1), replay.last(&trail, 8, 1)), (None, Some(21)));
        but(8);
        assert_eq!(
            (of(7, 21), of(7, 22), of(8, 21)),
            (Err(Forgotten), Ok(vec![]), Ok(vec![]))
        );
        (0..20).for_each(|key| but(100 + key));
        assert_eq!((of(8, 21), trail.0.lock().partly.len()), (Err(Forgotten), MOST_PARTLY));
        append(&replay, &trail, "x");
        assert_eq!((of(7, 43), trail.0.lock().partly.len()), (Ok(vec![]), 0));
    }

    #[test]
    fn half_of_what_was_missed_is_nothing() {
        let replay = Replay::new(LONG, 3 * cost(&packet("x")));
        let [busy, quiet] = [(); 2].map(|()| Arc::new(Trail::default()));
        append(&replay, &quiet, "x");
        (0..4).for_each(|_| drop(append(&replay, &busy, "x")));
        assert_eq!(replay.kept().0, 3);
        assert_eq!(missed(&replay, &[span(&quiet, 0)], 1), Err(Forgotten));
        assert_eq!(
            missed(&replay, &[span(&quiet, 1)], 1),
            Ok(vec![]),
            "it had seen that one"
        );
        assert_eq!(missed(&replay, &[span(&busy, 1)], 1), Err(Forgotten));
        assert_eq!(
            missed(&replay, &[span(&busy, 2), span(&quiet, 2)], 1),
            Ok(vec![3, 4, 5])
        );
    }

    #[test]
    fn what_is_too_old_is_forgotten_and_its_memory_given_back() {
        let replay = Replay::new(Duration::ZERO, 1 << 30);
        let trail = Arc::new(Trail::default());
        (0..1_000).for_each(|_| drop(append(&replay, &trail, "x")));
        std::thread::sleep(Duration::from_millis(2));
        replay.expire();
        assert_eq!(replay.kept(), (0, 0));
        assert_eq!(
            (replay.last(&trail, 1, 999), replay.last(&trail, 1, 1_000)),
            (Some(1_000), None)
        );
        assert!(trail.0.lock().kept.capacity() <= ROOM_FOR);
    }

    #[test]
    fn only_what_clients_were_told_here_is_an_offset() {
        let replay = Replay::new(LONG, 1 << 20);
        let trail = Arc::new(Trail::default());
        (0..40).for_each(|_| drop(append(&replay, &trail, "x")));
        let tag = std::str::from_utf8(&replay.tag).unwrap();
        let digits = [
            "",
            "-1",
            "0",
            "0000000014",
            "000000001A",
            "000000001.",
            " 000000001",
            "00000000011",
        ];
        for bad in digits.map(|digits| format!("{tag}{digits}")) {
            let is_known = bad.ends_with("0000000014");
            assert_eq!(replay.number(&bad), is_known.then_some(40), "{bad}");
        }
        for bad in [
            "",
            "0000000001",
            "zzzzzzzzzzzzzz",
            &format!("{tag}0000000015"),
            "äöü€ 0000000001",
        ] {
            assert_eq!(replay.number(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_another_instance_brings_comes_first_and_what_is_known_there_not_twice() {
        let replay = Replay::new(LONG, 1 << 20);
        let [room, own] = [(); 2].map(|()| Arc::new(Trail::default()));
        let from = |text: &str, number| {
            let packet = packet(text);
            packet.set_origin(Origin { publisher: 1, number });
            packet
        };
        for packet in [from("x", 1), from("x", 2), from("y", 3), packet("z")] {
            replay.append(&room, &Except::new(), &packet, |_| ());
        }
        let missed_there = vec![from("x", 1), packet("local"), from("x", 2)];
        let heard = replay.inherit(missed_there, &[span(&room, 0)], (1, &own), |packets, before| {
            let texts: Vec<_> = packets.iter().map(|(_, packet)| packet.args().to_owned()).collect();
            (texts.join(""), before)
        });
        assert_eq!(
            heard,
            Ok((r#"["e","x"]["e","local"]["e","x"]["e","y"]["e","z"]"#.to_owned(), 4))
        );
        assert_eq!(missed(&replay, &[span(&own, 6), span(&room, 4)], 1), Ok(vec![7, 8, 9]));
    }

    #[test]
    fn what_cannot_be_told_apart_is_taken_away_as_often_as_it_was_missed() {
        let replay = Replay::new(LONG, 1 << 20);
        let [room, own] = [(); 2].map(|()| Arc::new(Trail::default()));
        let same = || {
            let packet = packet("tick");
            packet.set_origin(Origin {
                publisher: 1,
                number: 7,
            });
            packet
        };
        (0..3).for_each(|_| replay.append(&room, &Except::new(), &same(), |_| ()));
        let count = replay.inherit(vec![same(), same()], &[span(&room, 0)], (1, &own), |packets, _| {
            packets.len()
        });
        assert_eq!(count, Ok(3));
    }

    proptest! {
        #[test]
        fn offsets_are_read_as_they_were_written(value in 0..u64::from(DIGITS).pow(10)) {
            let replay = Replay::new(LONG, 1 << 20);
            replay.newest.store(value, Ordering::Release);
            let offset = replay.offset(value);
            prop_assert_eq!(replay.number(std::str::from_utf8(&offset).unwrap()), Some(value));
        }
    }
}

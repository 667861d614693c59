//! What was sent lately, for clients that lost their connection: each packet once, shared by all who got it, in the order
//! in which packets were handed to the fan-out. Bounded by time and by bytes, all rooms together.
//!
//! A packet's number travels with it as its last argument, the *offset*, which a client names when it comes back. It has
//! then seen everything before it that was meant for it, because a connection keeps the order in which packets are handed
//! in. What was missed is found by the *trails*: one for each room, for everyone, and for each socket, which hold numbers.
//! An offset begins with a tag of the instance whose number it is: nobody else's is taken for one. In a cluster it ends with
//! a [cut](super::cut): how far the client has then seen what each instance has published.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use smallvec::SmallVec;

use super::{
    Except,
    cut::{self, Cut},
};
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
    /// By publisher, the newest publications that are not kept any more.
    published: Vec<Published>,
}

/// A publication that is not kept any more.
#[derive(Debug, Clone, Copy)]
struct Forgone {
    /// Its number here.
    number: u64,
    publication: u64,
    /// When it was sent.
    since: Duration,
}

/// What a publisher has published that is not kept any more.
#[derive(Debug)]
struct Published {
    publisher: u64,
    /// The newest, as far as it counts for everybody.
    for_all: Option<Forgone>,
    /// A later one, and for whom it was not.
    partly: Option<(Forgone, Except)>,
}

impl Published {
    fn forget(&mut self, forgone: Forgone, except: Except) {
        if except.is_empty() {
            self.for_all = Some(forgone);
            self.partly = None;
            return;
        }
        if let Some((former, same)) = self.partly.replace((forgone, except))
            && self.partly.as_ref().is_some_and(|(_, except)| *except != same)
        {
            self.for_all = Some(former);
        }
    }

    /// The newest that was for this socket.
    fn newest_for(&self, key: u64) -> Option<Forgone> {
        let partly = self.partly.as_ref().filter(|(_, except)| !except.contains(key));
        partly.map(|(forgone, _)| *forgone).or(self.for_all)
    }

    /// When the newest was sent.
    fn newest_since(&self) -> Option<Duration> {
        let partly = self.partly.as_ref().map(|(forgone, _)| forgone.since);
        partly.or(self.for_all.map(|forgone| forgone.since))
    }
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

    /// Notes a publication. Publishers of which there was nothing since a time are left out.
    fn forget_publication(&mut self, publisher: u64, forgone: Forgone, except: Except, before: Duration) {
        let place = self
            .published
            .iter()
            .position(|published| published.publisher == publisher);
        let published = match place {
            Some(place) => self.published.get_mut(place),
            None => {
                let is_recent = |published: &Published| published.newest_since().is_some_and(|since| since >= before);
                self.published.retain(is_recent);
                self.published.push(Published {
                    publisher,
                    for_all: None,
                    partly: None,
                });
                self.published.last_mut()
            }
        };
        if let Some(published) = published {
            published.forget(forgone, except);
        }
    }
}

impl Trail {
    fn push(&self, number: u64) {
        self.0.lock().kept.push_back(number);
    }

    /// Numbers are forgotten in the order in which they came.
    fn forget(&self, number: u64, kept: &Kept, before: Duration) {
        let mut numbers = self.0.lock();
        if let Some(Origin::Publication {
            publisher,
            number: publication,
        }) = kept.packet.origin()
        {
            let forgone = Forgone {
                number,
                publication,
                since: kept.since,
            };
            numbers.forget_publication(publisher, forgone, kept.except.clone(), before);
        }
        numbers.forget(number, kept.except.clone());
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

    /// Whether of what was for a socket after a number, and is not kept any more, a client has seen everything that was
    /// published; what was sent before a time, nobody asks for.
    fn is_covered(&self, seen: &Cut, after: u64, key: u64, before: Duration) -> bool {
        let numbers = self.0.lock();
        numbers.published.iter().all(|published| {
            let newest = published.newest_for(key);
            let newest = newest.filter(|newest| newest.number > after && newest.since >= before);
            newest.is_none_or(|newest| seen.reaches(published.publisher, newest.publication) == Some(true))
        })
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
    trails: SmallVec<[Arc<Trail>; 1]>,
    except: Except,
    packet: Packet,
    offset: Offset,
}

/// How far a publisher has been heard, and when that changed.
#[derive(Debug, Clone, Copy)]
struct Heard {
    publisher: u64,
    number: u64,
    at: Duration,
}

#[derive(Debug, Default)]
struct Inner {
    /// Without holes; the number of the first is `newest + 1 - kept.len()`.
    kept: VecDeque<Kept>,
    newest: u64,
    bytes: usize,
    /// The newest publication of each instance that was kept, in the order in which they are in `offset`.
    heard: Vec<Heard>,
    /// The newest publication of each that was not heard, or may not have been.
    forgotten: Vec<Heard>,
    /// That of the newest number.
    offset: Offset,
}

/// Notes how far a publisher has been heard. Returns where it stands.
fn note(heard: &mut Vec<Heard>, publisher: u64, number: u64, at: Duration) -> usize {
    let place = heard.iter().position(|heard| heard.publisher == publisher);
    let place = place.unwrap_or_else(|| {
        heard.push(Heard { publisher, number, at });
        heard.len() - 1
    });
    if let Some(heard) = heard.get_mut(place) {
        heard.number = heard.number.max(number);
        heard.at = at;
    }
    place
}

impl Inner {
    /// The packet of this number.
    fn get(&self, number: u64) -> Option<&Kept> {
        let first = self.newest + 1 - self.kept.len() as u64;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        self.kept.get(index)
    }

    /// Those of these packets that are kept and were for this socket.
    fn meant<'a>(&'a self, numbers: &'a [u64], key: u64) -> impl Iterator<Item = &'a Kept> {
        let kept = numbers.iter().filter_map(|number| self.get(*number));
        kept.filter(move |kept| !kept.except.contains(key))
    }

    /// A publication has been kept: the cut of what is sent from now on has it.
    fn hear(&mut self, publisher: u64, number: u64, now: Duration) {
        let place = note(&mut self.heard, publisher, number, now);
        let newest = self.heard.get(place).map_or(number, |heard| heard.number);
        let entry = cut::entry(publisher, newest);
        let at = BASE + place * cut::ENTRY;
        if at < self.offset.as_bytes().len() {
            self.offset.put(at, &entry);
        } else {
            self.offset.extend(entry);
        }
    }

    /// Forgets publishers of which nothing was heard for so long that nobody keeps anything of them.
    fn forget_silent(&mut self, now: Duration, most: Duration) {
        let is_recent = |heard: &Heard| now.saturating_sub(heard.at) <= most;
        self.forgotten.retain(is_recent);
        if !self.heard.iter().all(is_recent) {
            self.heard.retain(is_recent);
            self.offset.truncate(BASE);
            for heard in &self.heard {
                self.offset.extend(cut::entry(heard.publisher, heard.number));
            }
        }
    }

    fn cut(&self) -> Cut {
        cut_of(&self.offset)
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

/// A packet that a client has missed on an instance, and how far the client is with all publishers when it has seen that.
#[derive(Debug, Clone)]
pub struct Handed {
    /// The packet.
    pub packet: Packet,
    /// How far its client is then.
    pub cut: Cut,
}

/// What a client has missed on an instance, in order, and how far it is then.
#[derive(Debug, Clone, Default)]
pub struct Inheritance {
    /// The packets.
    pub missed: Vec<Handed>,
    /// How far the client is when it has seen them all.
    pub cut: Cut,
}

/// Characters that begin every offset of one instance.
type Tag = [u8; 4];
/// Characters of an offset before the cut.
const BASE: usize = size_of::<Tag>() + DIGITS_LEN;
const DIGITS_LEN: usize = 10;

/// The cut that an offset ends with; none, where two publishers cannot be told apart.
fn cut_of(offset: &Offset) -> Cut {
    let cut = offset.as_bytes().get(BASE..).and_then(Cut::read);
    cut.unwrap_or_default()
}

/// The packets that were sent lately.
#[derive(Debug)]
pub struct Replay {
    tag: Tag,
    inner: Mutex<Inner>,
    newest: AtomicU64,
    /// Length of the offsets now.
    length: AtomicUsize,
    began: Instant,
    most_age: Duration,
    most_bytes: usize,
}

impl Replay {
    /// Keeps packets for so long, and at most so many bytes.
    pub fn new(most_age: Duration, most_bytes: usize) -> Self {
        let tag = id::random().unwrap_or(*b"none");
        let mut offset = Offset::of_length(BASE);
        offset.put(0, &tag);
        Self {
            tag,
            inner: Mutex::new(Inner {
                offset,
                ..Inner::default()
            }),
            newest: AtomicU64::new(0),
            length: AtomicUsize::new(BASE),
            began: Instant::now(),
            most_age,
            most_bytes,
        }
    }

    /// The newest number. Under the lock of a room: what is sent there later has a higher one, what was before has not.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Numbers a packet and hands it on with its number: in the same order. `publish` is called before, so that what one
    /// instance publishes has the same order, too. Neither must block.
    pub fn append<R>(
        &self,
        trails: &[Arc<Trail>],
        except: &Except,
        packet: &Packet,
        publish: impl FnOnce(),
        hand_on: impl FnOnce(&Packet) -> R,
    ) -> R {
        // Copied before the lock: the senders of all rooms take it.
        let sent = self.with_room_for_offset(packet);
        let mut inner = self.inner.lock();
        publish();
        let now = self.began.elapsed();
        if let Some(Origin::Publication { publisher, number }) = packet.origin() {
            inner.hear(publisher, number, now);
        }
        self.number_next(&mut inner);
        let offset = inner.offset.clone();
        self.keep(&mut inner, trails, except, packet, offset, now);
        self.trim(&mut inner);
        self.length.store(inner.offset.as_bytes().len(), Ordering::Relaxed);
        hand_on(&sent.at_offset(&inner.offset))
    }

    fn with_room_for_offset(&self, packet: &Packet) -> Packet {
        packet.with_offset(&Offset::of_length(self.length.load(Ordering::Relaxed)))
    }

    fn number_next(&self, inner: &mut Inner) {
        inner.newest += 1;
        self.newest.store(inner.newest, Ordering::Release);
        inner.offset.put(self.tag.len(), &digits(inner.newest));
    }

    /// Keeps the packet of the newest number.
    fn keep(
        &self,
        inner: &mut Inner,
        trails: &[Arc<Trail>],
        except: &Except,
        packet: &Packet,
        offset: Offset,
        now: Duration,
    ) {
        for trail in trails {
            trail.push(inner.newest);
        }
        inner.bytes += cost(packet);
        inner.kept.push_back(Kept {
            since: now,
            trails: trails.into(),
            except: except.clone(),
            packet: packet.clone(),
            offset,
        });
    }

    /// Hands on a packet that is not kept, with the newest offset: its client has seen everything before it.
    pub fn pass<R>(&self, packet: &Packet, hand_on: impl FnOnce(&Packet) -> R) -> R {
        let sent = self.with_room_for_offset(packet);
        let inner = self.inner.lock();
        hand_on(&sent.at_offset(&inner.offset))
    }

    /// How far all publishers have been heard: what somebody has seen who comes now.
    pub fn cut(&self) -> Cut {
        self.inner.lock().cut()
    }

    /// What a publisher has published up to this number was not heard, or not all of it.
    pub fn not_heard(&self, publisher: u64, number: u64) {
        note(
            &mut self.inner.lock().forgotten,
            publisher,
            number,
            self.began.elapsed(),
        );
    }

    /// The packets of these spans for a socket, in order, each once; handed on before anything else is numbered.
    pub fn collect<R>(&self, spans: &[Span], key: u64, hand_on: impl FnOnce(Vec<Missed>) -> R) -> Result<R, Forgotten> {
        let inner = self.inner.lock();
        let numbers = numbers_of(spans, key)?;
        let kept = inner.meant(&numbers, key);
        Ok(hand_on(
            kept.map(|kept| (kept.offset.clone(), kept.packet.clone())).collect(),
        ))
    }

    /// What [`Self::collect`] would find, for another instance.
    pub fn inheritance(&self, spans: &[Span], key: u64) -> Result<Inheritance, Forgotten> {
        let inner = self.inner.lock();
        let numbers = numbers_of(spans, key)?;
        let handed = |kept: &Kept| Handed {
            packet: kept.packet.clone(),
            cut: cut_of(&kept.offset),
        };
        Ok(Inheritance {
            missed: inner.meant(&numbers, key).map(handed).collect(),
            cut: inner.cut(),
        })
    }

    /// What a client has missed of what was published in these spans, when it has seen this much on an instance that cannot
    /// be asked any more. What it was left out of by either number, as it was known there and as it is here, is not for it. An
    /// error when some of that may never have been heard here, or is not kept.
    pub fn missed_elsewhere(
        &self,
        seen: &Cut,
        spans: &[Span],
        (key, here): (u64, u64),
    ) -> Result<Inheritance, Forgotten> {
        let inner = self.inner.lock();
        let known = || inner.heard.iter().chain(&inner.forgotten);
        let is_known = |tag| known().any(|heard| cut::tag_of(heard.publisher) == tag);
        let has_seen = |forgotten: &Heard| seen.reaches(forgotten.publisher, forgotten.number) != Some(false);
        if !seen.tags().all(is_known) || !inner.forgotten.iter().all(has_seen) {
            return Err(Forgotten);
        }
        let before = self.long_ago();
        let is_covered = |span: &Span| span.trail.is_covered(seen, span.after, key, before);
        if !spans.iter().all(is_covered) {
            return Err(Forgotten);
        }
        let mut numbers = Vec::new();
        for span in spans {
            // What is not kept any more, the client has seen.
            span.trail.collect(span.after, span.until, key, &mut numbers);
        }
        numbers.sort_unstable();
        numbers.dedup();
        let is_missed = |kept: &&Kept| {
            let origin = kept.packet.origin();
            let is_new = |origin| matches!(origin, Origin::Publication { .. }) && !seen.contains(origin);
            !kept.except.contains(here) && origin.is_some_and(is_new)
        };
        let handed = |kept: &Kept| Handed {
            packet: kept.packet.clone(),
            cut: seen.and(&cut_of(&kept.offset)),
        };
        Ok(Inheritance {
            missed: inner.meant(&numbers, key).filter(is_missed).map(handed).collect(),
            cut: seen.clone(),
        })
    }

    /// For a socket that another instance had before: what its client missed there, then what came here since, which these
    /// spans tell, without what is in both. All of it is kept as sent to the socket alone, behind everything else. `hand_on`
    /// is called with it, and with the newest number before.
    pub fn inherit<R>(
        &self,
        inheritance: Inheritance,
        spans: &[Span],
        (key, trail): (u64, &Arc<Trail>),
        hand_on: impl FnOnce(Vec<Missed>, u64) -> R,
    ) -> Result<R, Forgotten> {
        let Inheritance { mut missed, cut } = inheritance;
        let mut inner = self.inner.lock();
        let numbers = numbers_of(spans, key)?;
        let mut known: HashMap<Origin, usize> = HashMap::new();
        for origin in missed.iter().filter_map(|handed| handed.packet.origin()) {
            *known.entry(origin).or_default() += 1;
        }
        let mut is_new = |packet: &Packet| match packet.origin().and_then(|origin| known.get_mut(&origin)) {
            Some(times @ 1..) => {
                *times -= 1;
                false
            }
            _ => true,
        };
        let since = inner.meant(&numbers, key).filter(|kept| is_new(&kept.packet));
        missed.extend(since.map(|kept| Handed {
            packet: kept.packet.clone(),
            cut: cut.and(&cut_of(&kept.offset)),
        }));
        let (before, now) = (inner.newest, self.began.elapsed());
        let mut numbered = Vec::with_capacity(missed.len());
        for Handed { packet, cut } in missed {
            self.number_next(&mut inner);
            let mut offset = inner.offset.clone();
            offset.truncate(BASE);
            cut.write(&mut offset);
            self.keep(
                &mut inner,
                std::slice::from_ref(trail),
                &Except::new(),
                &packet,
                offset.clone(),
                now,
            );
            numbered.push((offset, packet));
        }
        let outcome = hand_on(numbered, before);
        self.trim(&mut inner);
        Ok(outcome)
    }

    /// Bytes of what [`Self::collect`] would find.
    pub fn weigh(&self, spans: &[Span], key: u64) -> Result<usize, Forgotten> {
        let inner = self.inner.lock();
        let numbers = numbers_of(spans, key)?;
        Ok(inner.meant(&numbers, key).map(|kept| kept.packet.len()).sum())
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

    /// The newest number so long ago.
    pub fn newest_before(&self, age: Duration) -> u64 {
        let inner = self.inner.lock();
        let now = self.began.elapsed();
        let younger = inner.kept.partition_point(|kept| now.saturating_sub(kept.since) > age);
        inner.newest - (inner.kept.len() - younger) as u64
    }

    /// Forgets what is too old.
    pub fn expire(&self) {
        let mut inner = self.inner.lock();
        self.trim(&mut inner);
        inner.forget_silent(self.began.elapsed(), self.most_age * 2);
    }

    /// What was sent before, offsets say nothing of any more: so long ago were its publishers heard.
    fn long_ago(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.most_age * 2)
    }

    fn trim(&self, inner: &mut Inner) {
        let (now, before) = (self.began.elapsed(), self.long_ago());
        let is_over = |inner: &Inner| {
            let is_old = |kept: &Kept| now.saturating_sub(kept.since) > self.most_age;
            inner.bytes > self.most_bytes || inner.kept.front().is_some_and(is_old)
        };
        while is_over(inner)
            && let Some(kept) = inner.kept.pop_front()
        {
            inner.bytes -= cost(&kept.packet);
            for trail in &kept.trails {
                trail.forget(inner.newest - inner.kept.len() as u64, &kept, before);
            }
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

/// What digits count by, of which ten last for a hundred years at a million packets a second.
const RADIX: u32 = 36;

/// A number as clients are told it.
fn digits(mut number: u64) -> [u8; DIGITS_LEN] {
    let mut digits = [b'0'; DIGITS_LEN];
    for place in digits.iter_mut().rev() {
        let digit = u32::try_from(number % u64::from(RADIX)).unwrap_or(0);
        *place = char::from_digit(digit, RADIX)
            .and_then(|digit| u8::try_from(digit).ok())
            .unwrap_or(b'0');
        number /= u64::from(RADIX);
    }
    digits
}

/// The cut that an offset of any instance ends with.
pub fn cut_named(offset: &str) -> Option<Cut> {
    Cut::read(offset.as_bytes().get(BASE..)?)
}

impl Replay {
    /// The number that a client names; `None` when it was never told one like this here.
    pub fn number(&self, offset: &str) -> Option<u64> {
        let digits = offset.as_bytes().get(..BASE)?.strip_prefix(&self.tag)?;
        let has_cut = (offset.len() - BASE).is_multiple_of(cut::ENTRY);
        let is_ours = has_cut && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z'));
        let digits = std::str::from_utf8(digits).ok().filter(|_| is_ours)?;
        let number = u64::from_str_radix(digits, RADIX).ok()?;
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

    fn put(replay: &Replay, trail: &Arc<Trail>, except: &Except, packet: &Packet) -> String {
        let trails = std::slice::from_ref(trail);
        replay.append(trails, except, packet, || {}, |packet| packet.args().to_owned())
    }

    fn append(replay: &Replay, trail: &Arc<Trail>, text: &str) -> String {
        put(replay, trail, &Except::new(), &packet(text))
    }

    fn tagged() -> Replay {
        let mut replay = Replay::new(LONG, 1 << 20);
        replay.tag = *b"-aZ9";
        replay.inner.lock().offset.put(0, b"-aZ9");
        replay
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
            let number = |(offset, _): &Missed| replay.number(offset.as_str()).unwrap();
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
        let replay = tagged();
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
        put(&replay, &trail, &Except::from_iter([7]), &packet("a"));
        append(&replay, &trail, "b");
        assert_eq!(missed(&replay, &[span(&trail, 0)], 7), Ok(vec![2]));
        assert_eq!(missed(&replay, &[span(&trail, 0)], 8), Ok(vec![1, 2]));
    }

    #[test]
    fn whoever_was_left_out_of_what_is_forgotten_can_be_told_everything() {
        let replay = Replay::new(LONG, 0);
        let trail = Arc::new(Trail::default());
        let but = |key: u64| drop(put(&replay, &trail, &Except::from_iter([key]), &packet("x")));
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

    fn published(text: &str, publisher: u64, number: u64) -> Packet {
        let packet = packet(text);
        packet.set_origin(Origin::Publication { publisher, number });
        packet
    }

    fn handed(packets: impl IntoIterator<Item = Packet>, cut: &Cut) -> Inheritance {
        let handed = |packet| Handed {
            packet,
            cut: cut.clone(),
        };
        Inheritance {
            missed: packets.into_iter().map(handed).collect(),
            cut: cut.clone(),
        }
    }

    /// What a socket inherits, as text, and where.
    fn inherit(replay: &Replay, inheritance: Inheritance, room: &Arc<Trail>, own: &Arc<Trail>) -> (String, u64) {
        let told = replay.inherit(inheritance, &[span(room, 0)], (1, own), |packets, before| {
            let text = |(offset, packet): &Missed| packet.with_offset(offset).args().to_owned();
            (packets.iter().map(text).collect::<String>(), before)
        });
        told.unwrap()
    }

    #[test]
    fn what_another_instance_brings_comes_first_and_what_is_known_there_not_twice() {
        let replay = tagged();
        let [room, own] = [(); 2].map(|()| Arc::new(Trail::default()));
        for packet in [
            published("x", 1, 1),
            published("x", 1, 2),
            published("y", 1, 3),
            packet("z"),
        ] {
            put(&replay, &room, &Except::new(), &packet);
        }
        let before = replay.cut();
        let missed_there = [published("x", 1, 1), packet("local"), published("x", 1, 2)];
        let inheritance = handed(missed_there, &Cut::default());
        let (told, number) = inherit(&replay, inheritance, &room, &own);
        let expected = [
            r#"["e","x","-aZ90000000005"]"#,
            r#"["e","local","-aZ90000000006"]"#,
            r#"["e","x","-aZ90000000007"]"#,
            r#"["e","y","-aZ90000000008AABAAAD"]"#,
            r#"["e","z","-aZ90000000009AABAAAD"]"#,
        ];
        assert_eq!((told, number), (expected.concat(), 4));
        assert_eq!(missed(&replay, &[span(&own, 6), span(&room, 4)], 1), Ok(vec![7, 8, 9]));
        assert_eq!(replay.cut(), before, "nothing was heard");
    }

    #[test]
    fn what_cannot_be_told_apart_is_taken_away_as_often_as_it_was_missed() {
        let replay = Replay::new(LONG, 1 << 20);
        let [room, own] = [(); 2].map(|()| Arc::new(Trail::default()));
        let same = || {
            let packet = packet("tick");
            packet.set_origin(Origin::Payload(7));
            packet
        };
        (0..3).for_each(|_| drop(put(&replay, &room, &Except::new(), &same())));
        let (told, _) = inherit(&replay, handed([same(), same()], &Cut::default()), &room, &own);
        assert_eq!(told.matches("tick").count(), 3);
    }

    #[test]
    fn an_offset_ends_with_what_was_heard_of_each_publisher() {
        let replay = tagged();
        let trail = Arc::new(Trail::default());
        let put = |packet: Packet| put(&replay, &trail, &Except::new(), &packet);
        assert_eq!(put(published("a", 1, 9)), r#"["e","a","-aZ90000000001AABAAAJ"]"#);
        assert_eq!(put(published("a", 2, 1)), r#"["e","a","-aZ90000000002AABAAAJAACAAAB"]"#);
        assert_eq!(put(packet("a")), r#"["e","a","-aZ90000000003AABAAAJAACAAAB"]"#);
        assert_eq!(
            put(published("a", 1, 10)),
            r#"["e","a","-aZ90000000004AABAAAKAACAAAB"]"#
        );
        assert_eq!(replay.number("-aZ90000000004AABAAAKAACAAAB"), Some(4));
        let own = packet("own");
        let sent = replay.append(
            std::slice::from_ref(&trail),
            &Except::new(),
            &own,
            || {
                own.set_origin(Origin::Publication {
                    publisher: 3,
                    number: 0,
                })
            },
            |packet| packet.args().to_owned(),
        );
        assert_eq!(sent, r#"["e","own","-aZ90000000005AABAAAKAACAAABAADAAAA"]"#);
    }

    #[test]
    fn what_an_instance_that_is_no_more_had_not_brought_is_found_by_what_was_seen_of_it() {
        let replay = Replay::new(LONG, 1 << 20);
        let [room, other] = [(); 2].map(|()| Arc::new(Trail::default()));
        let mut offsets = Vec::new();
        for (text, publisher, number) in [("a", 1, 4), ("b", 2, 7), ("c", 1, 5), ("d", 2, 8), ("e", 1, 6)] {
            offsets.push(replay.cut());
            put(&replay, &room, &Except::new(), &published(text, publisher, number));
        }
        put(&replay, &room, &Except::new(), &packet("of this instance alone"));
        put(&replay, &other, &Except::new(), &published("elsewhere", 2, 9));
        let missed = |seen: &Cut| {
            let found = replay.missed_elsewhere(seen, &[span(&room, 0)], (1, 2))?;
            Ok(found
                .missed
                .iter()
                .map(|handed| handed.packet.args()[6..7].to_owned())
                .collect::<String>())
        };
        // The other instance had heard them in another order.
        let seen = Cut::read(b"AABAAAFAACAAAG").unwrap();
        assert_eq!(missed(&seen), Ok("bde".to_owned()));
        assert_eq!(missed(&offsets[2]), Ok("cde".to_owned()));
        assert_eq!(missed(&replay.cut()), Ok(String::new()));
        assert_eq!(
            missed(&Cut::read(b"AAZAAAA").unwrap()),
            Err(Forgotten),
            "somebody unknown"
        );
        // It is here by now, and is left out by the number that it has here.
        put(&replay, &room, &Except::from_iter([2]), &published("f", 2, 10));
        assert_eq!(missed(&replay.cut()), Ok(String::new()));
        assert_eq!(missed(&offsets[4]), Ok("e".to_owned()));
        replay.not_heard(1, 4);
        assert_eq!(missed(&offsets[1]), Ok("bcde".to_owned()));
        replay.not_heard(1, 5);
        assert_eq!(missed(&offsets[1]), Err(Forgotten));
    }

    #[test]
    fn whoever_was_sent_nothing_for_long_has_missed_nothing_of_what_others_were_sent() {
        let replay = Replay::new(LONG, 2 * cost(&packet("x")));
        let [quiet, busy] = [(); 2].map(|()| Arc::new(Trail::default()));
        put(&replay, &quiet, &Except::new(), &published("x", 1, 1));
        let seen = replay.cut();
        put(&replay, &quiet, &Except::from_iter([1]), &published("x", 1, 2));
        (3..9).for_each(|number| drop(put(&replay, &busy, &Except::new(), &published("x", 1, number))));
        let missed = |trail, key| {
            let found = replay.missed_elsewhere(&seen, &[span(trail, 0)], (key, 9));
            found.map(|found| found.missed.len())
        };
        assert_eq!(missed(&quiet, 1), Ok(0));
        assert_eq!(missed(&quiet, 2), Err(Forgotten));
        assert_eq!(missed(&busy, 1), Err(Forgotten));
        put(&replay, &quiet, &Except::new(), &published("x", 2, 0));
        assert_eq!(missed(&quiet, 1), Ok(1));
        (0..3).for_each(|number| drop(put(&replay, &busy, &Except::new(), &published("x", 3, number))));
        assert_eq!(
            missed(&quiet, 1),
            Err(Forgotten),
            "of somebody of whom it had seen nothing"
        );
    }

    #[test]
    fn a_publisher_of_which_nothing_was_heard_for_long_is_left_out() {
        let replay = Replay::new(Duration::ZERO, 1 << 20);
        let trail = Arc::new(Trail::default());
        put(&replay, &trail, &Except::new(), &published("a", 1, 9));
        std::thread::sleep(Duration::from_millis(2));
        replay.expire();
        assert_eq!(replay.cut(), Cut::default());
        let sent = put(&replay, &trail, &Except::new(), &published("a", 2, 1));
        assert!(sent.ends_with("0000000002AACAAAB\"]"), "{sent}");
    }

    #[test]
    fn a_packet_that_goes_several_ways_has_one_number() {
        let replay = Replay::new(LONG, 1 << 20);
        let [one, other] = [(); 2].map(|()| Arc::new(Trail::default()));
        let trails = [one.clone(), other.clone()];
        replay.append(&trails, &Except::new(), &packet("a"), || {}, |_| ());
        append(&replay, &other, "b");
        assert_eq!(missed(&replay, &[span(&one, 0), span(&other, 0)], 1), Ok(vec![1, 2]));
        assert_eq!(missed(&replay, &[span(&one, 0)], 1), Ok(vec![1]));
        assert_eq!(replay.kept().0, 2);
    }

    #[test]
    fn what_came_some_time_ago_has_lower_numbers() {
        let replay = Replay::new(LONG, 1 << 20);
        let trail = Arc::new(Trail::default());
        assert_eq!(replay.newest_before(Duration::ZERO), 0);
        append(&replay, &trail, "a");
        std::thread::sleep(Duration::from_millis(5));
        append(&replay, &trail, "b");
        assert_eq!(replay.newest_before(Duration::from_millis(4)), 1);
        assert_eq!(replay.newest_before(LONG), 0);
    }

    proptest! {
        #[test]
        fn offsets_are_read_as_they_were_written(value in 0..u64::from(RADIX).pow(10)) {
            let replay = tagged();
            replay.newest.store(value, Ordering::Release);
            let mut offset = replay.inner.lock().offset.clone();
            offset.put(4, &digits(value));
            prop_assert_eq!(replay.number(offset.as_str()), Some(value));
        }
    }
}

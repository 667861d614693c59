//! The other instances of this package: who lives, what each has published, and what is known of its sockets.
//!
//! Time passes in beats of our own that came back through the bus, so that nobody is taken for lost while we are the ones
//! who hear nothing.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    log::{Body, Log},
    message::{Beat, Heard, Message, Snapshot, Totals, publisher},
    orphans::Orphans,
    replica::{News, Replica},
    sequence::{Arrival, Stream},
};
use crate::{
    disconnect::DisconnectReason,
    hub::{Cut, Replay, Socket},
    service::{Loss, Service},
};

/// Beats without a sign of life after which an instance is lost.
const SILENCE: u64 = 3;
/// Lost instances, and their sockets, that are remembered, so that their return can be told.
const MOST_REMEMBERED: usize = 1_024;
const MOST_SOCKETS_REMEMBERED: usize = 200_000;
/// Publications that a returning instance is asked for at most.
const MOST_MISSED: u64 = 16_384;
/// Rooms that are not known although sockets are in them, of which a note is kept.
const MOST_UNATTACHED: usize = 100_000;
/// Instances that are believed in; more are not of this world.
const MOST_INSTANCES: usize = 1_024;

/// Another instance.
#[derive(Debug)]
struct Instance {
    stream: Stream,
    /// The one before the next publication has not been handled yet.
    is_being_handled: bool,
    replica: Replica,
    heard_at: u64,
    beat: Beat,
    /// It has beaten since this instance joined, so the beat says what is to be known.
    has_beaten: bool,
}

/// An instance that was given up.
#[derive(Debug)]
struct Lost {
    uid: Arc<str>,
    /// Number of its first publication that was not heard.
    next_seq: u64,
    /// Its sockets, which have been told to be gone.
    sockets: HashSet<Box<str>>,
}

/// The other instances.
#[derive(Debug)]
pub(super) struct Instances {
    uid: Arc<str>,
    others: HashMap<Arc<str>, Instance>,
    /// In the order in which they were lost.
    lost: VecDeque<Lost>,
    /// Sockets of lost instances whose clients may come to this one.
    orphans: Orphans,
    /// What was sent lately, where clients may come for it.
    replay: Option<Arc<Replay>>,
    /// Rooms that sockets are in although no room of that id is known yet.
    unattached: HashSet<String>,
    beats: u64,
    ticked_at: Option<Instant>,
    /// Publications that never arrived.
    pub(super) missed: u64,
    /// Something that was not heard may have been about rooms.
    doubts_rooms: bool,
}

impl Instances {
    /// No other instance is known; `uid` is ours.
    pub(super) fn new(uid: Arc<str>, replay: Option<Arc<Replay>>) -> Self {
        Self {
            uid,
            others: HashMap::new(),
            lost: VecDeque::new(),
            orphans: Orphans::default(),
            replay,
            unattached: HashSet::new(),
            beats: 0,
            ticked_at: None,
            missed: 0,
            doubts_rooms: false,
        }
    }

    /// Whether something was missed since the last call that may have been about rooms: the directory knows.
    pub(super) fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubts_rooms)
    }

    /// Some publications of an instance will never be heard; the next one is this.
    fn miss(&mut self, uid: &str, count: u64) {
        self.missed = self.missed.saturating_add(count);
        self.doubts_rooms = true;
        let next = self.others.get(uid).map(|other| other.stream.next_seq());
        self.begin_at(uid, next.unwrap_or_default());
    }

    /// What an instance has published before this was not heard, or not all of it.
    fn begin_at(&self, uid: &str, next: u64) {
        if let (Some(replay), Some(last)) = (&self.replay, next.checked_sub(1)) {
            replay.not_heard(publisher(uid), last);
        }
    }

    /// The uid of this instance.
    pub(super) fn uid(&self) -> &Arc<str> {
        &self.uid
    }

    /// The number of the next publication of each other instance.
    pub(super) fn heard(&self) -> Heard {
        let next = |(uid, other): (&Arc<str>, &Instance)| (uid.clone(), other.stream.next_seq());
        self.others.iter().map(next).collect()
    }

    /// Whether an instance lives.
    pub(super) fn lives(&self, uid: &str) -> bool {
        self.others.contains_key(uid)
    }

    /// Whether of each instance but a lost one as much has been handled as a client has seen.
    pub(super) fn reach(&self, seen: &Cut, lost: Option<&str>) -> bool {
        let mut others = self.others.iter().filter(|(uid, _)| Some(&***uid) != lost);
        others.all(|(uid, other)| {
            let handled = other.stream.next_seq() - u64::from(other.is_being_handled);
            let newest = handled.checked_sub(1);
            newest.is_none_or(|newest| seen.is_reached_by(publisher(uid), newest))
        })
    }

    /// Whether everything before these numbers has been handled, or will never be; of those instances that are known.
    pub(super) fn have_heard(&self, heard: &Heard) -> bool {
        heard.iter().all(|(uid, next)| {
            let other = self.others.get(uid);
            other.is_none_or(|other| other.stream.next_seq() >= *next + u64::from(other.is_being_handled))
        })
    }

    /// A socket of this instance has gone to another one, where it was registered before.
    pub(super) fn appear(&self, service: &Service, former: &Socket) {
        for other in self.others.values() {
            other.replica.appear(service, former);
        }
    }

    /// Number of other instances that live.
    pub(super) fn len(&self) -> usize {
        self.others.len()
    }

    /// This instance joins: what is known of others may be old until they beat. They may still be on their way back, too:
    /// no pause between two attempts is longer than a beat.
    pub(super) fn join(&mut self) {
        let heard_at = self.beats + 1;
        for other in self.others.values_mut() {
            other.has_beaten = false;
            other.heard_at = heard_at;
        }
    }

    /// Number of other instances of which everything is known.
    pub(super) fn whole(&self) -> usize {
        let is_whole = |other: &&Instance| {
            let has_all = other.stream.next_seq() >= other.beat.next_seq && !other.stream.has_gap();
            other.has_beaten && has_all && other.replica.is_whole()
        };
        self.others.values().filter(is_whole).count()
    }

    /// Statistics of the others, as their last beats told, but for what is known better.
    pub(super) fn totals(&self) -> Vec<Totals> {
        let totals = |other: &Instance| Totals {
            active: other.replica.len() as u64,
            ..other.beat.stats
        };
        self.others.values().map(totals).collect()
    }

    /// The instance that has been ready for longest.
    pub(super) fn eldest(&self) -> Option<Arc<str>> {
        let ready = self.others.iter().filter(|(_, other)| other.beat.is_ready);
        ready
            .min_by_key(|(uid, other)| (other.beat.started_at, (*uid).clone()))
            .map(|(uid, _)| uid.clone())
    }

    /// Takes a publication, numbered, of another instance.
    pub(super) fn arrive(&mut self, log: &Log, uid: &str, seq: u64, arrival: Arrival) {
        let beats = self.beats;
        let Some(other) = self.instance(log, uid, seq) else {
            return;
        };
        other.heard_at = other.heard_at.max(beats);
        other.stream.arrive(seq, arrival);
        self.relieve(log, uid);
    }

    /// The next publication of an instance in order, if it is there. The one before has been handled.
    pub(super) fn pop(&mut self, uid: &str) -> Option<(u64, Arrival)> {
        let other = self.others.get_mut(uid)?;
        let next = other.stream.pop();
        other.is_being_handled = next.is_some();
        next
    }

    /// Asks for what is missing of an instance's publications.
    pub(super) fn ask_for_missing(&mut self, log: &Log, uid: &str) {
        let missing = self.others.get_mut(uid).and_then(|other| other.stream.missing(0));
        if let Some(range) = missing {
            log.send(Body::Inbox(uid.into(), Message::Resend(range.start, range.end)));
        }
    }

    /// Publications before this number cannot be had any more.
    pub(super) fn skip(&mut self, log: &Log, uid: &str, before: u64) {
        // Far beyond what it has told of itself, somebody else says so in its name.
        let is_its_own = |other: &Instance| before <= other.beat.next_seq.saturating_add(MOST_MISSED);
        if let Some(other) = self
            .others
            .get_mut(uid)
            .filter(|other| other.stream.next_seq() < before && is_its_own(other))
        {
            let missed = other.stream.skip_to(before);
            self.miss(uid, missed);
            self.ask_for_snapshot(log, uid);
        }
    }

    /// A sign of life.
    pub(super) fn beat(&mut self, log: &Log, uid: &str, beat: Beat) {
        let beats = self.beats;
        let Some(other) = self.instance(log, uid, beat.next_seq) else {
            return;
        };
        other.heard_at = other.heard_at.max(beats);
        other.stream.disown(beat.next_seq);
        let next = other.stream.next_seq();
        let is_behind_itself = next > beat.next_seq;
        let disagrees = next == beat.next_seq && !other.stream.has_gap() && !other.replica.agrees(beat.digest);
        let missing = other.stream.missing(beat.next_seq);
        let next_seq = beat.next_seq;
        other.beat = beat;
        other.has_beaten = true;
        if is_behind_itself {
            // Somebody else has published in its name.
            other.stream = Stream::starting_at(next_seq);
            self.begin_at(uid, next_seq);
        }
        if is_behind_itself || disagrees {
            self.doubts_rooms |= is_behind_itself;
            self.ask_for_snapshot(log, uid);
        } else if let Some(range) = missing {
            log.send(Body::Inbox(uid.into(), Message::Resend(range.start, range.end)));
        }
    }

    /// One of our beats has come back. Asks again for what was asked for in vain, and gives up those that are silent.
    /// Returns the instances of which something is not waited for any more, so that what waited behind it is in order.
    ///
    /// Beats that come in haste, because others asked for them or the bus stood still, are no measure of time: they count
    /// once in `pace`.
    pub(super) fn tick(&mut self, service: &Service, log: &Log, pace: Duration) -> Vec<Arc<str>> {
        let now = Instant::now();
        let mut relieved = Vec::new();
        if self.ticked_at.is_some_and(|ticked| now.duration_since(ticked) < pace) {
            return relieved;
        }
        self.ticked_at = Some(now);
        self.beats += 1;
        let uids: Vec<_> = self.others.keys().cloned().collect();
        for uid in uids {
            let Some(other) = self.others.get_mut(&uid) else {
                continue;
            };
            match other.stream.tick() {
                Some(Ok(range)) => log.send(Body::Inbox(uid.clone(), Message::Resend(range.start, range.end))),
                Some(Err(missed)) => {
                    self.miss(&uid, missed);
                    self.ask_for_snapshot(log, &uid);
                    relieved.push(uid);
                }
                None if other.replica.tick() => log.send(Body::Inbox(uid.clone(), Message::AskSnapshot)),
                None => {}
            }
        }
        self.give_up_silent(service);
        let loss = self.loss();
        self.orphans.give_up(service, &loss);
        relieved
    }

    fn give_up_silent(&mut self, service: &Service) {
        let silent = self.silent();
        let lost: Vec<_> = silent
            .into_iter()
            .filter_map(|uid| Some((uid.clone(), self.others.remove(&uid)?)))
            .collect();
        let loss = self.loss();
        for (uid, other) in lost {
            tracing::warn!(instance = &*uid, "an instance of the cluster is lost");
            // It may have been about to tell of a room.
            self.doubts_rooms = true;
            let next_seq = other.stream.next_seq();
            let is_spared = |socket: &Arc<Socket>| self.orphans.take(service, socket);
            let sockets = other.replica.lose_but(service, &loss, is_spared);
            self.lost.push_back(Lost { uid, next_seq, sockets });
        }
        let count = |lost: &VecDeque<Lost>| lost.iter().map(|lost| lost.sockets.len()).sum::<usize>();
        while self.lost.len() > MOST_REMEMBERED || count(&self.lost) > MOST_SOCKETS_REMEMBERED {
            self.lost.pop_front();
        }
    }

    /// Those to give up. If the one that would speak for them may be lost as well, one beat more shows it: otherwise
    /// nobody would speak for them.
    fn silent(&self) -> Vec<Arc<str>> {
        let silence = |other: &Instance| self.beats.saturating_sub(other.heard_at);
        let (silent, heard): (Vec<_>, Vec<_>) = self.others.iter().partition(|(_, other)| silence(other) >= SILENCE);
        let speaker = heard.into_iter().min_by_key(|(uid, _)| (*uid).clone());
        let is_doubtful = speaker.is_some_and(|(uid, other)| *uid < self.uid && silence(other) + 1 >= SILENCE);
        if is_doubtful && silent.iter().all(|(_, other)| silence(other) == SILENCE) {
            return Vec::new();
        }
        silent.into_iter().map(|(uid, _)| uid.clone()).collect()
    }

    /// An instance has ended.
    pub(super) fn bye(&mut self, service: &Service, uid: &str) {
        if let Some(other) = self.others.remove(uid) {
            let _gone = other.replica.lose(service, &Loss::Unannounced);
        }
    }

    /// Takes a part of a snapshot. True when it was the last.
    pub(super) fn snapshot(&mut self, service: &Service, log: &Log, uid: &str, snapshot: Snapshot) -> bool {
        let leads = self.leads();
        let beats = self.beats;
        let Some(other) = self.instance(log, uid, snapshot.since) else {
            return false;
        };
        other.heard_at = other.heard_at.max(beats);
        for (_, rooms) in &snapshot.sockets {
            let unknown = rooms.iter().filter(|room| service.hub.room(room).is_none());
            let room = MOST_UNATTACHED.saturating_sub(self.unattached.len());
            self.unattached.extend(unknown.take(room).cloned());
        }
        let Some(other) = self.others.get_mut(uid) else {
            return false;
        };
        other.replica.take(service, snapshot, leads)
    }

    /// Takes news of an instance's sockets.
    pub(super) fn news(&mut self, service: &Service, log: &Log, uid: &str, seq: u64, news: News) {
        let rooms = match &news {
            News::Joined(_, room, _) => std::slice::from_ref(room),
            News::Connected(_, rooms) => rooms,
            _ => &[],
        };
        for room in rooms {
            if service.hub.room(room).is_none() && self.unattached.len() < MOST_UNATTACHED {
                self.unattached.insert(room.clone());
            }
        }
        let Some(other) = self.others.get_mut(uid) else { return };
        if !other.replica.learn(service, seq, news) {
            log.send(Body::Inbox(uid.into(), Message::AskSnapshot));
        }
    }

    /// A socket of an instance.
    pub(super) fn socket(&self, uid: &str, socket_id: &str) -> Option<Arc<Socket>> {
        self.others.get(uid)?.replica.socket(socket_id).cloned()
    }

    /// A room has become known.
    pub(super) fn attach(&mut self, service: &Service, room_id: &str) {
        if self.unattached.remove(room_id) {
            for other in self.others.values() {
                other.replica.attach(service, room_id);
            }
        }
    }

    /// How sockets of a lost instance are lost from here.
    fn loss(&self) -> Loss {
        match self.leads() {
            true => Loss::InPlace(DisconnectReason::InstanceLost),
            false => Loss::Unannounced,
        }
    }

    /// Whether this instance speaks for lost ones: the one with the smallest uid does.
    fn leads(&self) -> bool {
        self.others.keys().all(|uid| *uid > self.uid)
    }

    /// Too much waits behind a gap: what is missing is given up.
    fn relieve(&mut self, log: &Log, uid: &str) {
        let missed = self.others.get_mut(uid).and_then(|other| other.stream.relieve());
        if let Some(missed) = missed {
            self.miss(uid, missed);
            self.ask_for_snapshot(log, uid);
        }
    }

    fn ask_for_snapshot(&mut self, log: &Log, uid: &str) {
        if let Some(other) = self.others.get_mut(uid) {
            other.replica.ask_again();
            log.send(Body::Inbox(uid.into(), Message::AskSnapshot));
        }
    }

    /// An instance; one that was not known is asked for a snapshot. Its next publication has this number.
    fn instance(&mut self, log: &Log, uid: &str, next: u64) -> Option<&mut Instance> {
        if !self.others.contains_key(uid) {
            if self.others.len() >= MOST_INSTANCES {
                return None;
            }
            let key: Arc<str> = uid.into();
            log.send(Body::Inbox(key.clone(), Message::AskSnapshot));
            let lost = self.lost.iter().position(|lost| lost.uid == key);
            let lost = lost.and_then(|index| self.lost.remove(index));
            // What it has published since it was heard last is asked for.
            let missed = lost.as_ref().map_or(0, |lost| next.saturating_sub(lost.next_seq));
            let next = if missed <= MOST_MISSED { next - missed } else { next };
            self.begin_at(uid, next);
            self.doubts_rooms |= missed > MOST_MISSED;
            let other = Instance {
                stream: Stream::starting_at(next),
                is_being_handled: false,
                replica: Replica::new(key.clone(), lost.map(|lost| lost.sockets)),
                heard_at: self.beats,
                beat: Beat::default(),
                has_beaten: false,
            };
            self.others.insert(key, other);
        }
        self.others.get_mut(uid)
    }
}

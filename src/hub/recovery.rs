//! What a socket keeps so that its client may lose its connection and come back: a secret, and what it was sent where.
//!
//! Nothing of it is known to others: whoever has the secret is the client.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, OnceLock},
    time::Instant,
};

use parking_lot::{Mutex, MutexGuard};

use super::{
    cut::Cut,
    replay::{Replay, Span, Trail},
};
use crate::{disconnect::DisconnectReason, wire::id};

/// Characters of a secret.
const LENGTH: usize = 20;

/// What a client says that comes back.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Claim {
    /// Its secret.
    pub secret: String,
    /// The offset of what it saw last; none when it has seen nothing.
    pub offset: Option<String>,
}

/// What a socket keeps so that its client may come back.
#[derive(Debug)]
pub struct Recovery {
    /// The secret that the client shows, Socket.IO's `pid`.
    secret: Box<str>,
    /// What was sent to the socket alone.
    trail: Arc<Trail>,
    stays: Mutex<Stays>,
    turn: Mutex<Turn>,
    /// What its client had seen, or was not meant to see, when the socket was registered.
    began: OnceLock<Cut>,
    /// How often the socket has come from one instance to another.
    moves: u32,
}

/// Which connection the socket is on. Held while that changes.
#[derive(Debug, Default)]
pub struct Turn {
    /// Counts the connections that the socket has been on.
    pub connection: u32,
    /// Why it is on none, and since when.
    pub away: Option<(DisconnectReason, Instant)>,
    /// The client has come back.
    pub has_returned: bool,
    /// It is on its way from another instance, and what its client has missed there is not known yet.
    pub is_coming: bool,
}

/// Where a socket was when.
#[derive(Debug, Default)]
struct Stays {
    /// The newest number when it came into a room.
    since: HashMap<RoomNumber, u64>,
    /// Rooms that it has left, where something was sent to it.
    ended: VecDeque<Span>,
    /// The newest number that was sent to it in rooms of which nothing more is known here.
    floor: u64,
    /// Of those rooms of which nothing more is known although something of them is kept, where that was sent last.
    overflowed: Option<Span>,
    /// Of a socket that another instance had before: what its client named when it came, and the number here that it stands
    /// for.
    inherited: Option<(Option<String>, u64)>,
}

/// Rooms left that are kept apart; of more, the client must have seen everything.
const MOST_ENDED: usize = 256;

/// A room, as [`Recovery`] knows it: by a number that no other room has meanwhile.
pub(super) type RoomNumber = u64;

/// A room, and what was sent there.
pub type Place = (RoomNumber, Arc<Trail>);

impl Recovery {
    /// `None` when the system has no random bytes.
    pub fn new() -> Option<Self> {
        let secret = id::random::<LENGTH>()?;
        let secret = std::str::from_utf8(&secret).ok()?;
        Some(Self::of(secret, false))
    }

    /// Of a client that another instance has given this secret, and that has come here from there, or not.
    pub fn of(secret: &str, has_come: bool) -> Self {
        Self {
            secret: secret.into(),
            trail: Arc::default(),
            stays: Mutex::default(),
            turn: Mutex::new(Turn {
                has_returned: has_come,
                is_coming: has_come,
                ..Turn::default()
            }),
            began: OnceLock::new(),
            moves: 0,
        }
    }

    /// As it is after the socket has come so often from one instance to another.
    pub fn after_moves(self, moves: u32) -> Self {
        Self { moves, ..self }
    }

    /// How often the socket has come from one instance to another: of two instances that say to have it, the one to which it
    /// came later is right.
    pub fn moves(&self) -> u32 {
        self.moves
    }

    /// What its client had seen, or was not meant to see, when the socket was registered.
    pub fn began(&self) -> Cut {
        self.began.get().cloned().unwrap_or_default()
    }

    /// Says what its client has seen, or is not meant to see; only the first call counts.
    pub fn begin(&self, cut: Cut) {
        let _ = self.began.set(cut);
    }

    /// The secret that the client shows.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The number that a client names here. `None` when it was never told what it names, or not here.
    pub fn number(&self, named: Option<&str>, replay: &Replay) -> Option<u64> {
        let stays = self.stays.lock();
        match (&stays.inherited, named) {
            (Some((offset, number)), named) if offset.as_deref() == named => Some(*number),
            (None, None) => Some(0),
            (Some(_), None) => None,
            (_, Some(named)) => replay.number(named),
        }
    }

    /// The client has come from another instance, where it named this; all that it had missed then is behind this number.
    pub fn inherit(&self, named: Option<String>, number: u64) {
        let mut stays = self.stays.lock();
        for since in stays.since.values_mut() {
            *since = number;
        }
        stays.ended.retain_mut(|span| {
            span.after = span.after.max(number);
            span.until > number
        });
        stays.floor = number;
        stays.inherited = Some((named, number));
    }

    /// The socket is on another instance now: what was kept for it is for it, and it has been in its rooms since then. `last`:
    /// the newest number that was sent to it alone.
    pub fn follow(&self, former: &Self, last: Option<u64>) {
        let (since, ended, overflowed) = {
            let stays = former.stays.lock();
            (stays.since.clone(), stays.ended.clone(), stays.overflowed.clone())
        };
        let own = last.map(|until| Span {
            trail: former.trail.clone(),
            after: 0,
            until,
        });
        let mut stays = self.stays.lock();
        for (room, before) in since {
            stays.since.entry(room).and_modify(|since| *since = before.min(*since));
        }
        stays.overflowed = overflowed;
        for span in ended.into_iter().chain(own) {
            stays.end(span);
        }
    }

    /// Whether a text may be somebody's secret.
    pub fn may_be_secret(text: &str) -> bool {
        text.len() == LENGTH
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    }

    /// What was sent to the socket alone.
    pub fn trail(&self) -> &Arc<Trail> {
        &self.trail
    }

    /// Which connection the socket is on. Comes before the locks of the socket and of rooms.
    pub fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock()
    }

    /// Whether the client has lost its connection.
    pub fn is_away(&self) -> bool {
        self.turn.lock().away.is_some()
    }

    /// Whether the socket is on its way from another instance.
    pub fn is_coming(&self) -> bool {
        self.turn.lock().is_coming
    }

    /// Whether the client has come back.
    pub fn has_returned(&self) -> bool {
        self.turn.lock().has_returned
    }

    /// The socket came into its rooms at times that are not known here.
    pub fn came_before(&self) {
        for since in self.stays.lock().since.values_mut() {
            *since = 0;
        }
    }

    /// The socket came into a room when this was the newest number. Under the room's lock.
    pub fn came(&self, room: RoomNumber, newest: u64) {
        self.stays.lock().since.insert(room, newest);
    }

    /// The socket has left a room, in which this was sent; `last` finds the newest number after one that was for it. Under
    /// the room's lock.
    pub fn left(&self, room: RoomNumber, trail: Option<&Arc<Trail>>, last: impl FnOnce(&Trail, u64) -> Option<u64>) {
        let mut stays = self.stays.lock();
        let after = stays.since.remove(&room).unwrap_or_default();
        let Some((trail, until)) = trail.and_then(|trail| Some((trail.clone(), last(trail, after)?))) else {
            return;
        };
        stays.end(Span { trail, after, until });
    }

    /// What the client may have missed after an offset, in the places where it is and in those that it has left; `None`
    /// when that is not known any more.
    pub fn missed(&self, offset: u64, places: &[Place]) -> Option<Vec<Span>> {
        let stays = self.stays.lock();
        (offset >= stays.floor).then(|| self.spans(&stays, offset, places))
    }

    /// Everything that is kept of what was sent to the socket, in the places where it is and in those that it has left; `None`
    /// when that is not known any more.
    pub fn kept(&self, places: &[Place]) -> Option<Vec<Span>> {
        let stays = self.stays.lock();
        let is_whole = stays.overflowed.as_ref().is_none_or(Span::is_forgotten);
        is_whole.then(|| self.spans(&stays, 0, places))
    }

    fn spans(&self, stays: &Stays, offset: u64, places: &[Place]) -> Vec<Span> {
        let current = places.iter().filter_map(|(room, trail)| {
            // Without, the room was deleted just now, and is one of those that it has left.
            let since = *stays.since.get(room)?;
            Some(Span {
                trail: trail.clone(),
                after: since.max(offset),
                until: u64::MAX,
            })
        });
        let ended = stays.ended.iter().filter(|span| span.until > offset).map(|span| Span {
            after: span.after.max(offset),
            ..span.clone()
        });
        let own = Span {
            trail: self.trail.clone(),
            after: offset,
            until: u64::MAX,
        };
        current.chain(ended).chain([own]).collect()
    }
}

impl Stays {
    /// The socket has left where this was sent to it.
    fn end(&mut self, span: Span) {
        self.ended.push_back(span);
        while self.ended.len() > MOST_ENDED || self.ended.front().is_some_and(Span::is_forgotten) {
            let Some(oldest) = self.ended.pop_front() else { break };
            self.floor = self.floor.max(oldest.until);
            let is_later = |former: &Span| former.until < oldest.until;
            if !oldest.is_forgotten() && self.overflowed.as_ref().is_none_or(is_later) {
                self.overflowed = Some(oldest);
            }
        }
    }
}

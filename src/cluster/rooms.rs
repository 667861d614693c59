//! The rooms of the cluster, in a Redis hash, so that they survive every instance.
//!
//! What this instance creates or deletes is noted here and written before it is published. A deleted room leaves a mark
//! in the hash for a while, from which instances that were away learn of it. A room without room or mark in the hash was
//! not deleted: Redis has lost it, started again empty or with what it had saved before, and whoever knows the room
//! writes it again.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::message::RoomFacts;
use crate::{
    clock,
    redis::{ConnectionError, Connections},
};

/// What the mark of a deleted room begins with, which no JSON object does; the time of the deletion follows.
const MARK: u8 = b'~';
/// How long the mark of a deleted room stays, in milliseconds.
const MARK_AGE: u64 = 60 * 60 * 1_000;
/// Fields that one command writes.
const PAGE: usize = 512;
/// How long after a refusal writing is tried again.
const REFUSAL_PAUSE: Duration = Duration::from_secs(2);
/// Deleted rooms that are remembered, so that no late news brings them back.
const MOST_DELETED: usize = 10_000;

#[derive(Debug, Default)]
struct Inner {
    /// Rooms to write, or else to take out.
    unwritten: HashMap<String, Option<RoomFacts>>,
    deleted: HashSet<String>,
    deleted_order: VecDeque<String>,
    /// Marks that this instance has written, oldest first, and is to take away.
    marks: VecDeque<(u64, String)>,
    refused_at: Option<Instant>,
}

impl Inner {
    /// Remembers a deleted room.
    fn remember(&mut self, room_id: &str) {
        if self.deleted.insert(room_id.to_owned()) {
            self.deleted_order.push_back(room_id.to_owned());
        }
        if self.deleted_order.len() > MOST_DELETED
            && let Some(oldest) = self.deleted_order.pop_front()
        {
            self.deleted.remove(&oldest);
        }
    }
}

/// The directory of rooms.
#[derive(Debug)]
pub(super) struct Directory {
    key: String,
    inner: Mutex<Inner>,
    /// What is noted is written by one task at a time: an older note never overtakes a newer one.
    writing: tokio::sync::Mutex<()>,
}

/// What the directory says.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The rooms that it holds.
    pub(super) rooms: Vec<RoomFacts>,
    /// Of the rooms that were known, those that another instance has deleted.
    pub(super) deleted: Vec<String>,
}

impl Directory {
    pub(super) fn new(key: String) -> Self {
        Self {
            key,
            inner: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// A room was created here.
    pub(super) fn created(&self, room: RoomFacts) {
        self.inner.lock().unwritten.insert(room.id.clone(), Some(room));
    }

    /// A room was deleted: here, and so to be taken out, or elsewhere.
    pub(super) fn deleted(&self, room_id: &str, here: bool) {
        let mut inner = self.inner.lock();
        if here {
            inner.unwritten.insert(room_id.to_owned(), None);
        } else {
            inner.unwritten.remove(room_id);
        }
        inner.remember(room_id);
    }

    /// Whether a room was deleted not long ago.
    pub(super) fn is_deleted(&self, room_id: &str) -> bool {
        self.inner.lock().deleted.contains(room_id)
    }

    /// Writes what was created and deleted here; what cannot be written stays noted.
    pub(super) async fn write(&self, connections: &Connections) -> Result<(), ConnectionError> {
        if !self.is_due() {
            return Ok(());
        }
        let _alone = self.writing.lock().await;
        let written = self.write_noted(connections).await;
        if let Err(ConnectionError::Refused(_)) = &written {
            self.inner.lock().refused_at = Some(Instant::now());
        }
        written
    }

    fn is_due(&self) -> bool {
        let inner = self.inner.lock();
        let is_refused = inner.refused_at.is_some_and(|at| at.elapsed() < REFUSAL_PAUSE);
        let is_outdated = |(time, _): &(u64, String)| clock::now_ms().saturating_sub(*time) > MARK_AGE;
        !is_refused && (!inner.unwritten.is_empty() || inner.marks.front().is_some_and(is_outdated))
    }

    async fn write_noted(&self, connections: &Connections) -> Result<(), ConnectionError> {
        let noted = self.inner.lock().unwritten.clone();
        let now = clock::now_ms();
        let fields: Vec<_> = noted
            .iter()
            .filter_map(|(id, room)| field(id, room.as_ref(), now))
            .collect();
        for page in fields.chunks(PAGE) {
            connections.hash_set(&self.key, page.to_vec()).await?;
        }
        let outdated = {
            let mut inner = self.inner.lock();
            // Unless it has changed meanwhile.
            inner.unwritten.retain(|id, room| noted.get(id) != Some(room));
            let deleted = noted.into_iter().filter(|(_, room)| room.is_none());
            inner.marks.extend(deleted.map(|(id, _)| (now, id)));
            let count = inner
                .marks
                .iter()
                .take_while(|(time, _)| now.saturating_sub(*time) > MARK_AGE)
                .count();
            inner.marks.drain(..count).map(|(_, id)| id).collect()
        };
        self.take_away(connections, outdated).await
    }

    async fn take_away(&self, connections: &Connections, ids: Vec<String>) -> Result<(), ConnectionError> {
        for page in ids.chunks(PAGE) {
            connections.hash_delete(&self.key, page.to_vec()).await?;
        }
        Ok(())
    }

    /// Reads the hash. `known`: the rooms of the registry, as they were before; those that Redis has lost are noted to
    /// be written again.
    pub(super) async fn read(
        &self,
        connections: &Connections,
        known: Vec<RoomFacts>,
    ) -> Result<Contents, ConnectionError> {
        self.write(connections).await?;
        let fields = connections.hash_all(&self.key).await?;
        let (contents, outdated) = self.compare(known, fields, clock::now_ms());
        self.take_away(connections, outdated).await?;
        self.write(connections).await?;
        Ok(contents)
    }

    /// What the fields of the hash say; and the marks that have stood for long enough.
    fn compare(
        &self,
        known: Vec<RoomFacts>,
        fields: impl IntoIterator<Item = (String, Bytes)>,
        now: u64,
    ) -> (Contents, Vec<String>) {
        let (mut rooms, mut marked, mut outdated) = (Vec::new(), HashSet::new(), Vec::new());
        for (id, value) in fields {
            if let Some(time) = time_of_mark(&value) {
                if now.saturating_sub(time) > MARK_AGE {
                    outdated.push(id.clone());
                }
                marked.insert(id);
                continue;
            }
            match serde_json::from_slice::<RoomFacts>(&value) {
                Ok(room) if room.id == id => rooms.push(room),
                _ => tracing::warn!(room = id, "an entry of the directory of rooms is not readable"),
            }
        }
        let inner = &mut *self.inner.lock();
        // Redis has lost the mark, and has the room again.
        rooms.retain(|room| {
            let is_deleted = inner.deleted.contains(&room.id);
            if is_deleted {
                inner.unwritten.insert(room.id.clone(), None);
            }
            !is_deleted
        });
        let present: HashSet<&str> = rooms.iter().map(|room| &*room.id).collect();
        marked.iter().for_each(|id| inner.remember(id));
        let mut deleted = Vec::new();
        for room in known {
            if marked.contains(&room.id) {
                deleted.push(room.id);
            } else if !present.contains(&*room.id) && !inner.deleted.contains(&room.id) {
                inner.unwritten.entry(room.id.clone()).or_insert(Some(room));
            }
        }
        (Contents { rooms, deleted }, outdated)
    }
}

/// A room as a field of the hash; or the mark of a deleted one.
fn field(id: &str, room: Option<&RoomFacts>, now: u64) -> Option<(String, Vec<u8>)> {
    let value = match room {
        Some(room) => serde_json::to_vec(room).ok()?,
        None => format!("{}{now}", char::from(MARK)).into_bytes(),
    };
    Some((id.to_owned(), value))
}

/// When a room was deleted, if this is the mark of a deleted one.
fn time_of_mark(value: &[u8]) -> Option<u64> {
    let time = value.strip_prefix(&[MARK])?;
    std::str::from_utf8(time).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(id: &str) -> RoomFacts {
        RoomFacts {
            id: id.to_owned(),
            name: id.to_owned(),
            namespace: "default".to_owned(),
            created_at: 1,
            created_by: None,
            metadata: None,
        }
    }

    fn fields(rooms: &[&str], marks: &[(&str, u64)]) -> Vec<(String, Bytes)> {
        let rooms = rooms.iter().filter_map(|id| field(id, Some(&room(id)), 0));
        let marks = marks.iter().filter_map(|(id, time)| field(id, None, *time));
        rooms.chain(marks).map(|(id, value)| (id, value.into())).collect()
    }

    fn unwritten(directory: &Directory) -> Vec<(String, bool)> {
        let inner = directory.inner.lock();
        let mut noted: Vec<_> = inner
            .unwritten
            .iter()
            .map(|(id, room)| (id.clone(), room.is_some()))
            .collect();
        noted.sort_unstable();
        noted
    }

    #[test]
    fn a_room_was_deleted_elsewhere_when_its_mark_says_so() {
        let directory = Directory::new("key".to_owned());
        directory.created(room("mine"));
        let known = vec![room("kept"), room("gone"), room("mine")];
        let (contents, outdated) = directory.compare(known, fields(&["kept"], &[("gone", 5)]), 6);
        assert_eq!(contents.deleted, ["gone"]);
        assert!(directory.is_deleted("gone"), "late news do not bring it back");
        assert_eq!(contents.rooms, [room("kept")]);
        assert!(outdated.is_empty());
        assert_eq!(unwritten(&directory), [("mine".to_owned(), true)]);
    }

    #[test]
    fn known_rooms_are_written_again_when_redis_has_lost_them() {
        let directory = Directory::new("key".to_owned());
        let (first, _) = directory.compare(vec![room("kept"), room("lost")], fields(&["kept"], &[]), 0);
        assert!(
            first.deleted.is_empty(),
            "Redis may have started with what it had saved before"
        );
        assert_eq!(unwritten(&directory), [("lost".to_owned(), true)]);
    }

    #[test]
    fn a_room_that_comes_back_with_what_redis_had_saved_stays_deleted() {
        let directory = Directory::new("key".to_owned());
        directory.deleted("gone", false);
        let (contents, _) = directory.compare(Vec::new(), fields(&["gone"], &[]), 0);
        assert!(contents.rooms.is_empty());
        assert_eq!(unwritten(&directory), [("gone".to_owned(), false)]);
    }

    #[test]
    fn marks_are_taken_away_after_a_while() {
        let directory = Directory::new("key".to_owned());
        let (_, outdated) = directory.compare(Vec::new(), fields(&[], &[("old", 1), ("new", 2)]), MARK_AGE + 2);
        assert_eq!(outdated, ["old"]);
    }

    #[test]
    fn deleted_rooms_are_remembered_in_bounds() {
        let directory = Directory::new("key".to_owned());
        (0..=MOST_DELETED).for_each(|number| directory.deleted(&number.to_string(), false));
        assert!(!directory.is_deleted("0"));
        assert!(directory.is_deleted("1") && directory.is_deleted(&MOST_DELETED.to_string()));
    }
}

//! The rooms of the cluster in the store, so that they survive every instance.
//!
//! What this instance creates or deletes is noted here and written before it is published. A deleted room leaves a mark
//! in the store for a while, from which instances that were away learn of it. A room without room or mark in the store
//! was not deleted: the store has lost it, started again empty or with what it had saved before, and whoever knows the room
//! writes it again.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    bus::{BusError, Store},
    message::RoomFacts,
};
use crate::clock;

/// What the mark of a deleted room begins with, which no JSON object does; the time of the deletion follows.
const MARK: u8 = b'~';
/// How long the mark of a deleted room stays, in milliseconds.
const MARK_AGE: u64 = 60 * 60 * 1_000;
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

/// The rooms of all instances.
pub(super) struct Rooms {
    store: Arc<dyn Store>,
    inner: Mutex<Inner>,
    /// What is noted is written by one task at a time: an older note never overtakes a newer one.
    writing: tokio::sync::Mutex<()>,
}

/// What the store says.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The rooms that it holds.
    pub(super) rooms: Vec<RoomFacts>,
    /// Of the rooms that were known, those that another instance has deleted.
    pub(super) deleted: Vec<String>,
}

impl Rooms {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
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
    pub(super) async fn write(&self) -> Result<(), BusError> {
        if !self.is_due() {
            return Ok(());
        }
        let _alone = self.writing.lock().await;
        let written = self.write_noted().await;
        if written.as_ref().is_err_and(BusError::is_refused) {
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

    async fn write_noted(&self) -> Result<(), BusError> {
        let noted = self.inner.lock().unwritten.clone();
        let now = clock::now_ms();
        let fields: Vec<_> = noted
            .iter()
            .filter_map(|(id, room)| field(id, room.as_ref(), now))
            .collect();
        if !fields.is_empty() {
            self.store.put_rooms(fields).await?;
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
        self.take_away(outdated).await
    }

    async fn take_away(&self, ids: Vec<String>) -> Result<(), BusError> {
        match ids.is_empty() {
            true => Ok(()),
            false => self.store.delete_rooms(ids).await,
        }
    }

    /// Reads the store. `known`: the rooms of the registry, as they were before; those that it has lost are noted to
    /// be written again.
    pub(super) async fn read(&self, known: Vec<RoomFacts>) -> Result<Contents, BusError> {
        self.write().await?;
        let fields = self.store.rooms().await?;
        let (contents, outdated) = self.compare(known, fields, clock::now_ms());
        self.take_away(outdated).await?;
        self.write().await?;
        Ok(contents)
    }

    /// What is stored says; and the marks that have stood for long enough.
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
                _ => tracing::warn!(room = id, "a stored room is not readable"),
            }
        }
        let inner = &mut *self.inner.lock();
        // The store has lost the mark, and has the room again.
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

/// A room as it is stored; or the mark of a deleted one.
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
    use crate::cluster::bus::memory::MemoryStore;

    fn rooms() -> Rooms {
        Rooms::new(Arc::new(MemoryStore::default()))
    }

    fn room(id: &str) -> RoomFacts {
        RoomFacts {
            id: id.to_owned(),
            name: id.to_owned(),
            namespace: "default".to_owned(),
            created_at: 1,
            created_by: None,
            metadata: None,
            membership_events: None,
            private: false,
        }
    }

    fn fields(rooms: &[&str], marks: &[(&str, u64)]) -> Vec<(String, Bytes)> {
        let rooms = rooms.iter().filter_map(|id| field(id, Some(&room(id)), 0));
        let marks = marks.iter().filter_map(|(id, time)| field(id, None, *time));
        rooms.chain(marks).map(|(id, value)| (id, value.into())).collect()
    }

    fn unwritten(rooms: &Rooms) -> Vec<(String, bool)> {
        let inner = rooms.inner.lock();
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
        let stored = rooms();
        stored.created(room("mine"));
        let known = vec![room("kept"), room("gone"), room("mine")];
        let (contents, outdated) = stored.compare(known, fields(&["kept"], &[("gone", 5)]), 6);
        assert_eq!(contents.deleted, ["gone"]);
        assert!(stored.is_deleted("gone"), "late news do not bring it back");
        assert_eq!(contents.rooms, [room("kept")]);
        assert!(outdated.is_empty());
        assert_eq!(unwritten(&stored), [("mine".to_owned(), true)]);
    }

    #[test]
    fn known_rooms_are_written_again_when_the_store_has_lost_them() {
        let stored = rooms();
        let (first, _) = stored.compare(vec![room("kept"), room("lost")], fields(&["kept"], &[]), 0);
        assert!(
            first.deleted.is_empty(),
            "the store may have started with what it had saved before"
        );
        assert_eq!(unwritten(&stored), [("lost".to_owned(), true)]);
    }

    #[test]
    fn a_room_that_comes_back_with_what_the_store_had_saved_stays_deleted() {
        let stored = rooms();
        stored.deleted("gone", false);
        let (contents, _) = stored.compare(Vec::new(), fields(&["gone"], &[]), 0);
        assert!(contents.rooms.is_empty());
        assert_eq!(unwritten(&stored), [("gone".to_owned(), false)]);
    }

    #[test]
    fn marks_are_taken_away_after_a_while() {
        let stored = rooms();
        let (_, outdated) = stored.compare(Vec::new(), fields(&[], &[("old", 1), ("new", 2)]), MARK_AGE + 2);
        assert_eq!(outdated, ["old"]);
    }

    #[test]
    fn deleted_rooms_are_remembered_in_bounds() {
        let stored = rooms();
        (0..=MOST_DELETED).for_each(|number| stored.deleted(&number.to_string(), false));
        assert!(!stored.is_deleted("0"));
        assert!(stored.is_deleted("1") && stored.is_deleted(&MOST_DELETED.to_string()));
    }
}

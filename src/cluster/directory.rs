//! The rooms of the cluster, in a Redis hash, so that they survive every instance.
//!
//! What this instance creates or deletes is noted here and written before it is published. A field of the hash names
//! its epoch: with the epoch that was seen last, a room that is not in the hash was deleted by another instance;
//! with another one, Redis has lost what it held, and the rooms that are known are written again.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    connection::{ConnectionError, Connections},
    record::RoomFacts,
};
use crate::hub::SocketId;

/// Field that names the epoch; no room has this id.
const EPOCH: &str = "~epoch";
/// Deleted rooms that are remembered, so that no late news brings them back.
const MOST_DELETED: usize = 10_000;

#[derive(Debug, Default)]
struct Inner {
    /// Rooms to write, or else to take out.
    unwritten: HashMap<String, Option<RoomFacts>>,
    epoch: Option<Bytes>,
    deleted: HashSet<String>,
    deleted_order: VecDeque<String>,
}

/// The directory of rooms.
#[derive(Debug)]
pub(super) struct Directory {
    key: String,
    inner: Mutex<Inner>,
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
        if inner.deleted.insert(room_id.to_owned()) {
            inner.deleted_order.push_back(room_id.to_owned());
        }
        if inner.deleted_order.len() > MOST_DELETED
            && let Some(oldest) = inner.deleted_order.pop_front()
        {
            inner.deleted.remove(&oldest);
        }
    }

    /// Whether a room was deleted not long ago.
    pub(super) fn is_deleted(&self, room_id: &str) -> bool {
        self.inner.lock().deleted.contains(room_id)
    }

    /// Writes what was created and deleted here; what cannot be written stays noted.
    pub(super) async fn write(&self, connections: &Connections) -> Result<(), ConnectionError> {
        let noted = {
            let inner = self.inner.lock();
            if inner.unwritten.is_empty() {
                return Ok(());
            }
            inner.unwritten.clone()
        };
        let (created, deleted): (Vec<_>, Vec<_>) = noted.iter().partition(|(_, room)| room.is_some());
        let fields: Vec<_> = created
            .into_iter()
            .filter_map(|(id, room)| Some((id.clone(), serde_json::to_vec(room.as_ref()?).ok()?)))
            .collect();
        if !fields.is_empty() {
            connections.hash_set(&self.key, fields).await?;
        }
        if !deleted.is_empty() {
            let ids = deleted.into_iter().map(|(id, _)| id.clone()).collect();
            connections.hash_delete(&self.key, ids).await?;
        }
        let mut inner = self.inner.lock();
        // Unless it has changed meanwhile.
        inner.unwritten.retain(|id, room| noted.get(id) != Some(room));
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
        let new_epoch = SocketId::random().map_or_else(Vec::new, |id| id.as_str().as_bytes().to_vec());
        connections.hash_set_new(&self.key, EPOCH, new_epoch).await?;
        let mut contents = Contents::default();
        let mut epoch = None;
        for (id, value) in connections.hash_all(&self.key).await? {
            if id == EPOCH {
                epoch = Some(value);
            } else {
                match serde_json::from_slice::<RoomFacts>(&value) {
                    Ok(room) if room.id == id => contents.rooms.push(room),
                    _ => tracing::warn!(room = id, "an entry of the directory of rooms is not readable"),
                }
            }
        }
        contents.deleted = self.compare(known, &contents.rooms, epoch);
        self.write(connections).await?;
        Ok(contents)
    }

    fn compare(&self, known: Vec<RoomFacts>, rooms: &[RoomFacts], epoch: Option<Bytes>) -> Vec<String> {
        let present: HashSet<&str> = rooms.iter().map(|room| &*room.id).collect();
        let mut inner = self.inner.lock();
        let is_same = inner.epoch.is_some() && inner.epoch == epoch;
        inner.epoch = epoch;
        let mut deleted = Vec::new();
        for room in known {
            if present.contains(&*room.id) || inner.unwritten.contains_key(&room.id) {
                continue;
            }
            if is_same {
                deleted.push(room.id);
            } else {
                inner.unwritten.insert(room.id.clone(), Some(room));
            }
        }
        deleted
    }
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

    fn directory_of_epoch(epoch: &'static str) -> Directory {
        let directory = Directory::new("key".to_owned());
        directory.inner.lock().epoch = Some(Bytes::from_static(epoch.as_bytes()));
        directory
    }

    #[test]
    fn a_known_room_that_redis_has_no_more_was_deleted_elsewhere() {
        let directory = directory_of_epoch("one");
        directory.created(room("mine"));
        let known = vec![room("kept"), room("gone"), room("mine")];
        let deleted = directory.compare(known, &[room("kept")], Some(Bytes::from_static(b"one")));
        assert_eq!(deleted, ["gone"], "not the one that is yet to be written");
    }

    #[test]
    fn known_rooms_are_written_again_when_redis_has_lost_them() {
        let directory = directory_of_epoch("one");
        let known = vec![room("kept"), room("lost")];
        let deleted = directory.compare(known, &[room("kept")], Some(Bytes::from_static(b"two")));
        assert!(deleted.is_empty());
        let unwritten: Vec<_> = directory.inner.lock().unwritten.keys().cloned().collect();
        assert_eq!(unwritten, ["lost"]);
    }

    #[test]
    fn deleted_rooms_are_remembered_in_bounds() {
        let directory = Directory::new("key".to_owned());
        (0..=MOST_DELETED).for_each(|number| directory.deleted(&number.to_string(), false));
        assert!(!directory.is_deleted("0"));
        assert!(directory.is_deleted("1") && directory.is_deleted(&MOST_DELETED.to_string()));
    }
}

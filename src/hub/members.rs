//! Who is in a room: constant-time changes, shared snapshots for the fan-out, and a journal for JavaScript's live sets.

use std::{collections::HashMap, sync::Arc};

use super::User;

/// A change of membership, in order.
#[derive(Debug, Clone)]
pub enum Change {
    /// The socket joined.
    Joined(Arc<User>),
    /// The socket left.
    Left(Arc<User>),
}

#[derive(Debug)]
struct Slot {
    shard: usize,
    index: usize,
    order: u64,
    typing: bool,
}

/// The members of a room. A snapshot stays as it was; a change copies a part only while a snapshot of it is in use.
#[derive(Debug)]
pub struct Members {
    slots: HashMap<u64, Slot>,
    parts: Vec<Arc<Vec<Arc<User>>>>,
    next_order: u64,
    /// Changes that JavaScript has not heard of; `None` when it is to be told everything anew.
    journal: Option<Vec<Change>>,
}

/// Changes kept for JavaScript beyond the number of members; telling everything is cheaper then.
const JOURNAL_SLACK: usize = 1024;

impl Members {
    /// No members, in `shards` parts.
    pub fn new(shards: usize) -> Self {
        Self {
            slots: HashMap::new(),
            parts: vec![Arc::default(); shards.max(1)],
            next_order: 0,
            journal: None,
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nobody is in the room.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether the socket is a member.
    pub fn contains(&self, key: u64) -> bool {
        self.slots.contains_key(&key)
    }

    /// Adds a member; false when it was one already.
    pub fn insert(&mut self, user: &Arc<User>) -> bool {
        let shard = user.shard(self.parts.len());
        let Some(part) = self.parts.get_mut(shard) else {
            return false;
        };
        let std::collections::hash_map::Entry::Vacant(slot) = self.slots.entry(user.key()) else {
            return false;
        };
        slot.insert(Slot {
            shard,
            index: part.len(),
            order: self.next_order,
            typing: false,
        });
        self.next_order += 1;
        Arc::make_mut(part).push(user.clone());
        self.note(Change::Joined(user.clone()));
        true
    }

    /// Removes a member and tells whether it was typing; `None` when it was none.
    pub fn remove(&mut self, key: u64) -> Option<bool> {
        let slot = self.slots.remove(&key)?;
        let part = Arc::make_mut(self.parts.get_mut(slot.shard)?);
        if slot.index >= part.len() {
            return None;
        }
        let user = part.swap_remove(slot.index);
        if let Some(moved) = part.get(slot.index).and_then(|moved| self.slots.get_mut(&moved.key())) {
            moved.index = slot.index;
        }
        self.note(Change::Left(user));
        Some(slot.typing)
    }

    /// Notes whether a member is typing and returns what was noted before; `None` when it is no member.
    pub fn set_typing(&mut self, key: u64, typing: bool) -> Option<bool> {
        self.slots
            .get_mut(&key)
            .map(|slot| std::mem::replace(&mut slot.typing, typing))
    }

    /// The members of each part, as they are now.
    pub fn snapshot(&self) -> impl Iterator<Item = (usize, &Arc<Vec<Arc<User>>>)> {
        self.parts.iter().enumerate().filter(|(_, part)| !part.is_empty())
    }

    /// The members in the order in which they joined.
    pub fn in_order(&self) -> Vec<Arc<User>> {
        let mut users: Vec<_> = self.parts.iter().flat_map(|part| part.iter().cloned()).collect();
        users.sort_unstable_by_key(|user| self.slots.get(&user.key()).map_or(0, |slot| slot.order));
        users
    }

    /// Takes everyone out.
    pub fn clear(&mut self) -> Vec<Arc<User>> {
        let users = self.in_order();
        self.slots.clear();
        for part in &mut self.parts {
            *part = Arc::default();
        }
        self.journal = None;
        users
    }

    /// Changes since the last call. At first, and when there were too many, all members instead, and true.
    pub fn take_changes(&mut self) -> (bool, Vec<Change>) {
        match &mut self.journal {
            Some(journal) => (false, std::mem::take(journal)),
            None => {
                self.journal = Some(Vec::new());
                (true, self.in_order().into_iter().map(Change::Joined).collect())
            }
        }
    }

    fn note(&mut self, change: Change) {
        if let Some(journal) = &mut self.journal {
            journal.push(change);
            if journal.len() > self.slots.len() + JOURNAL_SLACK {
                self.journal = None;
            }
        }
    }
}

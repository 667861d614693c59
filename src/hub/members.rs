//! Who is in a room: constant-time changes, shared snapshots for the fan-out, and a journal for JavaScript's live sets.
//!
//! Members on other instances of the cluster count and are listed like the others, but are no part of any snapshot. What
//! a member is, is not known here.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use super::{Except, replay::Trail};
use crate::link::Link;

/// Whoever can be a member: sockets, which know the rooms that they are in.
pub trait Recipient {
    /// Number that is unique in the process.
    fn key(&self) -> u64;
    /// The way to the client.
    fn link(&self) -> Arc<dyn Link>;
    /// Whether it is connected to another instance.
    fn is_remote(&self) -> bool;
}

/// A change of membership, in order.
#[derive(Debug, Clone)]
pub enum Change<R> {
    /// The socket joined.
    Joined(Arc<R>),
    /// The socket left.
    Left(Arc<R>),
}

#[derive(Debug)]
struct Slot {
    /// Part; one past the last for members on other instances.
    shard: usize,
    index: usize,
    order: u64,
    typing: bool,
}

/// A member, with the way to it at hand: a delivery need not look into the socket.
#[derive(Debug)]
pub struct Member<R> {
    link: Arc<dyn Link>,
    socket: Arc<R>,
}

impl<R> Clone for Member<R> {
    fn clone(&self) -> Self {
        Self {
            link: self.link.clone(),
            socket: self.socket.clone(),
        }
    }
}

impl<R: Recipient> Member<R> {
    fn new(socket: &Arc<R>) -> Self {
        Self {
            link: socket.link(),
            socket: socket.clone(),
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Arc<R> {
        &self.socket
    }

    /// The way to its connection.
    pub fn link(&self) -> &Arc<dyn Link> {
        &self.link
    }
}

/// The members of a room. A snapshot stays as it was; a change copies a part only while a snapshot of it is in use.
#[derive(Debug)]
pub struct Members<R> {
    slots: HashMap<u64, Slot>,
    parts: Vec<Arc<Vec<Member<R>>>>,
    remote: Vec<Arc<R>>,
    next_order: u64,
    /// Changes that JavaScript has not heard of; `None` when it is to be told everything anew.
    journal: Option<Vec<Change<R>>>,
    /// Numbers of what was sent to all of them lately.
    trail: OnceLock<Arc<Trail>>,
}

/// Changes kept for JavaScript beyond the number of members; telling everything is cheaper then.
const JOURNAL_SLACK: usize = 1024;

/// Which of `shards` parts a connection belongs to.
pub(crate) fn shard_of(key: u64, shards: usize) -> usize {
    usize::try_from(key).unwrap_or(0) % shards.max(1)
}

impl<R: Recipient> Members<R> {
    /// No members, in `shards` parts.
    pub fn new(shards: usize) -> Self {
        Self {
            slots: HashMap::new(),
            parts: (0..shards.max(1)).map(|_| Arc::default()).collect(),
            remote: Vec::new(),
            next_order: 0,
            journal: None,
            trail: OnceLock::new(),
        }
    }

    /// Number of members, those on other instances included.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many members are connected to this instance, these sockets left out.
    pub fn local_len(&self, except: &Except) -> usize {
        let left_out = except.count(|key| {
            let slot = self.slots.get(&key);
            slot.is_some_and(|slot| slot.shard < self.parts.len())
        });
        self.slots.len() - self.remote.len() - left_out
    }

    /// Keys of the members that are connected to this instance, in no order.
    pub fn local_keys(&self) -> impl Iterator<Item = u64> {
        let members = self.parts.iter().flat_map(|part| part.iter());
        members.map(|member| member.socket.key())
    }

    /// Keys of all members, in no order.
    pub fn keys(&self) -> impl Iterator<Item = u64> {
        self.slots.keys().copied()
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
    pub fn insert(&mut self, socket: &Arc<R>) -> bool {
        let shard = match socket.is_remote() {
            true => self.parts.len(),
            false => shard_of(socket.key(), self.parts.len()),
        };
        let std::collections::hash_map::Entry::Vacant(slot) = self.slots.entry(socket.key()) else {
            return false;
        };
        let index = match self.parts.get_mut(shard) {
            Some(part) => {
                Arc::make_mut(part).push(Member::new(socket));
                part.len() - 1
            }
            None => {
                self.remote.push(socket.clone());
                self.remote.len() - 1
            }
        };
        slot.insert(Slot {
            shard,
            index,
            order: self.next_order,
            typing: false,
        });
        self.next_order += 1;
        self.note(Change::Joined(socket.clone()));
        true
    }

    /// Removes a member and tells whether it was typing; `None` when it was none.
    pub fn remove(&mut self, key: u64) -> Option<bool> {
        let slot = self.slots.remove(&key)?;
        let (socket, moved) = match self.parts.get_mut(slot.shard) {
            Some(part) => {
                let part = Arc::make_mut(part);
                let member = swap_remove(part, slot.index)?;
                (member.socket, part.get(slot.index).map(|moved| moved.socket.key()))
            }
            None => {
                let socket = swap_remove(&mut self.remote, slot.index)?;
                (socket, self.remote.get(slot.index).map(|moved| moved.key()))
            }
        };
        if let Some(moved) = moved.and_then(|key| self.slots.get_mut(&key)) {
            moved.index = slot.index;
        }
        self.note(Change::Left(socket));
        Some(slot.typing)
    }

    /// The way to a member, if it is one, has changed.
    pub fn relink(&mut self, socket: &Arc<R>) {
        let place = self.slots.get(&socket.key()).map(|slot| (slot.shard, slot.index));
        let part = place.and_then(|(shard, index)| Some((self.parts.get_mut(shard)?, index)));
        let member = part.and_then(|(part, index)| Arc::make_mut(part).get_mut(index));
        if let Some(member) = member {
            *member = Member::new(socket);
        }
    }

    /// Numbers of what was sent to all of them lately, if there was anything.
    pub fn trail(&self) -> Option<&Arc<Trail>> {
        self.trail.get()
    }

    /// As [`Members::trail`], to send something.
    pub fn begin_trail(&self) -> &Arc<Trail> {
        self.trail.get_or_init(Arc::default)
    }

    /// Notes whether a member is typing and returns what was noted before; `None` when it is no member.
    pub fn set_typing(&mut self, key: u64, typing: bool) -> Option<bool> {
        self.slots
            .get_mut(&key)
            .map(|slot| std::mem::replace(&mut slot.typing, typing))
    }

    /// The members of each part, as they are now; none of those on other instances.
    pub fn snapshot(&self) -> impl Iterator<Item = (usize, &Arc<Vec<Member<R>>>)> {
        self.parts.iter().enumerate().filter(|(_, part)| !part.is_empty())
    }

    /// The members in the order in which they joined.
    pub fn in_order(&self) -> Vec<Arc<R>> {
        let mut sockets: Vec<_> = self
            .parts
            .iter()
            .flat_map(|part| part.iter().map(|member| member.socket.clone()))
            .chain(self.remote.iter().cloned())
            .collect();
        sockets.sort_unstable_by_key(|socket| self.slots.get(&socket.key()).map_or(0, |slot| slot.order));
        sockets
    }

    /// As [`Members::in_order`], those connected to this instance only.
    pub fn local_in_order(&self) -> Vec<Arc<R>> {
        let mut sockets = self.in_order();
        sockets.retain(|socket| !socket.is_remote());
        sockets
    }

    /// Takes everyone out.
    pub fn clear(&mut self) -> Vec<Arc<R>> {
        let sockets = self.in_order();
        self.slots.clear();
        for part in &mut self.parts {
            *part = Arc::default();
        }
        self.remote = Vec::new();
        self.journal = None;
        sockets
    }

    /// Changes since the last call. At first, and when there were too many, all members instead, and true.
    pub fn take_changes(&mut self) -> (bool, Vec<Change<R>>) {
        match &mut self.journal {
            Some(journal) => (false, std::mem::take(journal)),
            None => {
                self.journal = Some(Vec::new());
                (true, self.in_order().into_iter().map(Change::Joined).collect())
            }
        }
    }

    fn note(&mut self, change: Change<R>) {
        if let Some(journal) = &mut self.journal {
            journal.push(change);
            if journal.len() > self.slots.len() + JOURNAL_SLACK {
                self.journal = None;
            }
        }
    }
}

fn swap_remove<T>(list: &mut Vec<T>, index: usize) -> Option<T> {
    (index < list.len()).then(|| list.swap_remove(index))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::wire::packet::Packet;

    #[derive(Debug)]
    struct Nowhere;

    impl Link for Nowhere {
        fn send(&self, _: &Packet, _: bool) -> bool {
            false
        }
    }

    /// Somebody with a number.
    #[derive(Debug)]
    struct Somebody(u64, Arc<dyn Link>);

    impl Recipient for Somebody {
        fn key(&self) -> u64 {
            self.0
        }

        fn link(&self) -> Arc<dyn Link> {
            self.1.clone()
        }

        fn is_remote(&self) -> bool {
            false
        }
    }

    type Members = super::Members<Somebody>;

    fn socket(key: u64) -> Arc<Somebody> {
        Arc::new(Somebody(key, Arc::new(Nowhere)))
    }

    fn keys_of(members: &[Member<Somebody>]) -> Vec<u64> {
        members.iter().map(|member| member.socket().key()).collect()
    }

    fn keys(sockets: &[Arc<Somebody>]) -> Vec<u64> {
        sockets.iter().map(|socket| socket.key()).collect()
    }

    /// Sockets with these keys, in two parts.
    fn members(keys: std::ops::Range<u64>) -> Members {
        let mut members = Members::new(2);
        for key in keys {
            assert!(members.insert(&socket(key)));
        }
        members
    }

    #[test]
    fn whoever_is_left_out_twice_counts_once() {
        let members = members(0..3);
        assert_eq!(members.local_len(&[1, 7, 1].into_iter().collect()), 2);
    }

    #[test]
    fn joining_twice_is_once() {
        let mut members = members(0..1);
        assert!(!members.insert(&socket(0)));
        assert_eq!((members.len(), members.in_order().len()), (1, 1));
    }

    #[test]
    fn any_order_of_leaving_takes_out_the_right_member() {
        // Every order in which four members of one part may leave.
        for order in 0..24_u64 {
            let mut left: Vec<u64> = vec![0, 2, 4, 6];
            let mut members = Members::new(2);
            left.iter().for_each(|key| assert!(members.insert(&socket(*key))));
            let mut choice = order;
            for remaining in (1..=4).rev() {
                let key = left.remove(usize::try_from(choice % remaining).unwrap());
                choice /= remaining;
                assert_eq!(members.remove(key), Some(false), "{key} in order {order}");
                assert_eq!(members.remove(key), None, "{key} in order {order}");
                assert_eq!(keys(&members.in_order()), left, "order {order}");
                assert!(left.iter().all(|key| members.contains(*key)));
            }
            assert!(members.is_empty());
            assert_eq!(members.snapshot().count(), 0);
        }
    }

    #[test]
    fn members_are_listed_in_the_order_in_which_they_joined() {
        let mut members = members(0..6);
        members.remove(1);
        members.insert(&socket(1));
        assert_eq!(keys(&members.in_order()), [0, 2, 3, 4, 5, 1]);
    }

    #[test]
    fn a_snapshot_stays_as_it_was() {
        let mut members = members(0..4);
        let before: Vec<_> = members
            .snapshot()
            .map(|(part, sockets)| (part, sockets.clone()))
            .collect();
        members.remove(0);
        members.insert(&socket(9));
        members.clear();
        let seen: Vec<_> = before.iter().map(|(part, members)| (*part, keys_of(members))).collect();
        assert_eq!(seen, [(0, vec![0, 2]), (1, vec![1, 3])]);
        assert!(members.is_empty());
    }

    #[test]
    fn typing_is_remembered_until_the_member_leaves() {
        let mut members = members(0..2);
        assert_eq!(members.set_typing(0, true), Some(false));
        assert_eq!(members.set_typing(0, true), Some(true));
        assert_eq!(members.set_typing(7, true), None);
        assert_eq!(members.remove(0), Some(true));
        assert_eq!(members.remove(1), Some(false));
    }

    fn told(members: &mut Members) -> (bool, Vec<String>) {
        let (anew, changes) = members.take_changes();
        let changes = changes.iter().map(|change| match change {
            Change::Joined(socket) => format!("+{}", socket.key()),
            Change::Left(socket) => format!("-{}", socket.key()),
        });
        (anew, changes.collect())
    }

    #[test]
    fn changes_are_told_once_and_in_order() {
        let mut members = members(0..2);
        assert_eq!(told(&mut members), (true, vec!["+0".into(), "+1".into()]));
        assert_eq!(told(&mut members), (false, vec![]));
        members.remove(0);
        members.insert(&socket(5));
        members.remove(8);
        assert_eq!(told(&mut members), (false, vec!["-0".into(), "+5".into()]));
    }

    #[test]
    fn too_many_changes_are_told_anew() {
        let mut members = members(0..1);
        told(&mut members);
        for _ in 0..JOURNAL_SLACK {
            members.insert(&socket(3));
            members.remove(3);
        }
        assert!(members.journal.is_none(), "the journal grows without bound");
        members.insert(&socket(4));
        assert_eq!(told(&mut members), (true, vec!["+0".into(), "+4".into()]));
        members.remove(4);
        assert_eq!(told(&mut members), (false, vec!["-4".into()]));
    }

    /// What happens to a room: somebody, named by its number, joins, leaves or types; or JavaScript hears of the changes.
    #[derive(Debug, Clone)]
    enum Step {
        Join(u64),
        Leave(u64),
        Type(u64, bool),
        Hear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0_u64..20).prop_map(Step::Join),
            4 => (0_u64..20).prop_map(Step::Leave),
            2 => (0_u64..20, any::<bool>()).prop_map(|(key, typing)| Step::Type(key, typing)),
            1 => Just(Step::Hear),
        ]
    }

    /// Adds what is told to what was heard before.
    fn hear(heard: &mut Vec<u64>, members: &mut Members) {
        let (anew, changes) = members.take_changes();
        if anew {
            heard.clear();
        }
        for change in changes {
            match change {
                Change::Joined(socket) => heard.push(socket.key()),
                Change::Left(socket) => heard.retain(|key| *key != socket.key()),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn members_are_as_a_list_has_them_and_as_javascript_hears_of_them(steps in vec(step(), 0..200)) {
            let (mut members, mut heard) = (Members::new(3), Vec::new());
            let mut expected: Vec<(u64, bool)> = Vec::new();
            for step in steps {
                let place = |key: u64| expected.iter().position(|(other, _)| *other == key);
                match step {
                    Step::Join(key) => {
                        let is_new = place(key).is_none();
                        prop_assert_eq!(members.insert(&socket(key)), is_new);
                        if is_new {
                            expected.push((key, false));
                        }
                    }
                    Step::Leave(key) => {
                        let was = place(key).map(|place| expected.remove(place).1);
                        prop_assert_eq!(members.remove(key), was);
                    }
                    Step::Type(key, typing) => {
                        let was = place(key).map(|place| std::mem::replace(&mut expected[place].1, typing));
                        prop_assert_eq!(members.set_typing(key, typing), was);
                    }
                    Step::Hear => hear(&mut heard, &mut members),
                }
                let listed: Vec<u64> = expected.iter().map(|(key, _)| *key).collect();
                prop_assert_eq!(keys(&members.in_order()), listed);
                prop_assert_eq!(members.len(), expected.len());
                for (part, sockets) in members.snapshot() {
                    prop_assert!(sockets.iter().all(|member| shard_of(member.socket().key(), 3) == part));
                }
            }
            hear(&mut heard, &mut members);
            prop_assert_eq!(heard, expected.into_iter().map(|(key, _)| key).collect::<Vec<_>>());
        }
    }

    #[test]
    fn clearing_returns_everyone_and_is_told_anew() {
        let mut members = members(0..3);
        told(&mut members);
        assert_eq!(keys(&members.clear()), [0, 1, 2]);
        assert_eq!(told(&mut members), (true, vec![]));
    }
}

//! The messages of one room, oldest first, kept within the configured retention.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use crate::{config::HistoryConfig, wire::packet::Packet};

/// A chat message as it was sent; its packet is `["message", {…}]`.
#[derive(Debug)]
pub struct StoredMessage {
    /// Position in the room's history, counted from 0 over the room's life.
    pub seq: u64,
    /// The packet that the members received.
    pub packet: Packet,
    /// When it was sent, milliseconds since the epoch.
    pub timestamp: u64,
}

/// The id of a chat message, which is the first member of its JSON.
fn message_id(packet: &Packet) -> Option<&str> {
    let rest = packet.args().strip_prefix(MESSAGE_PREFIX)?.strip_prefix("{\"id\":\"")?;
    rest.split_once('"').map(|(id, _)| id)
}

/// The number that an id stands for, if it is one of ours.
fn number(id: &str) -> Option<u128> {
    uuid::Uuid::parse_str(id).ok().map(|id| id.as_u128())
}

/// How `["message",` precedes the message's JSON in its packet.
pub(crate) const MESSAGE_PREFIX: &str = "[\"message\",";

impl StoredMessage {
    /// The `Message` object as JSON.
    pub fn json(&self) -> &str {
        self.packet
            .args()
            .strip_prefix(MESSAGE_PREFIX)
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or("{}")
    }

    /// The number that its id stands for.
    fn number(&self) -> Option<u128> {
        number(message_id(&self.packet)?)
    }
}

/// Position of a room's first message. There is place before it, for what is restored.
const FIRST_SEQ: u64 = 1 << 32;

/// The kept messages of a room.
#[derive(Debug)]
pub struct History {
    messages: VecDeque<Arc<StoredMessage>>,
    next_seq: u64,
    last_timestamp: Option<u64>,
    /// What was sent before this instance could hear it has been asked for.
    pub is_restored: bool,
    /// Ids of the newest messages that were restored: they may be heard as well.
    expected: HashSet<String>,
    /// Positions by id, from when one was first looked for.
    index: Option<HashMap<u128, u64>>,
}

/// Restored messages that may still be on their way.
const EXPECTED: usize = 256;

impl Default for History {
    fn default() -> Self {
        Self {
            messages: VecDeque::new(),
            next_seq: FIRST_SEQ,
            last_timestamp: None,
            is_restored: false,
            expected: HashSet::new(),
            index: None,
        }
    }
}

impl History {
    /// Puts older messages, oldest first, before those that are kept, unless they are among them.
    pub fn restore(&mut self, older: Vec<(Packet, u64)>, now: u64, keep: &HistoryConfig) {
        let known: HashSet<String> = self
            .messages
            .iter()
            .filter_map(|message| message_id(&message.packet).map(str::to_owned))
            .collect();
        let mut seen = HashSet::new();
        let missing: Vec<_> = older
            .into_iter()
            .filter(|(packet, _)| {
                let id = message_id(packet);
                id.is_some_and(|id| !known.contains(id) && seen.insert(id.to_owned()))
            })
            .collect();
        let newest = missing.iter().rev().take(EXPECTED);
        self.expected = newest
            .filter_map(|(packet, _)| message_id(packet).map(str::to_owned))
            .collect();
        let mut seq = self.first_seq();
        for (packet, timestamp) in missing.into_iter().rev() {
            let Some(before) = seq.checked_sub(1) else { break };
            seq = before;
            self.last_timestamp = self.last_timestamp.max(Some(timestamp));
            self.messages
                .push_front(Arc::new(StoredMessage { seq, packet, timestamp }));
        }
        self.index = None;
        self.prune(now, keep);
    }

    /// Appends a message and drops what retention no longer keeps.
    pub fn push(&mut self, packet: Packet, now: u64, keep: &HistoryConfig) -> Arc<StoredMessage> {
        let message = Arc::new(StoredMessage {
            seq: self.next_seq,
            packet,
            timestamp: now,
        });
        self.next_seq += 1;
        self.last_timestamp = Some(now);
        if let (Some(index), Some(id)) = (&mut self.index, message.number()) {
            index.insert(id, message.seq);
        }
        self.messages.push_back(message.clone());
        self.prune(now, keep);
        message
    }

    /// As [`History::push`], for a message of another instance, which may have been restored before it was heard.
    pub fn push_heard(&mut self, packet: &Packet, now: u64, keep: &HistoryConfig) {
        let is_known = !self.expected.is_empty() && message_id(packet).is_some_and(|id| self.expected.remove(id));
        if !is_known {
            self.push(packet.clone(), now, keep);
        }
    }

    /// Drops what retention no longer keeps.
    pub fn prune(&mut self, now: u64, keep: &HistoryConfig) {
        if let Some(most) = keep.max_messages_per_room {
            while self.messages.len() > most {
                self.drop_oldest();
            }
        }
        if let Some(age) = keep.max_age_ms {
            while self
                .messages
                .front()
                .is_some_and(|message| now.saturating_sub(message.timestamp) > age)
            {
                self.drop_oldest();
            }
        }
        if self.messages.capacity() > 64 && self.messages.len() < self.messages.capacity() / 4 {
            self.messages.shrink_to(self.messages.len() * 2);
        }
    }

    fn drop_oldest(&mut self) {
        let message = self.messages.pop_front();
        let id = message.and_then(|message| message.number());
        if let (Some(index), Some(id)) = (&mut self.index, id) {
            index.remove(&id);
        }
    }

    /// Position of the kept message of this id.
    pub fn position(&mut self, id: &str) -> Option<u64> {
        let messages = &self.messages;
        let numbered = || {
            messages
                .iter()
                .filter_map(|message| Some((message.number()?, message.seq)))
        };
        let index = self.index.get_or_insert_with(|| numbered().collect());
        index.get(&number(id)?).copied()
    }

    /// Number of kept messages.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Position of the oldest kept message; the next message's when none is kept.
    pub fn first_seq(&self) -> u64 {
        self.messages.front().map_or(self.next_seq, |message| message.seq)
    }

    /// When the newest message was sent, even if it is no longer kept.
    pub fn last_timestamp(&self) -> Option<u64> {
        self.last_timestamp
    }

    /// Positions of the kept messages, without holes.
    pub fn positions(&self) -> Range<u64> {
        self.first_seq()..self.next_seq
    }

    /// The kept ones of the messages at these positions, oldest first.
    pub fn range(&self, positions: RangeInclusive<u64>) -> impl DoubleEndedIterator<Item = &Arc<StoredMessage>> {
        let first = self.first_seq();
        let index = |seq: u64| {
            let index = usize::try_from(seq.saturating_sub(first)).unwrap_or(usize::MAX);
            index.min(self.messages.len())
        };
        let end = index(positions.end().saturating_add(1));
        self.messages.range(index(*positions.start()).min(end)..end)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.messages = VecDeque::new();
        self.expected = HashSet::new();
        self.index = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(text: &str) -> Packet {
        Packet::event("message", &format!("{{\"content\":\"{text}\"}}"))
    }

    #[test]
    fn messages_are_found_by_position() {
        let keep = HistoryConfig {
            max_messages_per_room: Some(3),
            max_age_ms: None,
            persist: false,
        };
        let mut history = History::default();
        for text in ["a", "b", "c", "d"] {
            history.push(packet(text), 1, &keep);
        }
        let at = |positions| history.range(positions).map(|message| message.seq).collect::<Vec<_>>();
        assert_eq!(history.positions(), FIRST_SEQ + 1..FIRST_SEQ + 4);
        assert_eq!(at(FIRST_SEQ + 1..=FIRST_SEQ + 2), [FIRST_SEQ + 1, FIRST_SEQ + 2]);
        assert_eq!(at(0..=u64::MAX), [FIRST_SEQ + 1, FIRST_SEQ + 2, FIRST_SEQ + 3]);
        assert!(at(0..=0).is_empty() && at(FIRST_SEQ + 4..=FIRST_SEQ + 9).is_empty());
        #[expect(clippy::reversed_empty_ranges, reason = "what JavaScript could ask for")]
        let reversed = at(FIRST_SEQ + 3..=FIRST_SEQ + 1);
        assert!(reversed.is_empty());
        let newest = history
            .range(FIRST_SEQ + 3..=FIRST_SEQ + 3)
            .next()
            .map(|message| message.json());
        assert_eq!(newest, Some(r#"{"content":"d"}"#));
    }

    #[test]
    fn retention_drops_by_count_and_by_age() {
        let keep = HistoryConfig {
            max_messages_per_room: Some(3),
            max_age_ms: Some(10),
            persist: false,
        };
        let mut history = History::default();
        for now in [0, 1, 2, 3] {
            history.push(packet("x"), now, &keep);
        }
        assert_eq!((history.len(), history.first_seq()), (3, FIRST_SEQ + 1));
        history.prune(12, &keep);
        assert_eq!((history.len(), history.first_seq()), (2, FIRST_SEQ + 2));
        history.prune(100, &keep);
        assert_eq!((history.len(), history.first_seq()), (0, FIRST_SEQ + 4));
        assert_eq!(history.last_timestamp(), Some(3));
    }

    #[test]
    fn messages_are_found_by_id_for_as_long_as_they_are_kept() {
        let keep = HistoryConfig {
            max_messages_per_room: Some(2),
            ..HistoryConfig::default()
        };
        let id = |number: u128| uuid::Uuid::from_u128(number).to_string();
        let message = |number| Packet::event("message", &format!("{{\"id\":\"{}\"}}", id(number)));
        let mut history = History::default();
        history.push(message(1), 1, &keep);
        assert_eq!(history.position(&id(1)), Some(FIRST_SEQ));
        history.push(message(2), 1, &keep);
        history.push(message(3), 1, &keep);
        assert_eq!(history.position(&id(1)), None, "it is not kept any more");
        assert_eq!(history.position(&id(3)), Some(FIRST_SEQ + 2));
        assert_eq!(history.index.as_ref().map(HashMap::len), Some(2));
        assert_eq!((history.position("nonsense"), history.position("")), (None, None));
        history.restore(vec![(message(4), 0)], 1, &HistoryConfig::default());
        assert_eq!(history.position(&id(4)), Some(FIRST_SEQ));
    }

    #[test]
    fn a_message_that_was_restored_before_it_was_heard_is_kept_once() {
        let keep = HistoryConfig::default();
        let message = |id: &str| Packet::event("message", &format!("{{\"id\":\"{id}\"}}"));
        let mut history = History::default();
        history.restore(vec![(message("a"), 1), (message("b"), 2)], 3, &keep);
        history.push_heard(&message("b"), 2, &keep);
        history.push_heard(&message("c"), 3, &keep);
        let kept: Vec<_> = history.range(0..=u64::MAX).map(|message| message.json()).collect();
        assert_eq!(kept, [r#"{"id":"a"}"#, r#"{"id":"b"}"#, r#"{"id":"c"}"#]);
    }
}

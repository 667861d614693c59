//! The publications of one other instance in their order: what comes twice is dropped, what comes after a gap waits
//! until the gap is filled or given up. Pure; whoever owns it asks for what is missing.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;

/// Publications, and their bytes, that wait behind a gap; beyond it the gap is given up.
const MOST_HELD: usize = 16_384;
const MOST_HELD_BYTES: usize = 32 << 20;
/// Beats after which a gap that was asked for in vain is given up.
const PATIENCE: u32 = 3;

/// A publication as it arrived: its channel and its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) channel: String,
    pub(super) payload: Bytes,
}

/// The publications of one instance.
#[derive(Debug)]
pub(super) struct Stream {
    next: u64,
    held: BTreeMap<u64, Arrival>,
    held_bytes: usize,
    /// Where the gap ends that was asked for, and how many beats ago.
    asked: Option<(u64, u32)>,
}

impl Stream {
    /// A stream whose next publication has this number.
    pub(super) fn starting_at(next: u64) -> Self {
        Self {
            next,
            held: BTreeMap::new(),
            held_bytes: 0,
            asked: None,
        }
    }

    /// Number of the next publication in order.
    pub(super) fn next_seq(&self) -> u64 {
        self.next
    }

    /// Whether something waits behind a gap.
    pub(super) fn has_gap(&self) -> bool {
        self.asked.is_some() || !self.held.is_empty()
    }

    /// Takes a publication. [`Stream::pop`] then gives everything that is in order.
    pub(super) fn arrive(&mut self, seq: u64, arrival: Arrival) {
        if seq < self.next || self.held.contains_key(&seq) {
            return;
        }
        self.held_bytes += arrival.payload.len();
        self.held.insert(seq, arrival);
    }

    /// The next publication in order, if it is there.
    pub(super) fn pop(&mut self) -> Option<(u64, Arrival)> {
        let entry = self.held.first_entry()?;
        if *entry.key() != self.next {
            return None;
        }
        let (seq, arrival) = entry.remove_entry();
        self.held_bytes -= arrival.payload.len();
        self.next = self.next.saturating_add(1);
        if self.asked.is_some_and(|(end, _)| end <= self.next) {
            self.asked = None;
        }
        Some((seq, arrival))
    }

    /// The instance has published only what is before this number: what came with later ones is not of it.
    pub(super) fn disown(&mut self, end: u64) {
        for arrival in self.held.split_off(&end).values() {
            self.held_bytes -= arrival.payload.len();
        }
        if self.asked.is_some_and(|(asked, _)| asked > end) {
            self.asked = None;
        }
    }

    /// What to ask for, unless it was asked for already: the gap before what waits, and up to `announced`.
    pub(super) fn missing(&mut self, announced: u64) -> Option<Range<u64>> {
        let end = match self.held.first_key_value() {
            Some((first, _)) => *first,
            None => announced,
        };
        if end <= self.next || self.asked.is_some_and(|(asked, _)| asked >= end) {
            return None;
        }
        self.asked = Some((end, 0));
        Some(self.next..end)
    }

    /// A beat has passed. Asks again for what was asked for in vain; or gives up, and tells how many are lost.
    pub(super) fn tick(&mut self) -> Option<Result<Range<u64>, u64>> {
        let (end, beats) = self.asked.as_mut()?;
        *beats += 1;
        if *beats < PATIENCE {
            return Some(Ok(self.next..*end));
        }
        let end = *end;
        Some(Err(self.skip_to(end)))
    }

    /// What is before this number is not waited for any more; what came of it already counts as lost, too, because
    /// nothing says in which order it belongs. Returns how many are lost.
    pub(super) fn skip_to(&mut self, seq: u64) -> u64 {
        let rest = self.held.split_off(&seq.max(self.next));
        let skipped = std::mem::replace(&mut self.held, rest);
        let lost = seq.saturating_sub(self.next);
        for arrival in skipped.values() {
            self.held_bytes -= arrival.payload.len();
        }
        self.next = self.next.max(seq);
        self.asked = None;
        lost
    }

    /// Gives up the gap when too much waits behind it. Returns how many are lost.
    pub(super) fn relieve(&mut self) -> Option<u64> {
        if self.held.len() <= MOST_HELD && self.held_bytes <= MOST_HELD_BYTES {
            return None;
        }
        let first = *self.held.first_key_value()?.0;
        Some(self.skip_to(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival() -> Arrival {
        Arrival {
            channel: "c".to_owned(),
            payload: Bytes::from_static(b"1234"),
        }
    }

    fn arrive(stream: &mut Stream, seqs: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut popped = Vec::new();
        for seq in seqs {
            stream.arrive(seq, arrival());
            popped.extend(std::iter::from_fn(|| stream.pop()).map(|(seq, _)| seq));
        }
        popped
    }

    #[test]
    fn any_order_and_any_repetition_come_out_in_order_once() {
        let mut stream = Stream::starting_at(5);
        assert_eq!(arrive(&mut stream, [5, 7, 5, 4, 6, 7, 8, 6]), [5, 6, 7, 8]);
        assert!(!stream.has_gap());
        assert_eq!(stream.held_bytes, 0);
    }

    #[test]
    fn a_gap_is_asked_for_once_and_again_after_a_beat() {
        let mut stream = Stream::starting_at(0);
        arrive(&mut stream, [3]);
        assert_eq!(stream.missing(0), Some(0..3));
        assert_eq!(stream.missing(0), None);
        assert_eq!(stream.tick(), Some(Ok(0..3)));
        assert_eq!(arrive(&mut stream, [0, 1, 2]), [0, 1, 2, 3]);
        assert_eq!(stream.tick(), None);
    }

    #[test]
    fn what_a_beat_announces_and_did_not_come_is_asked_for() {
        let mut stream = Stream::starting_at(2);
        assert_eq!(stream.missing(2), None);
        assert_eq!(stream.missing(4), Some(2..4));
        assert_eq!(arrive(&mut stream, [3, 2]), [2, 3]);
        assert!(!stream.has_gap());
    }

    #[test]
    fn a_gap_that_is_not_filled_is_given_up_and_counted() {
        let mut stream = Stream::starting_at(0);
        arrive(&mut stream, [2, 5]);
        assert_eq!(stream.missing(0), Some(0..2));
        let outcomes: Vec<_> = (0..PATIENCE).filter_map(|_| stream.tick()).collect();
        assert_eq!(outcomes.last(), Some(&Err(2)));
        assert_eq!(arrive(&mut stream, []), [0_u64; 0]);
        assert_eq!(stream.pop().map(|(seq, _)| seq), Some(2));
        assert_eq!(stream.missing(0), Some(3..5));
        assert_eq!(stream.skip_to(5), 2);
        assert_eq!(stream.pop().map(|(seq, _)| seq), Some(5));
    }

    #[test]
    fn what_an_instance_cannot_have_published_yet_is_not_waited_for() {
        let mut stream = Stream::starting_at(0);
        assert_eq!(arrive(&mut stream, [3, 900, u64::MAX]), [0_u64; 0]);
        assert_eq!(stream.missing(0), Some(0..3));
        stream.disown(4);
        assert_eq!(arrive(&mut stream, [0, 1, 2]), [0, 1, 2, 3]);
        assert!(!stream.has_gap());
        assert_eq!(stream.held_bytes, 0);
    }

    #[test]
    fn the_last_number_there_is_does_no_harm() {
        let mut stream = Stream::starting_at(u64::MAX);
        assert_eq!(arrive(&mut stream, [u64::MAX]), [u64::MAX]);
    }

    #[test]
    fn a_forged_number_far_ahead_costs_bounded_memory() {
        let mut stream = Stream::starting_at(0);
        assert_eq!(stream.relieve(), None);
        let first = 10;
        (first..first + MOST_HELD as u64 + 1).for_each(|seq| stream.arrive(seq, arrival()));
        assert_eq!(stream.relieve(), Some(first));
        assert_eq!(stream.pop().map(|(seq, _)| seq), Some(first));
    }
}

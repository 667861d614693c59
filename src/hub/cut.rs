//! How far a client has seen what each server of a cluster has published: a *cut* over the publishers. An offset ends with
//! one, so that any instance knows what a client has seen, also when the one that it was connected to is no more.
//!
//! A publication is seen by its publisher's tag, three characters, and the last 24 bits of its number, four. A cut holds the
//! newest publication of each; an instance handles those of one publisher in their order.

use crate::wire::{
    id,
    packet::{Offset, Origin},
};

/// Characters of an entry: tag and number.
const TAG: usize = 3;
const NUMBER: usize = 4;
pub(super) const ENTRY: usize = TAG + NUMBER;
/// Publishers in a cut that a client names; more are not of this world.
const MOST: usize = 256;

/// What a publisher is known by in a cut.
pub(super) type Tag = u32;

/// Bits that so many characters hold.
const fn bits(characters: usize) -> u32 {
    (1 << (6 * characters)) - 1
}

/// What a publisher is known by.
pub(super) fn tag_of(publisher: u64) -> Tag {
    u32::try_from(publisher & u64::from(bits(TAG))).unwrap_or(0)
}

fn short(number: u64) -> u32 {
    u32::try_from(number & u64::from(bits(NUMBER))).unwrap_or(0)
}

/// The entry of a publisher in an offset.
pub(super) fn entry(publisher: u64, number: u64) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    let (tag, rest) = entry.split_at_mut(TAG);
    tag.copy_from_slice(&id::characters::<TAG>(tag_of(publisher)));
    rest.copy_from_slice(&id::characters::<NUMBER>(short(number)));
    entry
}

/// Whether one of two numbers is not behind the other. They go round: those of the half behind one are before it.
fn is_at_least(one: u32, other: u32) -> bool {
    one.wrapping_sub(other) & bits(NUMBER) < 1 << (6 * NUMBER - 1)
}

/// How far a client has seen each publisher.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cut(Vec<(Tag, u32)>);

impl Cut {
    /// Reads entries. `None` when it is none, or two publishers are known by the same tag.
    pub fn read(text: &[u8]) -> Option<Self> {
        if !text.len().is_multiple_of(ENTRY) || text.len() / ENTRY > MOST {
            return None;
        }
        let mut entries = Vec::with_capacity(text.len() / ENTRY);
        for entry in text.chunks_exact(ENTRY) {
            let (tag, number) = entry.split_at_checked(TAG)?;
            let (tag, number) = (id::number(tag)?, id::number(number)?);
            if entries.iter().any(|(known, _)| *known == tag) {
                return None;
            }
            entries.push((tag, number));
        }
        Some(Self(entries))
    }

    /// Each publisher.
    pub(super) fn tags(&self) -> impl Iterator<Item = Tag> {
        self.0.iter().map(|(tag, _)| *tag)
    }

    /// Whether the client has seen everything of a publisher up to this number; `None` when nothing of the publisher.
    pub fn reaches(&self, publisher: u64, number: u64) -> Option<bool> {
        let tag = tag_of(publisher);
        let (_, seen) = self.0.iter().find(|(known, _)| *known == tag)?;
        Some(is_at_least(*seen, short(number)))
    }

    /// Whether the client has seen what was published there.
    pub fn contains(&self, origin: Origin) -> bool {
        match origin {
            Origin::Publication { publisher, number } => self.reaches(publisher, number) == Some(true),
            Origin::Payload(_) => false,
        }
    }

    /// Whether so much of a publisher is enough to have everything that the client has seen.
    pub fn is_reached_by(&self, publisher: u64, newest: u64) -> bool {
        let tag = tag_of(publisher);
        let seen = self.0.iter().find(|(known, _)| *known == tag);
        seen.is_none_or(|(_, seen)| is_at_least(short(newest), *seen))
    }

    /// What somebody has seen who has seen both.
    pub fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (tag, number) in &other.0 {
            match both.0.iter_mut().find(|(known, _)| known == tag) {
                Some((_, seen)) if is_at_least(*seen, *number) => {}
                Some((_, seen)) => *seen = *number,
                None => both.0.push((*tag, *number)),
            }
        }
        both
    }

    /// Writes it behind an offset.
    pub fn write(&self, offset: &mut Offset) {
        for (tag, number) in &self.0 {
            offset.extend(id::characters::<TAG>(*tag));
            offset.extend(id::characters::<NUMBER>(*number));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(entries: &[(u64, u64)]) -> Option<Cut> {
        let mut offset = Offset::default();
        for (publisher, number) in entries {
            offset.extend(entry(*publisher, *number));
        }
        Cut::read(offset.as_bytes())
    }

    #[test]
    fn what_was_seen_of_each_publisher_is_what_came_before() {
        let cut = cut(&[(7, 100), (8, 0)]).unwrap();
        let seen = |publisher, number| cut.contains(Origin::Publication { publisher, number });
        assert!(seen(7, 100) && seen(7, 1) && seen(8, 0));
        assert!(!seen(7, 101) && !seen(8, 1) && !seen(9, 0), "not seen yet");
        assert!(!cut.contains(Origin::Payload(7)));
        assert_eq!(cut.reaches(9, 0), None);
        assert!(cut.is_reached_by(7, 100) && cut.is_reached_by(7, 101) && cut.is_reached_by(9, 0));
        assert!(!cut.is_reached_by(7, 99));
    }

    #[test]
    fn who_has_seen_two_cuts_has_seen_the_farther_of_each() {
        let (one, other) = (cut(&[(1, 5), (2, 9)]).unwrap(), cut(&[(3, 1), (2, 4), (1, 6)]).unwrap());
        let both = one.and(&other);
        assert_eq!(both, cut(&[(1, 6), (2, 9), (3, 1)]).unwrap());
        let mut text = Offset::default();
        both.write(&mut text);
        assert_eq!(Cut::read(text.as_bytes()), Some(both));
    }

    #[test]
    fn two_publishers_of_one_tag_make_it_none() {
        assert_eq!(cut(&[(1, 5), (1 + (1 << 18), 7)]), None);
        assert_eq!(Cut::read(b"AAABBB"), None);
        assert_eq!(Cut::read(b"AAABBB\"AAABBBB"), None);
        assert_eq!(Cut::read(&[b'A'; 7 * 300]), None);
        assert_eq!(Cut::read(b""), Some(Cut::default()));
    }

    proptest! {
        #[test]
        fn numbers_may_go_round(number: u64, ahead in 0..1_u64 << 22) {
            let number = number >> 1;
            let cut = cut(&[(3, number + ahead)]).unwrap();
            let publication = Origin::Publication { publisher: 3, number };
            prop_assert!(cut.contains(publication));
            prop_assert_eq!(cut.is_reached_by(3, number), ahead == 0);
        }
    }
}

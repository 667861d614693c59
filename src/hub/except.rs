//! Sockets that a delivery leaves out.

use std::{collections::HashSet, sync::Arc};

use smallvec::SmallVec;

/// Keys that are looked through one by one.
const FEW: usize = 8;

/// Sockets left out of a delivery, by key, each once. Cloning many of them shares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Except(Keys);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Keys {
    Few(SmallVec<[u64; 2]>),
    Many(Arc<HashSet<u64>>),
}

impl Default for Except {
    fn default() -> Self {
        Self(Keys::Few(SmallVec::new()))
    }
}

impl Except {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nobody is left out.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Keys::Few(keys) if keys.is_empty())
    }

    /// Whether a socket is left out.
    pub fn contains(&self, key: u64) -> bool {
        match &self.0 {
            Keys::Few(keys) => keys.contains(&key),
            Keys::Many(keys) => keys.contains(&key),
        }
    }

    /// Leaves out one more.
    pub fn insert(&mut self, key: u64) {
        match &mut self.0 {
            Keys::Few(keys) if keys.contains(&key) => {}
            Keys::Few(keys) if keys.len() < FEW => keys.push(key),
            Keys::Few(keys) => {
                let keys = keys.iter().copied().chain([key]).collect();
                self.0 = Keys::Many(Arc::new(keys));
            }
            Keys::Many(keys) => {
                Arc::make_mut(keys).insert(key);
            }
        }
    }

    /// How many of those that are left out fit.
    pub(super) fn count(&self, fits: impl Fn(u64) -> bool) -> usize {
        match &self.0 {
            Keys::Few(keys) => keys.iter().filter(|key| fits(**key)).count(),
            Keys::Many(keys) => keys.iter().filter(|key| fits(**key)).count(),
        }
    }
}

impl FromIterator<u64> for Except {
    fn from_iter<I: IntoIterator<Item = u64>>(keys: I) -> Self {
        let mut except = Self::new();
        except.extend(keys);
        except
    }
}

impl Extend<u64> for Except {
    fn extend<I: IntoIterator<Item = u64>>(&mut self, keys: I) {
        keys.into_iter().for_each(|key| self.insert(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_left_out_once() {
        for count in [0, 1, 2, FEW, FEW + 1, 1_000] {
            let count = count as u64;
            let except: Except = (0..count).chain(0..count).collect();
            assert_eq!(except.is_empty(), count == 0);
            assert_eq!(except.count(|_| true) as u64, count);
            assert_eq!(except.count(|key| key == 0) as u64, count.min(1));
            assert!((0..count).all(|key| except.contains(key)) && !except.contains(count));
        }
    }

    #[test]
    fn no_more_than_a_few_are_compared_for_each_member() {
        let except: Except = (0..=FEW as u64).collect();
        assert!(matches!(&except.0, Keys::Many(_)), "as many comparisons as keys");
        let Keys::Many(keys) = &except.0 else { return };
        let shared = except.clone();
        assert_eq!(Arc::strong_count(keys), 2, "copied for each part");
        assert!(shared.contains(0));
    }
}

//! A rate for each of many keys, of which those that have been quiet are forgotten.

use std::{
    hash::Hash,
    sync::atomic::{AtomicUsize, Ordering},
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Checks between two times that quiet keys are looked for: that takes a look at all of them.
const CHECKS: usize = 10_000;

/// A rate for each key.
#[derive(Debug)]
pub struct KeyedRate<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    checks: AtomicUsize,
}

impl<K: Hash + Eq + Clone> KeyedRate<K> {
    /// The same rate for each key.
    pub fn new(quota: Quota) -> Self {
        Self {
            limiter: RateLimiter::keyed(quota),
            checks: AtomicUsize::new(0),
        }
    }

    /// Whether there may be one more of this key.
    pub fn allows(&self, key: &K) -> bool {
        if self.checks.fetch_add(1, Ordering::Relaxed) % CHECKS == CHECKS - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(key).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn keys_that_have_been_quiet_are_forgotten() {
        // Each is quiet again a microsecond after it was checked.
        let rate = KeyedRate::new(Quota::per_second(NonZeroU32::new(1_000_000).unwrap()));
        for key in 0..4 * CHECKS {
            assert!(rate.allows(&key));
        }
        assert!(rate.limiter.len() < 2 * CHECKS, "{}", rate.limiter.len());
    }
}

//! How fast a client sends events, and what is to be done when that is too fast.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;

/// Seconds in a row in which a client may be too fast before it is closed.
const PATIENCE: u32 = 10;

/// What is to be done with an event of a client that is too fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// The client is told, for the first time in this second.
    Told,
    /// It has been told.
    Ignored,
    /// It went on for too long: it is closed.
    Closed,
}

/// How fast a client sends.
#[derive(Debug)]
pub struct Pace {
    own: Option<DefaultDirectRateLimiter>,
    excess: Mutex<Seconds>,
}

/// In which second the client was too fast last, and in how many before that.
#[derive(Debug, Default)]
struct Seconds {
    last: Option<u64>,
    in_a_row: u32,
}

impl Pace {
    /// A client that may send so much, if that is limited.
    pub fn new(quota: Option<Quota>) -> Self {
        Self {
            own: quota.map(RateLimiter::direct),
            excess: Mutex::default(),
        }
    }

    /// Whether the client may send one more event.
    pub fn allows(&self) -> bool {
        self.own.as_ref().is_none_or(|own| own.check().is_ok())
    }

    /// The client was too fast, at a time in milliseconds.
    pub fn exceed(&self, now: u64) -> Excess {
        let second = now / 1_000;
        let mut seconds = self.excess.lock();
        if seconds.last == Some(second) {
            return Excess::Ignored;
        }
        let follows = seconds.last.is_some_and(|last| last + 1 == second);
        seconds.in_a_row = if follows { seconds.in_a_row + 1 } else { 1 };
        seconds.last = Some(second);
        if seconds.in_a_row > PATIENCE {
            Excess::Closed
        } else {
            Excess::Told
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_once_a_second_and_closed_when_it_goes_on() {
        let pace = Pace::new(None);
        assert_eq!(pace.exceed(1_000), Excess::Told);
        assert_eq!(pace.exceed(1_999), Excess::Ignored);
        for second in 2..=u64::from(PATIENCE) {
            assert_eq!(pace.exceed(second * 1_000), Excess::Told, "{second}");
        }
        assert_eq!(pace.exceed((u64::from(PATIENCE) + 1) * 1_000), Excess::Closed);
    }

    #[test]
    fn a_second_without_excess_begins_anew() {
        let pace = Pace::new(None);
        for second in (0..100).step_by(2) {
            assert_eq!(pace.exceed(second * 1_000), Excess::Told, "{second}");
        }
    }
}

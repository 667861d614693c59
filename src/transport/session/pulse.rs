//! Where a client stands with its heartbeats, and what is due. Time is passed in.

use std::time::Duration;

/// What is due within this is due: nobody is looked at twice for less.
pub(super) const SOON: Duration = Duration::from_millis(1);

/// Where a client stands with its heartbeats, with the time of that, since the first of the sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulse {
    /// The library has not pinged the client that polls; its first ping is withheld.
    New,
    /// It was heard of then: a session began, or a heartbeat was answered.
    Resting(Duration),
    /// It was pinged then.
    Pinged(Duration),
    /// It was pinged, and then sent something else, which gives it time once more (as Engine.IO has it).
    Spared(Duration),
}

/// What is to be done about a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing before so much time.
    Later(Duration),
    /// A heartbeat.
    Ping,
    /// It is gone.
    End,
}

impl Pulse {
    /// What is due at a time. A client of Engine.IO 3 pings by itself.
    pub(super) fn due(self, now: Duration, interval: Duration, timeout: Duration, eio3: bool) -> Due {
        let (at, is_end) = match self {
            Self::New => return Due::Later(interval),
            Self::Resting(since) if eio3 => (since + interval + timeout, true),
            Self::Resting(since) => (since + interval, false),
            Self::Pinged(since) | Self::Spared(since) => (since + timeout, true),
        };
        match at.saturating_sub(now) {
            left if left > SOON => Due::Later(left),
            _ if is_end => Due::End,
            _ => Due::Ping,
        }
    }

    /// The same, with the time of its silence beginning anew.
    pub(super) fn again(self, now: Duration, eio3: bool) -> Self {
        match self {
            Self::New => Self::New,
            Self::Resting(_) if eio3 => Self::Resting(now),
            Self::Resting(since) => Self::Resting(since),
            Self::Pinged(_) => Self::Pinged(now),
            Self::Spared(_) => Self::Spared(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);
    const TIMEOUT: Duration = Duration::from_millis(300);

    fn due(pulse: Pulse, now: u64, eio3: bool) -> Due {
        pulse.due(Duration::from_millis(now), INTERVAL, TIMEOUT, eio3)
    }

    #[test]
    fn a_heartbeat_is_due_an_interval_after_the_last_answer() {
        let resting = Pulse::Resting(Duration::from_millis(50));
        assert_eq!(due(resting, 60, false), Due::Later(Duration::from_millis(90)));
        assert_eq!(due(resting, 150, false), Due::Ping);
        assert_eq!(due(resting, 900, false), Due::Ping);
    }

    #[test]
    fn silence_after_a_heartbeat_is_the_end_and_something_else_puts_it_off() {
        for pulse in [Pulse::Pinged, Pulse::Spared] {
            let pulse = pulse(Duration::from_millis(50));
            assert_eq!(due(pulse, 60, false), Due::Later(Duration::from_millis(290)));
            assert_eq!(due(pulse, 350, false), Due::End);
            assert_eq!(
                due(pulse.again(Duration::from_millis(350), false), 350, false),
                Due::Later(TIMEOUT)
            );
        }
    }

    #[test]
    fn an_old_client_pings_by_itself() {
        let resting = Pulse::Resting(Duration::from_millis(50));
        assert_eq!(due(resting, 150, true), Due::Later(Duration::from_millis(300)));
        assert_eq!(due(resting, 450, true), Due::End);
        let excused = resting.again(Duration::from_millis(450), true);
        assert_eq!(due(excused, 450, true), Due::Later(INTERVAL + TIMEOUT));
        assert_eq!(resting.again(Duration::from_millis(450), false), resting);
    }
}

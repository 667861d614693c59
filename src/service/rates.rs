//! How many events clients may send: each socket, and all sockets of one user on this instance.

use std::num::NonZeroU32;

use governor::Quota;

use crate::{
    config::{Limit, LimitsConfig},
    disconnect::DisconnectReason,
    error::Error,
    hub::{Excess, Pace, Socket},
    keyed_rate::KeyedRate,
    metrics::Exceeded,
};

/// How many events clients may send.
#[derive(Debug)]
pub(super) struct Rates {
    of_socket: Option<Quota>,
    of_user: Option<KeyedRate<Box<str>>>,
}

impl Rates {
    /// None where they are not limited.
    pub(super) fn of(limits: &LimitsConfig) -> Option<Self> {
        let quota = |rate: Option<NonZeroU32>, burst: Option<NonZeroU32>| {
            let quota = Quota::per_second(rate?);
            Some(burst.map_or(quota, |burst| quota.allow_burst(burst)))
        };
        let of_socket = quota(limits.events_per_second, limits.events_burst);
        let of_user = quota(limits.events_per_second_per_user, limits.events_burst_per_user);
        (of_socket.is_some() || of_user.is_some()).then(|| Self {
            of_socket,
            of_user: of_user.map(KeyedRate::new),
        })
    }

    /// The bound that one more event of a socket goes beyond, if it does.
    fn exceeded_by(&self, socket: &Socket) -> Option<Limit> {
        if !self.pace_of(socket).allows() {
            return Some(Limit::EventsPerSecond);
        }
        let of_user = self.of_user.as_ref()?;
        let user = &socket.identity().user_id;
        (!of_user.allows(user)).then_some(Limit::EventsPerSecondPerUser)
    }

    /// Whether an event of a socket is taken, at a time in milliseconds.
    pub(super) fn take_in(&self, socket: &Socket, now: u64, exceeded: &Exceeded) -> Intake {
        let Some(limit) = self.exceeded_by(socket) else {
            return Intake::Taken;
        };
        exceeded.count(limit);
        match self.pace_of(socket).exceed(now) {
            Excess::Told => Intake::Refused(Error::TooMany(limit)),
            Excess::Ignored => Intake::Ignored,
            Excess::Closed => Intake::Closed(DisconnectReason::ForcedServerClose),
        }
    }

    fn pace_of<'a>(&self, socket: &'a Socket) -> &'a Pace {
        socket.pace(|| Pace::new(self.of_socket))
    }
}

/// Whether an event of a client is taken.
pub(super) enum Intake {
    Taken,
    /// It is refused, and the client is told why.
    Refused(Error),
    /// Nobody looks at it.
    Ignored,
    /// The client is to be closed for it.
    Closed(DisconnectReason),
}

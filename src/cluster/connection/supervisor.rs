//! The life of a connection after another: made, watched, lost, made again, for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::ConnectionError;
use super::link::{Doom, Life, Link, Target};
use super::place::{check_master, shown};
use super::subscription::Subscription;
use super::{Role, Shared};
use crate::config::{RedisAddress, RedisMode};

/// First and longest pause before another attempt.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A connection that lasts this long starts the pauses anew; one that is closed at once does not.
const LASTING: Duration = Duration::from_secs(1);

/// Keeps one connection until the end.
pub(super) async fn supervise(shared: Arc<Shared>, role: Role) {
    let mut closing = shared.closing.subscribe();
    let mut pauses = Pauses::new(shared.beat);
    let mut attempt = usize::from(random());
    loop {
        let opened = tokio::select! {
            biased;
            () = closed(&mut closing) => return,
            opened = Session::open(&shared, role, attempt) => opened,
        };
        let error = match opened {
            Ok(mut session) => {
                let since = Instant::now();
                shared.connected(role, session.link(), &session.doom, &session.address);
                let error = tokio::select! {
                    biased;
                    () = closed(&mut closing) => {
                        shared.closed(role);
                        session.close().await;
                        return;
                    }
                    error = session.run(&shared, role) => error,
                };
                if since.elapsed() >= LASTING {
                    pauses = Pauses::new(shared.beat);
                }
                error
            }
            Err(error) => error,
        };
        attempt = attempt.wrapping_add(1);
        shared.lost(role, &error);
        // Only a person can help when Redis refuses, so nobody is kept waiting.
        let is_urgent = !matches!(error, ConnectionError::Refused(_));
        tokio::select! {
            biased;
            () = closed(&mut closing) => return,
            () = tokio::time::sleep(pauses.next(is_urgent)) => {}
        }
    }
}

async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that everything is gone, which is closed as well.
    let _closed = closing.wait_for(|closing| *closing).await;
}

/// One connection of a role.
struct Session {
    address: RedisAddress,
    doom: Arc<Doom>,
    wire: Wire,
}

enum Wire {
    Commands(Arc<Link>, Life),
    Messages(Subscription),
}

impl Session {
    async fn open(shared: &Shared, role: Role, attempt: usize) -> Result<Self, ConnectionError> {
        let address = shared.places.choose(&shared.blueprint, attempt).await?;
        match Self::open_at(shared, role, &address).await {
            Ok((doom, wire)) => Ok(Self { address, doom, wire }),
            Err(error) => Err(error.at(&shown(&address))),
        }
    }

    async fn open_at(
        shared: &Shared,
        role: Role,
        address: &RedisAddress,
    ) -> Result<(Arc<Doom>, Wire), ConnectionError> {
        let Shared {
            blueprint,
            places,
            patterns,
            channels,
            observer,
            ..
        } = shared;
        let (link, life) = match role {
            Role::Subscriber => {
                let subscription = Subscription::open(blueprint, address, patterns, channels, &**observer).await?;
                return Ok((Arc::default(), Wire::Messages(subscription)));
            }
            Role::Publisher => {
                let (link, life) = Link::open(blueprint, Target::Server(address)).await?;
                settle(shared, &link, address).await?;
                (link, life)
            }
            Role::Keys => Link::open(blueprint, Target::Masters(&places.known())).await?,
        };
        Ok((Arc::clone(link.doom()), Wire::Commands(Arc::new(link), life)))
    }

    fn link(&self) -> Option<&Arc<Link>> {
        match &self.wire {
            Wire::Commands(link, _) => Some(link),
            Wire::Messages(_) => None,
        }
    }

    /// Waits until the connection is lost, or given up.
    async fn run(&mut self, shared: &Shared, role: Role) -> ConnectionError {
        let lost = async {
            match &mut self.wire {
                Wire::Commands(link, life) => tokio::select! {
                    error = life.end() => error,
                    error = watch(shared, role, link) => error,
                },
                Wire::Messages(subscription) => {
                    subscription
                        .run(shared.beat, shared.blueprint.timeout, &*shared.observer)
                        .await
                }
            }
        };
        let error = tokio::select! {
            error = lost => error,
            error = self.doom.wait() => error,
        };
        error.at(&shown(&self.address))
    }

    async fn close(&mut self) {
        match &mut self.wire {
            Wire::Commands(link, life) => link.close(life).await,
            Wire::Messages(subscription) => subscription.close().await,
        }
    }
}

/// What a new publisher has to find out.
async fn settle(shared: &Shared, link: &Link, address: &RedisAddress) -> Result<(), ConnectionError> {
    match shared.places.mode() {
        RedisMode::Single => Ok(()),
        RedisMode::Sentinel(_) => check_master(link).await,
        RedisMode::Cluster => {
            // Without the permission to ask, the addresses of the options must do.
            match shared.places.learn(&shared.blueprint, link, address).await {
                Err(error @ ConnectionError::Unreachable(_)) => Err(error),
                _ => Ok(()),
            }
        }
    }
}

/// Asks now and then whether Redis still answers; a connection that died silently tells nothing by itself.
async fn watch(shared: &Shared, role: Role, link: &Link) -> ConnectionError {
    loop {
        tokio::time::sleep(shared.beat).await;
        let answer = match (role, shared.places.mode()) {
            // A master that was demoted takes publications, but nobody hears them.
            (Role::Publisher, RedisMode::Sentinel(_)) => check_master(link).await,
            _ => link.ping().await,
        };
        if let Err(error) = answer {
            return error;
        }
    }
}

/// Pauses that double, each with a random part, so that the instances of a cluster do not return all at once. None is
/// longer than a beat when it is urgent: the others must not take this instance for lost.
struct Pauses {
    next: Duration,
    beat: Duration,
}

impl Pauses {
    fn new(beat: Duration) -> Self {
        Self { next: PAUSES.0, beat }
    }

    fn next(&mut self, is_urgent: bool) -> Duration {
        let pause = if is_urgent { self.next.min(self.beat) } else { self.next };
        self.next = (self.next * 2).min(PAUSES.1);
        pause.mul_f64(0.5 + 0.5 * f64::from(random()) / f64::from(u16::MAX))
    }
}

fn random() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness of the system the pauses are merely regular.
    let _filled = getrandom::fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second_and_vary_by_half() {
        let mut pauses = Pauses::new(Duration::from_secs(2));
        for most in [50, 100, 200, 400, 800, 1_000, 1_000] {
            let (pause, most) = (pauses.next(true), Duration::from_millis(most));
            assert!(pause >= most / 2 && pause <= most, "{pause:?} of {most:?}");
        }
    }

    #[test]
    fn no_pause_is_longer_than_a_beat() {
        let beat = Duration::from_millis(120);
        let mut pauses = Pauses::new(beat);
        assert!((0..9).all(|_| pauses.next(true) <= beat));
        assert!(pauses.next(false) > beat, "unless somebody has refused");
    }
}

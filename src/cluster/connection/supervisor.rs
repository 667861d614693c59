//! The life of a connection after another: made, watched, lost, made again, for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fred::types::Message;
use tokio::sync::{broadcast, watch};

use super::error::ConnectionError;
use super::link::{Life, Link, Target};
use super::place::{check_master, shown};
use super::{Role, Shared};
use crate::config::{RedisAddress, RedisMode};

/// First and longest pause before another attempt.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A connection that lasts this long starts the pauses anew; one that is closed at once does not.
const LASTING: Duration = Duration::from_secs(1);

/// Keeps one connection until the end.
pub(super) async fn supervise(shared: Arc<Shared>, role: Role) {
    let mut closing = shared.closing.subscribe();
    let mut pauses = Pauses::default();
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
                shared.connected(role, &session.link, &session.address);
                let error = tokio::select! {
                    biased;
                    () = closed(&mut closing) => {
                        shared.closed(role);
                        session.link.close(&mut session.life).await;
                        return;
                    }
                    error = session.run(&shared) => error.at(&shown(&session.address)),
                };
                if since.elapsed() >= LASTING {
                    pauses = Pauses::default();
                }
                error
            }
            Err(error) => error,
        };
        attempt = attempt.wrapping_add(1);
        shared.lost(role, &error);
        tokio::select! {
            biased;
            () = closed(&mut closing) => return,
            () = tokio::time::sleep(pauses.next()) => {}
        }
    }
}

async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that everything is gone, which is closed as well.
    let _closed = closing.wait_for(|closing| *closing).await;
}

/// One connection of a role.
struct Session {
    role: Role,
    link: Arc<Link>,
    life: Life,
    address: RedisAddress,
    messages: Option<broadcast::Receiver<Message>>,
    /// Messages so far: while they come, Redis is alive, even if the answer to PING waits behind them.
    heard: AtomicU64,
}

impl Session {
    async fn open(shared: &Shared, role: Role, attempt: usize) -> Result<Self, ConnectionError> {
        let (blueprint, places) = (&shared.blueprint, &shared.places);
        let address = places.choose(blueprint, attempt).await?;
        let open = async {
            let server = Target::Server(&address);
            let (link, life, messages) = match role {
                Role::Subscriber => {
                    let (patterns, channels) = (&shared.patterns, &shared.channels);
                    let (link, life, messages) = Link::open_subscribed(blueprint, server, patterns, channels).await?;
                    (link, life, Some(messages))
                }
                Role::Publisher => {
                    let (link, life) = Link::open(blueprint, server).await?;
                    (link, life, None)
                }
                Role::Keys => {
                    let (link, life) = Link::open(blueprint, Target::Masters(&places.known())).await?;
                    (link, life, None)
                }
            };
            if role == Role::Publisher {
                settle(shared, &link, &address).await?;
            }
            let (link, address) = (Arc::new(link), address.clone());
            Ok(Self {
                role,
                link,
                life,
                address,
                messages,
                heard: AtomicU64::new(0),
            })
        };
        open.await.map_err(|error: ConnectionError| error.at(&shown(&address)))
    }

    /// Passes messages on until the connection is lost.
    async fn run(&mut self, shared: &Shared) -> ConnectionError {
        let Self {
            role,
            link,
            life,
            messages,
            heard,
            ..
        } = self;
        let watched = watch(shared, *role, link, heard);
        tokio::pin!(watched);
        loop {
            tokio::select! {
                message = next(messages) => pass_on(shared, heard, message),
                error = &mut *life => {
                    // What Redis sent before the end is still there.
                    while let Some(Ok(message)) = messages.as_mut().map(broadcast::Receiver::try_recv) {
                        pass_on(shared, heard, Ok(message));
                    }
                    return error;
                }
                error = link.doomed() => return error,
                error = &mut watched => return error,
            }
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

async fn next(messages: &mut Option<broadcast::Receiver<Message>>) -> Result<Message, broadcast::error::RecvError> {
    match messages {
        Some(messages) => messages.recv().await,
        None => std::future::pending().await,
    }
}

fn pass_on(shared: &Shared, heard: &AtomicU64, message: Result<Message, broadcast::error::RecvError>) {
    heard.fetch_add(1, Relaxed);
    match message {
        Ok(message) => {
            let payload: Bytes = message.value.into_bytes().unwrap_or_default();
            shared.observer.message(&message.channel, payload);
        }
        Err(broadcast::error::RecvError::Lagged(lost)) => shared.observer.lost(lost),
        Err(broadcast::error::RecvError::Closed) => {}
    }
}

/// Asks now and then whether Redis still answers; a connection that died silently tells nothing by itself.
async fn watch(shared: &Shared, role: Role, link: &Link, heard: &AtomicU64) -> ConnectionError {
    loop {
        tokio::time::sleep(shared.beat).await;
        let before = heard.load(Relaxed);
        let answer = match (role, shared.places.mode()) {
            // A master that was demoted takes publications, but nobody hears them.
            (Role::Publisher, RedisMode::Sentinel(_)) => check_master(link).await,
            _ => link.ping().await,
        };
        if let Err(error) = answer
            && (heard.load(Relaxed) == before || error != ConnectionError::unanswered())
        {
            return error;
        }
    }
}

/// Pauses that double, each with a random part, so that the instances of a cluster do not return all at once.
struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(PAUSES.0)
    }
}

impl Pauses {
    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSES.1);
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
        let mut pauses = Pauses::default();
        for most in [50, 100, 200, 400, 800, 1_000, 1_000] {
            let (pause, most) = (pauses.next(), Duration::from_millis(most));
            assert!(pause >= most / 2 && pause <= most, "{pause:?} of {most:?}");
        }
    }
}

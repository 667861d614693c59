//! The life of a connection after another: made, watched, lost, made again, for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::{sync::watch, time::timeout_at};

use super::client::{Doom, Life, Link, Target};
use super::error::ConnectionError;
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
    /// One limit holds for all of it: the way to the address, TLS, and the first answers.
    async fn open(shared: &Shared, role: Role, attempt: usize) -> Result<Self, ConnectionError> {
        let Shared { blueprint, places, .. } = shared;
        let due = tokio::time::Instant::now() + blueprint.timeout;
        let chosen = timeout_at(due, places.choose(blueprint, attempt)).await;
        // Only sentinels are waited for.
        let address = chosen.unwrap_or_else(|_| Err(ConnectionError::unanswered().at(&places.sentinels())))?;
        let opened = timeout_at(due, Self::open_at(shared, role, &address)).await;
        match opened.unwrap_or_else(|_| Err(ConnectionError::unanswered())) {
            Ok((doom, wire)) => Ok(Self { address, doom, wire }),
            // A server without TLS takes a handshake for the beginning of a command, and waits for the rest.
            Err(error) if blueprint.uses_tls() && error == ConnectionError::unanswered() => {
                let text = "no answer in time to a TLS handshake; is it a port for TLS?";
                Err(ConnectionError::Unreachable(text.to_owned()).at(&shown(&address)))
            }
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
    use bytes::Bytes;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::super::{Connections, Observer};
    use super::*;
    use crate::config::{RedisConfig, RedisTlsConfig};

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

    struct Deaf;

    impl Observer for Deaf {
        fn message(&self, _channel: &str, _payload: Bytes) {}
        fn up(&self) {}
        fn down(&self, _error: &ConnectionError) {}
    }

    /// Opens a connection of a role to a server that is its own sentinel and answers after a pause, if at all, by a clock
    /// that only jumps.
    async fn open_to(
        pause: Option<Duration>,
        role: Role,
        change: impl FnOnce(&mut RedisConfig),
    ) -> (Duration, Option<ConnectionError>) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let master = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.to_string().len());
        let accepting = tokio::spawn(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                let master = master.clone();
                tokio::spawn(async move {
                    let mut asked = [0; 4096];
                    while let Ok(length @ 1..) = stream.read(&mut asked).await {
                        let Some(pause) = pause else { continue };
                        tokio::time::sleep(pause).await;
                        let is_sentinel = asked[..length].windows(8).any(|word| word == b"SENTINEL");
                        let answer = if is_sentinel { &master } else { "+OK\r\n" };
                        let _written = stream.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
        let mut config = RedisConfig {
            servers: vec![RedisAddress {
                host: "127.0.0.1".to_owned(),
                port,
            }],
            password: Some("word".into()),
            ..RedisConfig::default()
        };
        change(&mut config);
        let connections = Connections::new(&config, vec!["p*".to_owned()], Vec::new(), Arc::new(Deaf));
        let since = tokio::time::Instant::now();
        let error = Session::open(&connections.shared, role, 0).await.err();
        accepting.abort();
        (since.elapsed(), error)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_is_given_up_after_one_response_timeout() {
        let limit = RedisConfig::default().response_timeout;
        for role in [Role::Publisher, Role::Subscriber, Role::Keys] {
            for tls in [false, true] {
                for mode in [RedisMode::Single, RedisMode::Sentinel("m".to_owned())] {
                    let (elapsed, error) = open_to(None, role, |config| {
                        config.mode = mode.clone();
                        config.tls = tls.then(RedisTlsConfig::default);
                    })
                    .await;
                    assert!(elapsed <= limit, "{role:?} {tls} {mode:?}: {elapsed:?}");
                    let text = error.map(|error| error.to_string()).unwrap_or_default();
                    assert!(text.contains("no answer in time"), "{role:?} {tls} {mode:?}: {text}");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sentinel_and_a_master_that_are_late_together_are_too_late() {
        let limit = RedisConfig::default().response_timeout;
        for role in [Role::Publisher, Role::Subscriber] {
            let (elapsed, error) = open_to(Some(limit.mul_f64(0.3)), role, |config| {
                config.mode = RedisMode::Sentinel("m".to_owned());
            })
            .await;
            assert!(elapsed <= limit, "{role:?}: {elapsed:?}");
            let text = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains("no answer in time"), "{role:?}: {text}");
        }
    }
}

//! One connection after another: made, watched, lost, made again, for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::{sync::watch, time::timeout_at};

use super::client::{Client, Destination, Lifetime, Tombstone};
use super::error::ConnectionError;
use super::place::{check_master, shown};
use super::standing::Role;
use super::state::State;
use super::subscription::{Audience, Subscription};
use crate::config::{RedisAddress, RedisMode};

/// First and longest pause before another attempt.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A connection that lasts this long starts the pauses anew; one that is closed at once does not.
const LASTING: Duration = Duration::from_secs(1);

/// Keeps one connection until the end.
pub(super) async fn supervise(state: Arc<State>, audience: Arc<Audience>, role: Role) {
    let mut closing = state.closing();
    let mut pauses = Pauses::new(state.beat);
    let mut attempt = usize::from(random());
    loop {
        let opened = tokio::select! {
            biased;
            () = closed(&mut closing) => return,
            opened = Connection::open(&state, &audience, role, attempt) => opened,
        };
        let error = match opened {
            Ok(mut connection) => {
                let since = Instant::now();
                state.connected(
                    role,
                    connection.client(),
                    &connection.tombstone,
                    &connection.address,
                    &*audience.observer,
                );
                let error = tokio::select! {
                    biased;
                    () = closed(&mut closing) => {
                        state.closed(role);
                        connection.close().await;
                        return;
                    }
                    error = connection.run(&state, &audience, role) => error,
                };
                if since.elapsed() >= LASTING {
                    pauses = Pauses::new(state.beat);
                }
                error
            }
            Err(error) => error,
        };
        attempt = attempt.wrapping_add(1);
        state.lost(role, &error, &*audience.observer);
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
struct Connection {
    address: RedisAddress,
    tombstone: Arc<Tombstone>,
    traffic: Traffic,
}

enum Traffic {
    Commands(Arc<Client>, Lifetime),
    Messages(Subscription),
}

impl Connection {
    /// One limit holds for all of it: the way to the address, TLS, and the first answers.
    async fn open(state: &State, audience: &Audience, role: Role, attempt: usize) -> Result<Self, ConnectionError> {
        let State { blueprint, places, .. } = state;
        let due = tokio::time::Instant::now() + blueprint.timeout;
        let chosen = timeout_at(due, places.choose(blueprint, attempt)).await;
        // Only sentinels are waited for.
        let address = chosen.unwrap_or_else(|_| Err(ConnectionError::unanswered().at(&places.sentinels())))?;
        let opened = timeout_at(due, Self::open_at(state, audience, role, &address)).await;
        match opened.unwrap_or_else(|_| Err(ConnectionError::unanswered())) {
            Ok((tombstone, traffic)) => Ok(Self {
                address,
                tombstone,
                traffic,
            }),
            // A server without TLS takes a handshake for the beginning of a command, and waits for the rest.
            Err(error) if blueprint.uses_tls() && error == ConnectionError::unanswered() => {
                let text = "no answer in time to a TLS handshake; is it a port for TLS?";
                Err(ConnectionError::Unreachable(text.to_owned()).at(&shown(&address)))
            }
            Err(error) => Err(error.at(&shown(&address))),
        }
    }

    async fn open_at(
        state: &State,
        audience: &Audience,
        role: Role,
        address: &RedisAddress,
    ) -> Result<(Arc<Tombstone>, Traffic), ConnectionError> {
        let State { blueprint, places, .. } = state;
        let (client, lifetime) = match role {
            Role::Subscriber => {
                let subscription = Subscription::open(blueprint, address, audience).await?;
                return Ok((Arc::default(), Traffic::Messages(subscription)));
            }
            Role::Publisher => {
                let (client, lifetime) = Client::open(blueprint, Destination::Server(address)).await?;
                settle(state, &client, address).await?;
                (client, lifetime)
            }
            Role::Keys => Client::open(blueprint, Destination::Masters(&places.known())).await?,
        };
        Ok((
            Arc::clone(client.tombstone()),
            Traffic::Commands(Arc::new(client), lifetime),
        ))
    }

    fn client(&self) -> Option<&Arc<Client>> {
        match &self.traffic {
            Traffic::Commands(client, _) => Some(client),
            Traffic::Messages(_) => None,
        }
    }

    /// Waits until the connection is lost, or given up.
    async fn run(&mut self, state: &State, audience: &Audience, role: Role) -> ConnectionError {
        let lost = async {
            match &mut self.traffic {
                Traffic::Commands(client, lifetime) => tokio::select! {
                    error = lifetime.end() => error,
                    error = watch(state, role, client) => error,
                },
                Traffic::Messages(subscription) => {
                    subscription
                        .run(state.beat, state.blueprint.timeout, &*audience.observer)
                        .await
                }
            }
        };
        let error = tokio::select! {
            error = lost => error,
            error = self.tombstone.wait() => error,
        };
        error.at(&shown(&self.address))
    }

    async fn close(&mut self) {
        match &mut self.traffic {
            Traffic::Commands(client, lifetime) => client.close(lifetime).await,
            Traffic::Messages(subscription) => subscription.close().await,
        }
    }
}

/// What a new publisher has to find out.
async fn settle(state: &State, client: &Client, address: &RedisAddress) -> Result<(), ConnectionError> {
    match state.places.mode() {
        RedisMode::Single => Ok(()),
        RedisMode::Sentinel(_) => check_master(client).await,
        RedisMode::Cluster => {
            // Without the permission to ask, the addresses of the options must do.
            match state.places.learn(&state.blueprint, client, address).await {
                Err(error @ ConnectionError::Unreachable(_)) => Err(error),
                _ => Ok(()),
            }
        }
    }
}

/// Asks now and then whether Redis still answers; a connection that died silently tells nothing by itself.
async fn watch(state: &State, role: Role, client: &Client) -> ConnectionError {
    loop {
        tokio::time::sleep(state.beat).await;
        let answer = match (role, state.places.mode()) {
            // A master that was demoted takes publications, but nobody hears them.
            (Role::Publisher, RedisMode::Sentinel(_)) => check_master(client).await,
            _ => client.ping().await,
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

    use super::*;
    use crate::cluster::bus::{BusError, Observer, Subscriptions};
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
        fn down(&self, _error: &BusError) {}
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
        let subscriptions = Subscriptions {
            prefixes: vec!["p".to_owned()],
            names: Vec::new(),
        };
        let (state, audience) = (State::new(&config), Audience::new(subscriptions, Arc::new(Deaf)));
        let since = tokio::time::Instant::now();
        let error = Connection::open(&state, &audience, role, 0).await.err();
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

//! One connection to Redis, for one lifetime: made, used, lost. It never comes back; whoever wants another makes one.
//!
//! fred would reconnect by itself and send again what was under way, which publishes twice; so here it has neither a
//! reconnect policy nor a second attempt.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fred::clients::Client as FredClient;
use fred::error::Error;
use fred::interfaces::ClientLike;
use fred::types::config::{
    ClusterDiscoveryPolicy, Config, ConnectionConfig, Server, ServerConfig, TcpConfig, TlsConfig, TlsHostMapping,
};
use fred::types::{ClusterHash, ConnectHandle, CustomCommand, Value};
use tokio::sync::watch;

use super::error::ConnectionError;
use super::tls;
use crate::cluster::bus::Publication;
use crate::config::{RedisAddress, RedisConfig, RedisMode};

/// Commands that go out before the first of their answers is waited for.
const PIPELINE: usize = 512;

/// Bytes after which the answers are waited for as well, so that a slow line is not taken for a dead one.
const PIPELINE_BYTES: usize = 1 << 20;

/// How long a farewell to Redis may take.
pub(super) const FAREWELL: Duration = Duration::from_millis(500);

/// What all connections have in common.
pub(super) struct Blueprint {
    pub(super) tls: Result<Option<TlsConfig>, ConnectionError>,
    /// Name that certificates must have, instead of the host's.
    pub(super) servername: Option<String>,
    credentials: Credentials,
    sentinel_credentials: Credentials,
    database: Option<u8>,
    /// How long connecting, and each answer, may take.
    pub(super) timeout: Duration,
}

#[derive(Clone)]
struct Credentials {
    username: Option<String>,
    password: Option<String>,
}

/// To whom a connection goes, and with whose name and password.
pub(super) enum Destination<'a> {
    /// A server that holds data.
    Server(&'a RedisAddress),
    /// A sentinel.
    Sentinel(&'a RedisAddress),
    /// All masters of a Redis Cluster, found through any of these.
    Masters(&'a [RedisAddress]),
}

impl Blueprint {
    pub(super) fn new(config: &RedisConfig) -> Self {
        let credentials = |username: &Option<String>, password: Option<&str>| Credentials {
            username: username.clone(),
            // fred does not authenticate without a password, which a user need not have.
            password: password.or(username.as_ref().map(|_| "")).map(str::to_owned),
        };
        let servername = config.tls.as_ref().and_then(|tls| tls.servername.clone());
        let hostnames = servername.clone().map_or(TlsHostMapping::DefaultHost, |name| {
            TlsHostMapping::Custom(Arc::new(OneName(name)))
        });
        let connector = config.tls.as_ref().map(tls::connector).transpose();
        let named = servername.as_deref().map_or(Ok(()), tls::check_name);
        Self {
            tls: named
                .and(connector)
                .map(|found| found.map(|connector| TlsConfig { connector, hostnames })),
            servername,
            credentials: credentials(&config.username, config.password.as_ref().map(|secret| secret.reveal())),
            sentinel_credentials: credentials(
                &config.sentinel_username,
                config.sentinel_password.as_ref().map(|secret| secret.reveal()),
            ),
            database: (config.db != 0 && config.mode != RedisMode::Cluster).then_some(config.db),
            timeout: config.response_timeout,
        }
    }

    pub(super) fn uses_tls(&self) -> bool {
        !matches!(self.tls, Ok(None))
    }

    /// The arguments of AUTH, if it has to be sent.
    pub(super) fn auth(&self) -> Option<impl Iterator<Item = &str>> {
        let Credentials { username, password } = &self.credentials;
        let password = password.as_deref()?;
        Some(username.as_deref().into_iter().chain(std::iter::once(password)))
    }

    fn client(&self, destination: &Destination<'_>) -> Result<FredClient, ConnectionError> {
        let server = |address: &RedisAddress| Server {
            host: address.host.as_str().into(),
            port: address.port,
            tls_server_name: self.servername.as_deref().map(Into::into),
        };
        let (place, credentials, database) = match destination {
            Destination::Server(address) => (
                ServerConfig::Centralized {
                    server: server(address),
                },
                &self.credentials,
                self.database,
            ),
            Destination::Sentinel(address) => (
                ServerConfig::Centralized {
                    server: server(address),
                },
                &self.sentinel_credentials,
                None,
            ),
            Destination::Masters(addresses) => {
                let hosts = addresses.iter().map(server).collect();
                let policy = ClusterDiscoveryPolicy::UseCache;
                (ServerConfig::Clustered { hosts, policy }, &self.credentials, None)
            }
        };
        let clustered = matches!(place, ServerConfig::Clustered { .. });
        let config = Config {
            server: place,
            username: credentials.username.clone(),
            password: credentials.password.clone(),
            database,
            tls: self.tls.clone()?,
            ..Config::default()
        };
        let connection = ConnectionConfig {
            connection_timeout: self.timeout,
            internal_command_timeout: self.timeout,
            // With one attempt a command could not follow MOVED. Lost connections are not made again in any case.
            max_command_attempts: if clustered { 4 } else { 1 },
            disable_cluster_health_check: true,
            tcp: TcpConfig {
                nodelay: Some(true),
                ..TcpConfig::default()
            },
            ..ConnectionConfig::default()
        };
        Ok(FredClient::new(config, None, Some(connection), None))
    }
}

/// The name that every node of a cluster must have in its certificate.
#[derive(Debug)]
struct OneName(String);

impl fred::types::config::HostMapping for OneName {
    fn map(&self, _ip: &std::net::IpAddr, _default_host: &str) -> Option<String> {
        Some(self.0.clone())
    }
}

/// A connection in use. It can be shared; its lifetime belongs to whoever holds the [`Lifetime`].
pub(super) struct Client {
    fred: FredClient,
    timeout: Duration,
    tombstone: Arc<Tombstone>,
}

/// The reason for which a connection has to be replaced, once there is one.
#[derive(Default)]
pub(super) struct Tombstone(watch::Sender<Option<ConnectionError>>);

impl Tombstone {
    /// The first reason stays.
    pub(super) fn set(&self, reason: ConnectionError) {
        self.0.send_if_modified(|written| {
            let first = written.is_none();
            written.get_or_insert(reason);
            first
        });
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until there is a reason.
    pub(super) async fn wait(&self) -> ConnectionError {
        let mut written = self.0.subscribe();
        match written.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_else(ConnectionError::absent),
            Err(_) => ConnectionError::absent(),
        }
    }
}

/// Ends the connection when dropped.
pub(super) struct Lifetime(ConnectHandle);

impl Lifetime {
    pub(super) fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits until the connection is gone.
    pub(super) async fn end(&mut self) -> ConnectionError {
        Pin::new(self).await
    }
}

impl Future for Lifetime {
    type Output = ConnectionError;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ConnectionError> {
        Pin::new(&mut self.0).poll(context).map(|ended| match ended {
            Ok(Err(error)) => error.into(),
            Ok(Ok(())) | Err(_) => ConnectionError::Unreachable("the connection ended".to_owned()),
        })
    }
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Connects and authenticates. When this returns, Redis has answered.
    pub(super) async fn open(
        blueprint: &Blueprint,
        destination: Destination<'_>,
    ) -> Result<(Self, Lifetime), ConnectionError> {
        let fred = blueprint.client(&destination)?;
        let client = Self {
            fred,
            timeout: blueprint.timeout,
            tombstone: Arc::default(),
        };
        let mut lifetime = Lifetime(client.fred.connect());
        let answered = client.fred.custom::<Value, Value>(command("PING"), Vec::new());
        client.opened(&mut lifetime, answered).await?;
        Ok((client, lifetime))
    }

    /// Commands wait in fred until the connection is made, so one limit bounds it all.
    async fn opened(
        &self,
        lifetime: &mut Lifetime,
        answered: impl Future<Output = Result<Value, Error>>,
    ) -> Result<(), ConnectionError> {
        let answered = tokio::time::timeout(self.timeout, answered);
        let error = tokio::select! {
            biased;
            error = lifetime.end() => return Err(error),
            answer = answered => match answer {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => error.into(),
                Err(_) => ConnectionError::unanswered(),
            },
        };
        // A command that was under way knows less about the end of a connection than the connection does.
        match error {
            ConnectionError::Unreachable(_) => {
                Err(tokio::time::timeout(FAREWELL, lifetime.end()).await.unwrap_or(error))
            }
            error => Err(error),
        }
    }

    /// Sends a command and waits for its answer. A connection on which none comes in time is given up.
    pub(super) async fn call(&self, name: &'static str, args: Vec<Value>) -> Result<Value, ConnectionError> {
        let answer = tokio::time::timeout(self.timeout, self.fred.custom(command(name), args)).await;
        let result = match answer {
            Ok(answer) => answer.map_err(ConnectionError::from),
            Err(_) => Err(ConnectionError::unanswered()),
        };
        if let Err(error @ ConnectionError::Unreachable(_)) = &result {
            self.tombstone.set(error.clone());
        }
        result
    }

    /// Whether Redis answers. Does not give the connection up when it does not.
    pub(super) async fn ping(&self) -> Result<(), ConnectionError> {
        let answer = self.fred.custom::<Value, Value>(command("PING"), Vec::new());
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer.map(|_| ()).map_err(ConnectionError::from),
            Err(_) => Err(ConnectionError::unanswered()),
        }
    }

    /// Publishes in order. After an error the connection is given up, so that what is sent later cannot overtake.
    pub(super) async fn publish(&self, batch: Vec<Publication>) -> Result<(), ConnectionError> {
        let mut batch = batch.into_iter().peekable();
        while batch.peek().is_some() {
            let (mut messages, mut bytes) = (0, 0);
            let part = std::iter::from_fn(|| {
                let publication = batch.next_if(|_| messages < PIPELINE && bytes < PIPELINE_BYTES)?;
                messages += 1;
                bytes += publication.channel.len() + publication.payload.len();
                Some(publication)
            });
            let published = tokio::time::timeout(self.timeout, self.publish_part(part)).await;
            if let Err(error) = published.unwrap_or_else(|_| Err(ConnectionError::unanswered())) {
                self.tombstone.set(error.clone());
                return Err(error);
            }
        }
        Ok(())
    }

    async fn publish_part(&self, part: impl Iterator<Item = Publication>) -> Result<(), ConnectionError> {
        let pipeline = self.fred.pipeline();
        for Publication { channel, payload } in part {
            // Not fred's `publish`, which takes channels of UTF-8 only.
            let args = vec![Value::Bytes(channel), Value::Bytes(payload)];
            let () = pipeline.custom(command("PUBLISH"), args).await?;
        }
        for answer in pipeline.try_all::<Value>().await {
            answer?;
        }
        Ok(())
    }

    /// Makes the owner of this connection replace it.
    pub(super) fn tombstone(&self) -> &Arc<Tombstone> {
        &self.tombstone
    }

    /// Says goodbye and ends the connection, within half a second.
    pub(super) async fn close(&self, lifetime: &mut Lifetime) {
        if tokio::time::timeout(FAREWELL, self.fred.quit())
            .await
            .is_ok_and(|quit| quit.is_ok())
        {
            let _ended = tokio::time::timeout(FAREWELL, lifetime.end()).await;
        }
    }
}

fn command(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::FirstKey, false)
}

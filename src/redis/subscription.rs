//! The subscribed connection. fred hands messages on through a queue that overwrites the oldest when a burst comes, so
//! this reads from the socket itself: what is not read yet waits in the socket and then in Redis.
//!
//! A subscribed connection of RESP2 sends three things only: confirmations, messages and answers to PING.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fred::rustls::pki_types::ServerName;
use fred::types::config::TlsConnector;
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::types::BytesFrame;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::client::{Blueprint, FAREWELL};
use super::error::ConnectionError;
use crate::cluster::bus::{Observer, Subscriptions};
use crate::config::RedisAddress;

/// Bytes asked for in one read.
const READ: usize = 64 * 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Who hears, and what.
pub(super) struct Audience {
    /// What `PSUBSCRIBE` takes.
    patterns: Vec<String>,
    channels: Vec<String>,
    pub(super) observer: Arc<dyn Observer>,
}

impl Audience {
    pub(super) fn new(subscriptions: Subscriptions, observer: Arc<dyn Observer>) -> Self {
        let Subscriptions { prefixes, names } = subscriptions;
        Self {
            patterns: prefixes.iter().map(|prefix| pattern(prefix)).collect(),
            channels: names,
            observer,
        }
    }
}

/// A pattern for all channels that begin like this: what Redis gives a meaning in patterns is escaped.
fn pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    pattern
}

/// A connection on which Redis has confirmed every channel.
pub(super) struct Subscription {
    stream: Box<dyn Stream>,
    unread: BytesMut,
    /// When the last byte came.
    heard: Instant,
    /// When PING was sent, unless something has come since.
    asked: Option<Instant>,
}

/// What Redis sent.
enum Received {
    Message(Bytes, Bytes),
    Confirmation,
    /// To PING, AUTH or QUIT.
    Answer,
    Error(String),
}

impl Subscription {
    /// Connects, authenticates and subscribes. Messages that come in between are told already.
    pub(super) async fn open(
        blueprint: &Blueprint,
        address: &RedisAddress,
        audience: &Audience,
    ) -> Result<Self, ConnectionError> {
        let connecting = timeout(blueprint.timeout, connect(blueprint, address));
        let stream = connecting.await.map_err(|_| ConnectionError::unanswered())??;
        let (unread, heard, asked) = (BytesMut::new(), Instant::now(), None);
        let mut subscription = Self {
            stream,
            unread,
            heard,
            asked,
        };
        let asking = timeout(blueprint.timeout, subscription.subscribe(blueprint, audience));
        asking.await.map_err(|_| ConnectionError::unanswered())??;
        Ok(subscription)
    }

    async fn subscribe(&mut self, blueprint: &Blueprint, audience: &Audience) -> Result<(), ConnectionError> {
        let Audience {
            patterns,
            channels,
            observer,
        } = audience;
        if let Some(credentials) = blueprint.auth() {
            self.send("AUTH", credentials).await?;
            match self.receive().await? {
                // A server without a password needs none; fred takes it so, too.
                Received::Error(text)
                    if !text.contains("without any password") && !text.contains("no password is set") =>
                {
                    return Err(ConnectionError::of_answer(&text));
                }
                _ => {}
            }
        }
        for (command, names) in [("PSUBSCRIBE", patterns), ("SUBSCRIBE", channels)] {
            if !names.is_empty() {
                self.send(command, names.iter().map(String::as_str)).await?;
            }
        }
        let mut missing = patterns.len() + channels.len();
        while missing > 0 {
            match self.receive().await? {
                Received::Confirmation => missing -= 1,
                Received::Message(channel, payload) => tell(&**observer, &channel, payload),
                Received::Error(text) => return Err(ConnectionError::of_answer(&text)),
                Received::Answer => {}
            }
        }
        Ok(())
    }

    /// Tells messages until the connection is lost. After `beat` without a byte Redis is asked whether it is there, and
    /// has `limit` to send anything: it sends in order, so messages may be in front of the answer.
    pub(super) async fn run(&mut self, beat: Duration, limit: Duration, observer: &dyn Observer) -> ConnectionError {
        loop {
            let due = self.asked.map_or(self.heard + beat, |asked| asked + limit);
            match timeout_at(due, self.receive()).await {
                Ok(Ok(Received::Message(channel, payload))) => {
                    tell(observer, &channel, payload);
                    // Decoding never waits while there is something to decode; others want to run, too.
                    tokio::task::consume_budget().await;
                }
                Ok(Ok(Received::Error(text))) => return ConnectionError::of_answer(&text),
                Ok(Ok(Received::Confirmation | Received::Answer)) => {}
                Ok(Err(error)) => return error,
                // A part of a long message came.
                Err(_) if self.heard + beat > due => {}
                Err(_) if self.asked.is_some() => return ConnectionError::unanswered(),
                Err(_) => match timeout(limit, self.send("PING", [])).await {
                    Ok(Ok(())) => self.asked = Some(Instant::now()),
                    Ok(Err(error)) => return error,
                    Err(_) => return ConnectionError::unanswered(),
                },
            }
        }
    }

    /// Says goodbye, within half a second.
    pub(super) async fn close(&mut self) {
        let _told = timeout(FAREWELL, async {
            self.send("QUIT", []).await?;
            self.stream.shutdown().await.map_err(lost)
        })
        .await;
    }

    async fn send<'a>(
        &mut self,
        command: &'a str,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), ConnectionError> {
        let words: Vec<&str> = std::iter::once(command).chain(args).collect();
        let mut bytes = format!("*{}\r\n", words.len());
        for word in words {
            bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.write_all(bytes.as_bytes()).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }

    /// The next thing that Redis sends. Can be dropped while it waits: nothing is lost.
    async fn receive(&mut self) -> Result<Received, ConnectionError> {
        loop {
            let decoded = decode_bytes_mut(&mut self.unread);
            match decoded.map_err(|_| ConnectionError::foreign())? {
                Some((frame, ..)) => {
                    return read(frame).ok_or_else(|| ConnectionError::unexpected("SUBSCRIBE"));
                }
                None => {
                    self.unread.reserve(READ);
                    if self.stream.read_buf(&mut self.unread).await.map_err(lost)? == 0 {
                        return Err(ConnectionError::Unreachable("the connection ended".to_owned()));
                    }
                    self.heard = Instant::now();
                    self.asked = None;
                }
            }
        }
    }
}

async fn connect(blueprint: &Blueprint, address: &RedisAddress) -> Result<Box<dyn Stream>, ConnectionError> {
    let tls = blueprint.tls.clone()?;
    let plain = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(lost)?;
    plain.set_nodelay(true).map_err(lost)?;
    let Some(tls) = tls else {
        return Ok(Box::new(plain));
    };
    let TlsConnector::Rustls(connector) = tls.connector;
    let name = blueprint.servername.clone().unwrap_or_else(|| address.host.clone());
    let name = ServerName::try_from(name)
        .map_err(|_| ConnectionError::Options("the host is no name that a certificate can have".to_owned()))?;
    Ok(Box::new(connector.connect(name, plain).await.map_err(lost)?))
}

fn lost(error: std::io::Error) -> ConnectionError {
    ConnectionError::from(fred::error::Error::from(error))
}

fn tell(observer: &dyn Observer, channel: &[u8], payload: Bytes) {
    observer.message(&String::from_utf8_lossy(channel), payload);
}

/// `["message", channel, payload]`, `["pmessage", pattern, channel, payload]`, `["subscribe", channel, count]`, …
fn read(frame: BytesFrame) -> Option<Received> {
    let parts = match frame {
        BytesFrame::Array(parts) => parts,
        BytesFrame::Error(text) => return Some(Received::Error(text.to_string())),
        _ => return Some(Received::Answer),
    };
    let mut parts = parts.into_iter();
    let mut bytes = || match parts.next() {
        Some(BytesFrame::BulkString(bytes)) => Some(bytes),
        _ => None,
    };
    match &*bytes()? {
        b"message" => Some(Received::Message(bytes()?, bytes()?)),
        b"pmessage" => {
            bytes()?;
            Some(Received::Message(bytes()?, bytes()?))
        }
        b"subscribe" | b"psubscribe" => Some(Received::Confirmation),
        b"pong" => Some(Received::Answer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(pattern("socket.io#/#"), "socket.io#/#*");
        assert_eq!(pattern(r"a*b?[c]\#/#"), r"a\*b\?\[c\]\\#/#*");
        assert_eq!(pattern("a^"), r"a\^*");
    }
}

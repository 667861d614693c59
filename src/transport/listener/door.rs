//! What a door is told, and what all of its connections share.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::RwLock;
use rustls::ServerConfig;
use serde::Deserialize;
use tokio::net::TcpStream;

use super::stream::Stream;
use crate::transport::{
    cors::Cors,
    gateway::Transport,
    tls::{Tls, TlsOptions},
};

/// How long a client may take to shake hands.
const HANDSHAKE_TIME: Duration = Duration::from_secs(60);

/// What the door is to do.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DoorConfig {
    /// An address to listen on, or
    pub address: Option<SocketAddr>,
    /// the path of a Unix socket.
    pub unix: Option<PathBuf>,
    /// Connections that may wait to be accepted.
    pub backlog: i32,
    /// Whether other processes may listen on the same port.
    pub reuse_port: bool,
    /// TLS, if it is to be used.
    pub(super) tls: Option<TlsOptions>,
    /// What browsers are told about other origins; without it Node.js is asked, which gets every connection.
    pub(super) cors: Option<Cors>,
    /// Whether Node.js takes connections with requests for other paths; they get 404 otherwise.
    pub(super) hands_over: bool,
    /// Whether Node.js serves the client's bundle.
    pub(super) serves_client: bool,
    /// What the session cookie is made of: before the id, and after it.
    pub(super) cookie: Option<(String, String)>,
}

/// Takes connections that are Node.js's.
pub type HandOver = Arc<dyn Fn(Foreign) + Send + Sync>;

/// A connection that is Node.js's.
#[derive(Debug)]
pub struct Foreign {
    /// It, or one over which its bytes go on.
    pub stream: std::net::TcpStream,
    /// What was read of it.
    pub received: Bytes,
    /// Where its client is.
    pub client: Option<SocketAddr>,
    /// Whether it is over TLS.
    pub is_secure: bool,
}

/// Where a door listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A port.
    Ip(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What all connections of a door use.
pub(super) struct Door {
    pub(super) transport: Arc<Transport>,
    /// The path of the service, with the slash behind it.
    pub(super) prefix: String,
    pub(super) config: DoorConfig,
    pub(super) hand_over: HandOver,
    pub(super) tls: Option<Arc<RwLock<Arc<ServerConfig>>>>,
}

impl Door {
    /// Shakes hands with a client, where that is to be done.
    pub(super) async fn secure(&self, stream: TcpStream) -> io::Result<Stream> {
        let Some(tls) = &self.tls else {
            return Ok(Stream::Bare(stream));
        };
        let context = tls.read().clone();
        let shaking = Tls::accept(stream, context);
        let tls = tokio::time::timeout(HANDSHAKE_TIME, shaking).await??;
        Ok(Stream::over_tls(tls))
    }
}

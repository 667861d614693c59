//! A door of our own: a port or a Unix socket on which the service listens beside, or without, an HTTP server of Node.js.
//!
//! HTTP is hyper's. Where a request asks for WebSocket, its connection is taken back from hyper with what was read of it, so
//! that the response leaves with the open packet in one write. Requests for other paths are Node.js's: their connection
//! is handed to it, with the bytes of the request.
//!
//! | part | owns |
//! |---|---|
//! | `listener` | doors, opened and closed |
//! | `door` | what a door is told, and what its connections share |
//! | `accept` | its connections |
//! | `requests` | the requests of a connection, and their answers |
//! | `gate` | what of a connection HTTP may see |
//! | `stream` | a connection, bare or over TLS |
//! | `relay` | what goes to Node.js though TLS stays here |

mod accept;
mod door;
mod gate;
mod relay;
mod requests;
mod stream;

use std::{io, sync::Arc};

use parking_lot::RwLock;
use rustls::ServerConfig;
use tokio::sync::watch;

pub use self::door::{Address, DoorConfig, Foreign, HandOver};
use self::{
    accept::{accept, bind},
    door::Door,
};
use super::{
    gateway::Transport,
    tls::{ContextError, TlsOptions},
};

/// Why a door was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system's reason: the address is in use, or not ours.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The options of TLS are of no use.
    #[error(transparent)]
    Tls(#[from] ContextError),
}

/// An open door. Closed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    /// What new connections shake hands by, when they are over TLS.
    tls: Option<Arc<RwLock<Arc<ServerConfig>>>>,
    /// Held by every connection; `true` when the door is closed.
    closing: watch::Sender<bool>,
}

impl Listener {
    /// Opens a door to a transport. Must be called in the runtime.
    ///
    /// # Errors
    ///
    /// Those of the system: the address is in use, or not ours; and those of TLS.
    pub fn open(transport: &Arc<Transport>, config: DoorConfig, hand_over: HandOver) -> Result<Self, OpenError> {
        let (closing, closed) = watch::channel(false);
        let tls = config.tls.as_ref().map(TlsOptions::context).transpose()?;
        let tls = tls.map(|context| Arc::new(RwLock::new(context)));
        let (socket, address) = bind(&config)?;
        let door = Arc::new(Door {
            transport: transport.clone(),
            prefix: format!("{}/", transport.sessions.service.config.path),
            config,
            hand_over,
            tls: tls.clone(),
        });
        tokio::spawn(accept(socket, door, closed));
        Ok(Self { address, tls, closing })
    }

    /// Connections that are accepted from now on shake hands by these options. False when there is no TLS.
    ///
    /// # Errors
    ///
    /// When the options are of no use; the earlier ones stay.
    pub fn set_secure_context(&self, options: &TlsOptions) -> Result<bool, ContextError> {
        let Some(tls) = &self.tls else { return Ok(false) };
        *tls.write() = options.context()?;
        Ok(true)
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Accepts nobody any more, and resolves when the requests that are under way have been answered.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        self.closing.closed().await;
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

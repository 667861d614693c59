//! A real server on a port of its own, without Node.js: an HTTP front, a recorder of events, and small clients.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod client;
pub mod front;
pub mod peers;
pub mod random;
pub mod recorder;
pub mod threads;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use native_websocket_service::{
    config::Config,
    hub::Socket,
    server::{Farewell, Server},
    service::Service,
    transport::Transport,
    wire::packet::{Packet, PacketKind},
};

#[allow(unused_imports)]
pub use client::{Client, Polling, Ws, number};
#[allow(unused_imports)]
pub use recorder::{Admissions, Recorder};

/// How long a test waits for anything before it fails.
pub const PATIENCE: Duration = Duration::from_secs(12);

/// Native threads of the servers of the tests, and so parts of the fan-out.
pub const THREADS: usize = 4;

/// Waits for something that must come.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come within {PATIENCE:?}"),
    }
}

/// Waits until a state that has no event of its own is reached.
pub async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    within(what, async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// An event with these arguments, `["name", …]` as JSON.
pub fn event(args: &str) -> Packet {
    Packet::new(PacketKind::Event(None), args, Vec::new())
}

/// The options of the tests.
pub fn config() -> Config {
    Config {
        worker_threads: THREADS,
        ..Config::default()
    }
}

/// A server that listens on a port of its own.
pub struct TestServer {
    pub server: Server,
    pub recorder: Arc<Recorder>,
    pub address: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

impl TestServer {
    pub fn start(config: Config) -> Self {
        let recorder = Arc::new(Recorder::default());
        let server = Server::new(config, recorder.clone()).unwrap();
        recorder.serve(server.service());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = server
            .runtime()
            .spawn(front::accept(listener, server.transport().clone()));
        Self {
            server,
            recorder,
            address,
            accepting,
        }
    }

    pub fn service(&self) -> &Arc<Service> {
        self.server.service()
    }

    pub fn transport(&self) -> &Arc<Transport> {
        self.server.transport()
    }

    /// A registered socket.
    pub fn socket(&self, id: &str) -> Arc<Socket> {
        self.service().hub.socket(id).expect("a registered socket")
    }

    /// Sends `["n", 0]`, `["n", 1]`, … to a socket.
    pub fn count_to(&self, socket: &str, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let packet = event(&format!("[\"n\",{number}]"));
            self.service().emit_to_socket(socket, packet, false);
        }
    }

    /// Everything that every client left behind must go; then the server ends.
    pub async fn end(self) {
        within("the end of all sessions", self.transport().quiet()).await;
        until("a clean hub", || self.service().hub.is_clean()).await;
        // A socket is told of after it has left the hub.
        until("every disconnect", || self.recorder.open_connections() == 0).await;
        self.recorder.assert_balanced();
        let shutdown = self.server.shutdown(Farewell::default());
        within("shutdown", shutdown).await;
        self.accepting.abort();
    }
}

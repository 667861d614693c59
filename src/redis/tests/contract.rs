//! What every bus and every store keeps to, over a real server.

use std::sync::Arc;

use super::config;
use super::server::RedisServer;
use crate::cluster::bus::contract::{Backend, cases};
use crate::cluster::bus::{Bus, Store};

/// Nothing survives when the server is taken away: it saves nothing.
impl Backend for RedisServer {
    fn begin() -> Self {
        Self::start()
    }

    fn open(&self) -> (Arc<dyn Bus>, Arc<dyn Store>) {
        crate::redis::open(&config(self))
    }

    fn take_away(&mut self) {
        self.kill();
    }

    fn bring_back(&mut self) {
        self.run();
    }
}

cases!(RedisServer);

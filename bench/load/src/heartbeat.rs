//! The client's side of the heartbeat: a client gives its connection up when the server has not pinged for as long as
//! the handshake allows, as `engine.io-client` does.

use anyhow::Result;
use serde::Deserialize;
use std::{cell::Cell, time::Duration};
use tokio::time::Instant;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handshake {
    pub sid: String,
    ping_interval: u64,
    ping_timeout: u64,
}

impl Handshake {
    /// Reads the open packet's data, everything behind its `0`.
    pub fn parse(data: &[u8]) -> Result<Self> {
        Ok(serde_json::from_slice(data)?)
    }

    /// How long a client waits for a ping.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.ping_interval + self.ping_timeout)
    }
}

/// When the server was last heard of.
pub struct Heartbeat {
    patience: Cell<Option<Duration>>,
    last: Cell<Instant>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            patience: Cell::default(),
            last: Cell::new(Instant::now()),
        }
    }
}

impl Heartbeat {
    /// The handshake has come: from here on a ping is expected.
    pub fn begin(&self, handshake: &Handshake) {
        self.patience.set(Some(handshake.patience()));
        self.beat();
    }

    /// A ping has come.
    pub fn beat(&self) {
        self.last.set(Instant::now());
    }

    /// `None` before the handshake.
    pub fn patience(&self) -> Option<Duration> {
        self.patience.get()
    }

    /// Whether a client would give up by now.
    pub fn is_overdue(&self) -> bool {
        self.patience
            .get()
            .is_some_and(|patience| self.last.get().elapsed() > patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_gives_up_when_no_ping_comes_for_both_times_together() -> Result<()> {
        let heartbeat = Heartbeat::default();
        heartbeat.begin(&Handshake::parse(
            br#"{"sid":"a","upgrades":[],"pingInterval":1000,"pingTimeout":2000}"#,
        )?);
        tokio::time::advance(Duration::from_millis(2_900)).await;
        assert!(!heartbeat.is_overdue());
        heartbeat.beat();
        tokio::time::advance(Duration::from_millis(2_900)).await;
        assert!(!heartbeat.is_overdue());
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(heartbeat.is_overdue());
        Ok(())
    }
}

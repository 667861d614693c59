//! Memory after a storm: what clients made the process allocate is given back to the system once it is calm again.
//!
//! The system's allocator keeps what was freed in small pieces. Asking it to give that back takes locks that everybody
//! needs, so it is asked after a storm only, and not while it goes on.
#![allow(unsafe_code)]

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use crate::service::Service;

/// How often is looked whether it is calm.
const STEP: Duration = Duration::from_secs(1);
/// Looks at least between two times that memory is given back: large messages may come all the time.
const REST: u32 = 10;
/// Bytes that may wait because of clients while it is calm.
const CALM_BYTES: usize = 1 << 20;
/// So many connections, half of which are gone, were a storm.
const MANY_CONNECTIONS: usize = 1_000;
/// Looks after such a storm at which memory is given back once more: the tasks of those that are gone, and what JavaScript
/// was to hear of them, are freed after their sockets, and one piece keeps a page.
const ECHOES: u32 = 5;
/// How many of them are still to come when JavaScript is to look for its garbage, which V8 does not by itself while nothing
/// happens: once to free it, and once more to give back the room.
const GARBAGE: [u32; 2] = [ECHOES - 1, ECHOES - 3];

/// Gives memory back after each storm, for as long as the service lives.
pub async fn watch(service: Weak<Service>) {
    let mut storm = Storm::default();
    loop {
        tokio::time::sleep(STEP).await;
        let Some(service) = service.upgrade() else { return };
        if storm.is_over(&service) {
            if GARBAGE.contains(&storm.echoes) {
                service.sink().many_have_gone();
            }
            drop(service);
            // It may take a while.
            let _ = tokio::task::spawn_blocking(give_back).await;
        }
    }
}

/// What was seen of a storm.
#[derive(Debug, Default)]
struct Storm {
    was_seen: bool,
    /// Looks until memory may be given back again.
    rest: u32,
    /// Looks at which memory is still to be given back once more.
    echoes: u32,
    most_connections: usize,
    /// At the last look.
    connections: usize,
}

impl Storm {
    /// Looks at the service. True when memory is to be given back.
    fn is_over(&mut self, service: &Arc<Service>) -> bool {
        let connections = service.hub.socket_count();
        self.most_connections = self.most_connections.max(connections);
        let have_left = self.most_connections >= MANY_CONNECTIONS && connections <= self.most_connections / 2;
        if have_left {
            self.most_connections = connections;
            self.echoes = ECHOES;
            self.rest = 0;
        }
        let is_any_slow = service.fanout().congestion().is_any_slow();
        self.was_seen |= service.budget().take_storm() || is_any_slow || have_left;
        self.rest = self.rest.saturating_sub(1);
        // Most of what they took is freed when the last of them has gone.
        let are_leaving = connections < self.connections - self.connections / 100;
        self.connections = connections;
        let is_calm = !is_any_slow && !are_leaving && service.budget().waiting() <= CALM_BYTES;
        if !is_calm {
            return false;
        }
        if self.was_seen && self.rest == 0 {
            self.most_connections = connections;
            self.rest = REST;
            self.was_seen = false;
            return true;
        }
        let is_echo = self.echoes > 0;
        self.echoes = self.echoes.saturating_sub(1);
        is_echo
    }
}

/// Asks the allocator for what it does not need.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    // SAFETY: the function takes the allocator's own locks, and changes nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// The allocators of other systems give memory back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

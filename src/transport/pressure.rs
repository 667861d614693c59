//! The bytes of all clients together: when there are too many, the heaviest clients are closed.
//!
//! A client weighs what it keeps in memory: what it has sent and what is yet to be done about it, and what waits for it. Of a
//! broadcast, all who have yet to get it keep one copy, of which each weighs its part: all of them together weigh what
//! closing all of them would free, and whoever is the last to read it the whole.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{session::Session, sessions::Sessions};
use crate::{config::Limit, disconnect::DisconnectReason};

/// How often the clients are weighed.
const STEP: Duration = Duration::from_millis(250);

/// Weighs the clients for as long as the sessions' table lives; more than `most` bytes are too many.
pub(super) async fn watch(sessions: Weak<Sessions<Session>>, most: usize) {
    loop {
        tokio::time::sleep(STEP).await;
        let Some(sessions) = sessions.upgrade() else { return };
        // The clients cannot have more than the process.
        if resident().is_none_or(|bytes| bytes >= most) {
            relieve(&sessions, most);
        }
    }
}

/// Closes the heaviest clients until the others have an eighth less than `most`.
fn relieve(sessions: &Sessions<Session>, most: usize) {
    let mut weights = weights_of(sessions.all());
    let mut total: usize = weights.iter().map(|(weight, _)| weight).sum();
    if total <= most {
        return;
    }
    weights.sort_unstable_by_key(|(weight, _)| Reverse(*weight));
    let limits = &sessions.common.limits;
    let (before, mut closed) = (total, 0);
    for (weight, session) in weights {
        if total <= most - most / 8 {
            break;
        }
        total -= weight;
        closed += 1;
        limits.exceeded.count(Limit::MaxTotalBytes);
        session.connection().close(DisconnectReason::TransportError);
    }
    limits.warn(format!(
        "clients kept {before} bytes, more than limits.maxTotalBytes allows: the {closed} heaviest were closed"
    ));
}

/// What each client weighs, of those that weigh anything.
fn weights_of(sessions: Vec<Arc<Session>>) -> Vec<(usize, Arc<Session>)> {
    let mut holders: HashMap<usize, usize> = HashMap::new();
    for session in &sessions {
        session.weigh(&mut |place, _| *holders.entry(place).or_default() += 1);
    }
    let weighed = sessions.into_iter().map(|session| {
        let mut shared = 0;
        let own = session.weigh(&mut |place, length| {
            shared += length / holders.get(&place).copied().unwrap_or(1).max(1);
        });
        (own + shared, session)
    });
    weighed.filter(|(weight, _)| *weight > 0).collect()
}

/// Bytes of memory that the process has, where that is told.
#[cfg(target_os = "linux")]
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(not(target_os = "linux"))]
fn resident() -> Option<usize> {
    None
}

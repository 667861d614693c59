//! Heartbeats of clients that cannot be heard.
//!
//! The library ends a session whose client is silent for `pingTimeout`. Silence may be of our own making: a client with
//! a full account is not read from, and what a client sends by way of Node.js waits while JavaScript is busy. The
//! clock of such a client stands still: its heartbeats are answered in its place until it can be heard again. Who could
//! be heard for long enough and was not is gone: it is not answered for, however often JavaScript is busy.

use std::{
    sync::{
        Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::engine::Transport;

/// Looks within `pingTimeout`: how soon is seen that JavaScript is busy.
const LOOKS_PER_TIMEOUT: u32 = 8;
/// The longest and the shortest time between two looks.
const LONGEST_STEP: Duration = Duration::from_secs(1);
const SHORTEST_STEP: Duration = Duration::from_millis(5);

/// Time in which JavaScript was not busy, in looks; goes round at 2^32.
#[derive(Debug, Default)]
pub(super) struct Hearing(AtomicU32);

impl Hearing {
    /// Now.
    pub(super) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Answers for clients that cannot be heard, for as long as the transport lives.
pub(super) async fn watch(transport: Weak<Transport>, ping_interval: Duration, ping_timeout: Duration) {
    let step = (ping_timeout / LOOKS_PER_TIMEOUT).clamp(SHORTEST_STEP, LONGEST_STEP);
    // An answer holds for `pingTimeout`.
    let looks_per_answer = (ping_timeout.as_micros() / step.as_micros() / 2).max(1);
    // A client that lives is heard within this time.
    let longest = (ping_interval + ping_timeout).as_micros().div_ceil(step.as_micros());
    let longest = u32::try_from(longest).unwrap_or(u32::MAX);
    let mut looks = 0;
    let mut silent_looks = 0;
    loop {
        tokio::time::sleep(step).await;
        let Some(transport) = transport.upgrade() else { return };
        let by_node = transport.through_node.load(Ordering::Relaxed) > 0;
        let is_silent = by_node && !transport.service.sink().is_responsive();
        let answers_paused = looks % looks_per_answer == 0 && transport.service.budget().paused() > 0;
        let answers_silent = is_silent && silent_looks % looks_per_answer == 0;
        looks += 1;
        silent_looks = if is_silent { silent_looks + 1 } else { 0 };
        if !is_silent {
            transport.hearing.0.fetch_add(1, Ordering::Relaxed);
        }
        if answers_paused || answers_silent {
            answer(&transport, answers_paused, answers_silent.then_some(longest));
        }
    }
}

/// `for_silent`: for how long clients that send by way of Node.js may have been silent while JavaScript was not busy.
fn answer(transport: &Transport, for_paused: bool, for_silent: Option<u32>) {
    let sessions: Vec<_> = transport
        .sessions
        .iter()
        .filter_map(|entry| entry.value().upgrade())
        .collect();
    for session in sessions {
        let is_excused = for_silent.is_some_and(|most| session.passes_through_node() && session.silence() <= most);
        if is_excused || (for_paused && session.account().is_paused()) {
            session.answer_heartbeat();
        }
    }
}

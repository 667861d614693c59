//! Heartbeats of clients that cannot be heard.
//!
//! The library ends a session whose client is silent for `pingTimeout`. Silence may be of our own making: a client with
//! a full account is not read from, and what a client sends by way of Node.js waits while JavaScript is busy. The
//! clock of such a client stands still: its heartbeats are answered in its place until it can be heard again. Who could
//! be heard for long enough and was not is gone: it is not answered for, however often JavaScript is busy.

use std::{sync::Weak, time::Duration};

use super::{session::Session, sessions::Sessions};

/// Looks within `pingTimeout`: how soon is seen that JavaScript is busy.
const LOOKS_PER_TIMEOUT: u32 = 8;
/// The longest and the shortest time between two looks.
const LONGEST_STEP: Duration = Duration::from_secs(1);
const SHORTEST_STEP: Duration = Duration::from_millis(5);

/// Answers for clients that cannot be heard, for as long as the sessions' table lives.
pub(super) async fn watch(sessions: Weak<Sessions<Session>>, ping_interval: Duration, ping_timeout: Duration) {
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
        let Some(sessions) = sessions.upgrade() else { return };
        let is_silent = sessions.roll.depends_on_node() && !sessions.service.sink().is_responsive();
        let answers_paused = looks % looks_per_answer == 0 && sessions.service.budget().paused() > 0;
        let answers_silent = is_silent && silent_looks % looks_per_answer == 0;
        looks += 1;
        silent_looks = if is_silent { silent_looks + 1 } else { 0 };
        if !is_silent {
            sessions.roll.hearing.advance();
        }
        if answers_paused || answers_silent {
            answer(&sessions, answers_paused, answers_silent.then_some(longest));
        }
    }
}

/// `for_silent`: for how long clients that send by way of Node.js may have been silent while JavaScript was not busy.
fn answer(sessions: &Sessions<Session>, for_paused: bool, for_silent: Option<u32>) {
    for session in sessions.all().into_iter().filter(|session| !session.phase().is_over()) {
        let by_node = session.connection().seat().passes_through_node();
        let is_excused = for_silent.is_some_and(|most| by_node && session.silence() <= most);
        if is_excused || (for_paused && session.account().is_paused()) {
            session.answer_heartbeat();
        }
    }
}

//! Heartbeats: of clients on WebSocket, and of those that poll and cannot be heard.
//!
//! One task looks at every client on WebSocket when that is due ([`Wheel`](super::wheel::Wheel)). Of a client that polls, the
//! library ends the session when it is silent for `pingTimeout`. Silence may be of our own making: a client with a full
//! account is not read from, and what a client sends by way of Node.js waits while JavaScript is busy. The clock of such a
//! client stands still: one that polls has its heartbeats answered in its place until it can be heard again. Who could be
//! heard for long enough and was not is gone, however often JavaScript is busy.

use std::{
    sync::Weak,
    time::{Duration, Instant},
};

use super::{
    hearing::{longest_silence, step},
    session::Session,
    sessions::Sessions,
};

/// A wheel that turns so much too late shows that the process, or the machine, stood still.
const STANDSTILL: Duration = Duration::from_millis(250);
/// Clients looked at before others have their turn.
const AT_A_TIME: usize = 256;

/// Looks at the clients on WebSocket, for as long as the sessions' table lives.
pub(super) async fn beat(sessions: Weak<Sessions<Session>>) {
    loop {
        let Some(sessions) = sessions.upgrade() else { return };
        for (count, sid) in sessions.wheel.take().enumerate() {
            if count % AT_A_TIME == AT_A_TIME - 1 {
                tokio::task::yield_now().await;
            }
            if let Some(after) = sessions.get(sid).and_then(|session| session.look()) {
                sessions.wheel.insert(sid, after);
            }
        }
        let turned = Instant::now();
        sessions.wheel.turn().await;
        if turned.elapsed() > sessions.wheel.step() + STANDSTILL {
            // What the clients have sent meanwhile is read first.
            tokio::time::sleep(STANDSTILL).await;
        }
    }
}

/// Answers for polling clients that cannot be heard, for as long as the sessions' table lives.
pub(super) async fn watch(sessions: Weak<Sessions<Session>>, ping_interval: Duration, ping_timeout: Duration) {
    let step = step(ping_timeout);
    // An answer holds for `pingTimeout`.
    let looks_per_answer = (ping_timeout.as_micros() / step.as_micros() / 2).max(1);
    let longest = longest_silence(ping_interval, ping_timeout);
    let mut looks = 0;
    let mut silent_looks = 0;
    loop {
        tokio::time::sleep(step).await;
        let Some(sessions) = sessions.upgrade() else { return };
        let roll = &sessions.common.roll;
        let is_silent = roll.depends_on_node() && !sessions.service.sink().is_responsive();
        let answers_paused = looks % looks_per_answer == 0 && sessions.service.budget().paused() > 0;
        let answers_silent = is_silent && silent_looks % looks_per_answer == 0;
        looks += 1;
        silent_looks = if is_silent { silent_looks + 1 } else { 0 };
        if !is_silent {
            roll.hearing.advance();
        }
        if answers_paused || answers_silent {
            answer(&sessions, answers_paused, answers_silent.then_some(longest));
        }
    }
}

/// `for_silent`: for how long clients that send by way of Node.js may have been silent while JavaScript was not busy.
fn answer(sessions: &Sessions<Session>, for_paused: bool, for_silent: Option<u32>) {
    let polls = |session: &std::sync::Arc<Session>| !session.phase().is_over() && !session.phase().is_on_websocket();
    for session in sessions.all().into_iter().filter(polls) {
        let by_node = session.connection().seat().passes_through_node();
        let is_excused = for_silent.is_some_and(|most| by_node && session.silence() <= most);
        if is_excused || (for_paused && session.account().is_paused()) {
            session.answer_heartbeat();
        }
    }
}

//! Signs of life of a client: when it was heard, and what is answered in its place.

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use super::Session;

impl Session {
    /// For how long the client has not been heard, in looks at which JavaScript was not busy.
    pub(in crate::transport) fn silence(&self) -> u32 {
        let now = self.connection.seat().now();
        now.wrapping_sub(self.heard.load(Ordering::Relaxed))
    }

    /// Runs a step that the client has caused by what it sent.
    pub(super) fn hear<R>(&self, step: impl FnOnce() -> R) -> R {
        self.heard.store(self.connection.seat().now(), Ordering::Relaxed);
        self.account().causes(step)
    }

    /// Tells the library that the client is alive: that it is not heard is not its fault.
    pub(in crate::transport) fn answer_heartbeat(self: &Arc<Self>) {
        if self.phase().is_on_websocket() {
            self.answers_heartbeat.store(true, Ordering::Release);
            self.reader.wake();
        } else {
            let session = self.clone();
            self.sessions.runtime.spawn(async move {
                session.connection.queue().post(session.heartbeat()).await;
            });
        }
    }

    /// Whether the stream is to tell the library that the client is alive; once.
    pub(in crate::transport) fn takes_heartbeat(&self) -> bool {
        self.answers_heartbeat.load(Ordering::Acquire) && self.answers_heartbeat.swap(false, Ordering::AcqRel)
    }

    /// What the client sends as a sign of life: its answer to a ping, in Engine.IO 3 a ping.
    pub(in crate::transport) fn heartbeat(&self) -> &'static str {
        if self.is_eio3() { "2" } else { "3" }
    }

    /// Resolves when the polling client may cause more, or is going.
    pub(in crate::transport) async fn has_room(self: &Arc<Self>) {
        let mut is_answered = false;
        poll_fn(|context| {
            let phase = self.phase();
            if self.account().poll_ready(context).is_ready() || phase.is_over() || phase.is_closing() {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut is_answered, true) {
                self.answer_heartbeat();
            }
            Poll::Pending
        })
        .await;
    }
}

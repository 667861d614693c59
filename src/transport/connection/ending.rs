//! Goodbye: what still leaves, what is closed when, and the end of the session. The first step to the end decides its
//! reason.

use std::time::Duration;

use bytes::Bytes;

use super::Connection;
use crate::{
    config::Limit,
    disconnect::DisconnectReason,
    link::Ending,
    transport::{
        outbox::Outbox,
        phase::{Phase, Route},
        poll_queue::Waiting,
    },
    wire::{
        packet::text_frame,
        payload::{CLOSE, FAREWELL},
    },
};

/// How long a client may take to read a part of what is left, its goodbye included.
pub(in crate::transport) const LINGER: Duration = Duration::from_secs(3);
/// WebSocket close frame without a status, as `ws` sends it for Socket.IO.
pub(in crate::transport) const CLOSE_FRAME: [u8; 2] = [0x88, 0];

impl Connection {
    /// Why the server ends the connection, if it does.
    pub(in crate::transport) fn reason(&self) -> Option<DisconnectReason> {
        self.rare.get()?.reason.get().cloned()
    }

    /// Says why the server ends the connection; only the first call counts.
    pub(in crate::transport) fn because(&self, reason: DisconnectReason) {
        let _ = self.rare.get_or_init(Box::default).reason.set(reason);
    }

    /// Ends the connection once what was sent before has left.
    pub(super) fn say_goodbye(&self, ending: Ending) {
        let mut outbox = self.outbox.lock();
        match (self.phase().route(), ending) {
            (Route::Held, _) => drop(self.phase.step(|phase| phase.ask(ending))),
            (Route::Direct, Ending::Kick | Ending::Close) => {
                if ending == Ending::Kick && !self.phase().is_closing() {
                    outbox.stage(text_frame(FAREWELL));
                }
                drop(outbox);
                self.end();
            }
            (Route::Direct, Ending::Leave) => {
                if !self.phase().is_closing() {
                    outbox.stage(text_frame(FAREWELL));
                    self.write(&mut outbox);
                }
            }
            (Route::Queue, _) => {
                let Some(queue) = self.queue() else { return };
                let is_idle = queue.is_idle() && !self.phase().is_upgrading();
                let closes = ending != Ending::Leave && self.phase.step(Phase::leave).is_some();
                if closes && ending == Ending::Close && is_idle {
                    // There is nothing that the client could miss; if it still polls, it learns that there is no session.
                    drop(outbox);
                    self.kill();
                    return self.close_engine();
                }
                queue.push(if ending == Ending::Close {
                    Waiting::Close
                } else {
                    Waiting::Farewell
                });
                drop(outbox);
                queue.wake();
                if ending != Ending::Close {
                    // Not under the lock: the library tells of the end at once. What it says to the client is ours to say.
                    queue.disconnect();
                }
                if closes {
                    self.close_after_farewell();
                }
            }
        }
    }

    /// Ends the session once its client has fetched what is queued, its farewell included, or after a while.
    fn close_after_farewell(&self) {
        let me = self.me.clone();
        self.seat.common().runtime.spawn(async move {
            let mut left = usize::MAX;
            loop {
                tokio::time::sleep(LINGER).await;
                let Some(connection) = me.upgrade() else { return };
                let waiting = connection.outbox.lock().waiting();
                if waiting == 0 || waiting >= left {
                    connection.kill();
                    return connection.close_engine();
                }
                left = waiting;
            }
        });
    }

    /// The client has been handed the last of what was queued: the session ends if it is to.
    pub(in crate::transport) fn farewell_passed(&self) {
        let phase = self.phase();
        if !phase.is_leaving() {
            return;
        }
        if phase.is_on_websocket() {
            self.end();
        } else {
            self.close_engine();
        }
    }

    /// Says goodbye over WebSocket: delivers what is queued, ends our side, and closes for good after a while.
    pub(in crate::transport) fn end(&self) {
        self.end_with(Bytes::from_static(&CLOSE_FRAME));
    }

    /// As [`Self::end`], with this close frame: the client's own, when it has closed.
    pub(in crate::transport) fn end_with(&self, close_frame: Bytes) {
        let mut outbox = self.outbox.lock();
        if outbox.carrier.is_none() || self.phase.step(Phase::close).is_none() {
            return;
        }
        outbox.stage(close_frame);
        self.write(&mut outbox);
        drop(outbox);
        // What still comes from the client is read, to see it go.
        self.account.wake();
        let Some(connection) = self.me.upgrade() else { return };
        self.seat.common().runtime.spawn(async move {
            let mut left = usize::MAX;
            // As long as the client reads, it gets what is queued; shutdown has a deadline of its own.
            loop {
                tokio::time::sleep(LINGER).await;
                let waiting = connection.outbox.lock().waiting();
                if waiting == 0 || waiting >= left {
                    return connection.kill();
                }
                left = waiting;
            }
        });
    }

    /// Ends the session for a reason of ours.
    pub(in crate::transport) fn close(&self, reason: DisconnectReason) {
        self.because(reason);
        // engine.io-client waits for ever when its probe was answered and is then cut off. It completes its upgrade, and
        // finds that there is no session any more.
        if !self.phase().is_probed() {
            self.kill();
        }
        self.close_engine();
    }

    /// As [`Self::close`], once a client that polls has fetched what waits for it.
    pub(in crate::transport) fn close_behind_queue(&self, reason: DisconnectReason) {
        self.because(reason.clone());
        let outbox = self.outbox.lock();
        let waits = self.queue().filter(|queue| !queue.is_empty());
        let Some(queue) = waits.filter(|_| self.phase.step(Phase::leave).is_some()) else {
            drop(outbox);
            return self.close(reason);
        };
        queue.push(Waiting::Close);
        drop(outbox);
        queue.wake();
        self.close_after_farewell();
    }

    /// Closes a client for which far too much waits.
    pub(super) fn overflow(&self, outbox: &mut Outbox) {
        self.seat.common().limits.exceeded.count(Limit::MaxQueuedBytes);
        self.because(DisconnectReason::TransportError);
        let waiting = outbox.waiting();
        self.seat.common().limits.warn(format!(
            "a client reads too slowly: closed with {waiting} bytes waiting"
        ));
        self.cut(outbox);
        self.close_engine();
    }

    /// Closes the stream at once.
    pub(in crate::transport) fn kill(&self) {
        self.cut(&mut self.outbox.lock());
    }

    /// As [`Self::kill`]: whoever waits for the client, or reads from it, sees that.
    fn cut(&self, outbox: &mut Outbox) {
        self.phase.step(Phase::kill);
        outbox.clear();
        if let Some(queue) = self.queue() {
            queue.clear();
        }
        self.account.wake();
        self.progressed(outbox);
    }

    /// The carrier broke: with it the connection, unless the client is polling and only tried to upgrade.
    pub(super) fn fail(&self, outbox: &mut Outbox) {
        if self.phase().is_on_websocket() {
            self.cut(outbox);
        } else {
            outbox.drop_carrier();
        }
    }

    /// The stream's reader is gone: lets what is pending leave, then closes.
    pub(in crate::transport) fn reader_gone(&self) {
        let mut outbox = self.outbox.lock();
        if outbox.pending.is_empty() || self.phase().is_closed() {
            self.cut(&mut outbox);
        } else {
            drop(outbox);
            self.end();
        }
    }

    /// Makes socketioxide forget the session; of one on WebSocket, the end of its stream tells it.
    fn close_engine(&self) {
        let Some(connection) = self.me.upgrade().filter(|_| !self.phase().is_on_websocket()) else {
            return;
        };
        self.seat.common().runtime.spawn(async move {
            connection.post(CLOSE).await;
            connection.finish();
            if connection.phase().is_on_websocket() {
                // It has moved meanwhile.
                connection.kill();
            }
        });
    }

    /// Nothing more comes from or goes to the client: shutdown need not wait for it.
    pub(in crate::transport) fn finish(&self) {
        if self.phase.step(Phase::finish).is_some() {
            self.account.wake();
            self.has_changed();
            // The stream of a client that is just moving to WebSocket stays until its upgrade is complete or times out:
            // engine.io-client never closes once its probe was answered and then cut off.
            self.seat.leave();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let outbox = self.outbox.get_mut();
        outbox.clear();
        if outbox.is_slow {
            self.seat.common().limits.congestion.leave();
        }
    }
}

//! What arrives on the cluster's channels, told apart and handed to whom it concerns; and the news of the bus itself.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    answers::Answers,
    backlog::Backlog,
    bus::{BusError, Observer},
    channels::Channels,
    commands::Commands,
    delivery::Delivery,
    mark,
    membership::Membership,
    message::{Envelope, Message, Unreadable, origin_of_payload},
    questions::Questions,
    status::Status,
    sync::InstanceSync,
    takeover::Takeovers,
};
use crate::{
    adapter::{broadcast, channels::Scope},
    service::Service,
};

/// Hears for the cluster.
pub(super) struct Listener {
    pub(super) uid: Arc<str>,
    pub(super) service: Arc<Service>,
    pub(super) channels: Arc<Channels>,
    pub(super) status: Arc<Status>,
    pub(super) sync: Arc<InstanceSync>,
    pub(super) membership: Arc<Membership>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) delivery: Arc<Delivery>,
    pub(super) commands: Arc<Commands>,
    pub(super) takeovers: Arc<Takeovers>,
    pub(super) questions: Arc<Questions>,
    pub(super) answers: Arc<Answers>,
}

impl Observer for Listener {
    fn message(&self, channel: &str, payload: Bytes) {
        // What one message does must not end the hearing of all others.
        let arrived = std::panic::AssertUnwindSafe(|| self.arrived(channel, payload));
        if std::panic::catch_unwind(arrived).is_err() {
            tracing::error!(channel, "a message of the cluster panicked; it is lost");
        }
    }

    fn up(&self) {
        self.membership.bus_is_up();
    }

    fn down(&self, error: &BusError) {
        self.status.degrade(error);
    }
}

impl Listener {
    fn arrived(&self, channel: &str, payload: Bytes) {
        let Channels {
            classic,
            everyone,
            inbox,
        } = &*self.channels;
        if let Some(scope) = classic.scope(channel) {
            self.broadcast_arrived(channel, scope, payload);
        } else if *channel == **everyone || *channel == **inbox {
            self.message_arrived(channel, payload);
        } else if *channel == *classic.request {
            self.answers.request_arrived(&payload);
        } else {
            self.questions.response_arrived(&payload);
        }
    }

    fn broadcast_arrived(&self, channel: &str, scope: Scope<'_>, payload: Bytes) {
        match broadcast::peek(&payload) {
            None => self.status.ignore(channel, "not a broadcast"),
            Some((uid, _)) if *uid == *self.uid => {}
            Some((uid, Some(mark))) if mark::read(mark.kind).is_ok() => {
                self.status.received();
                let uid = uid.to_owned();
                self.sync.publication_arrived(&uid, mark.seq, channel, payload);
            }
            Some((uid, mark)) => {
                self.status.received();
                if let Some(Err(version)) = mark.map(|mark| mark::read(mark.kind)) {
                    let error = Unreadable::Version(version);
                    self.status.report("ERR_CLUSTER_VERSION", &error.to_string());
                }
                if self.delivery.has_recipients(scope) {
                    let from = origin_of_payload(uid, &payload);
                    self.delivery
                        .read(channel, &payload, |broadcast| self.delivery.deliver(broadcast, from));
                }
            }
        }
    }

    /// A message of an instance, to all or to this one.
    fn message_arrived(&self, channel: &str, payload: Bytes) {
        let envelope = match Envelope::decode(&payload) {
            Ok(envelope) => envelope,
            Err(error @ Unreadable::Version(_)) => {
                return self.status.report("ERR_CLUSTER_VERSION", &error.to_string());
            }
            Err(error) => return self.status.ignore(channel, &error.to_string()),
        };
        let Envelope { uid, seq, message } = envelope;
        if uid == self.uid {
            if let Message::Beat(_) = message {
                self.membership.own_beat_arrived();
            }
            return;
        }
        self.status.received();
        match seq {
            Some(seq) => self.sync.publication_arrived(&uid, seq, channel, payload),
            None => self.told(&uid, message),
        }
    }

    /// What an instance tells outside of its publications.
    fn told(&self, uid: &Arc<str>, message: Message) {
        match message {
            Message::Beat(beat) => self.sync.beat_arrived(uid, beat),
            Message::Hello => self.membership.beat(),
            Message::Bye => self.sync.instances().bye(&self.service, uid),
            Message::Resend(first, end) => self.sync.resend(uid, first, end),
            Message::Resent(entries) => self.sync.resent(uid, entries),
            Message::Lost(before) => self.sync.lost(uid, before),
            Message::AskSnapshot => self.sync.send_snapshot(uid),
            Message::Snapshot(part) => self.sync.snapshot_arrived(uid, part),
            Message::AskHistory => self.backlog.send(uid),
            Message::History(part) => self.backlog.take(part),
            Message::Do(number, socket_id, command) => {
                self.commands.execute(&self.service, uid, number, &socket_id, &command);
            }
            Message::Done(number, error) => self.commands.done(number, error),
            Message::Moved(secret) => self.service.moved_away(&secret),
            Message::AskSession(number, claim) => self.takeovers.session_asked(uid, number, claim),
            Message::Session(number, session) => self.takeovers.session_arrived(number, session),
            Message::Release(number, claim, rooms, heard) => {
                self.takeovers.release_asked(uid, number, claim, rooms, heard);
            }
            Message::NotReleased(number, rooms) => self.takeovers.moved(number, rooms),
            Message::Released(number, part) => self.takeovers.missed_arrived(number, part),
            // Numbered, or else not sent by an instance of this version.
            _ => {}
        }
    }
}

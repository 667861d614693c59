//! Sockets that go from one instance to another with their clients: what the two ask each other.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    answers::Answers,
    log::{Body, Log},
    message::{Heard, Message, MissedPacket, MissedPart},
    sync::InstanceSync,
    tasks::Tasks,
};
use crate::{
    hub::{Claim, Cut, Handed, Inheritance, Socket},
    ports::{Release, Session, Told},
    service::Service,
    wire::json::is_json,
};

/// How long an answer is waited for, that of another instance's application included.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an instance that is asked to let a socket go may take to hear what the other one has heard.
const CATCHING_UP: Duration = Duration::from_secs(2);
/// Sockets that the application is asked about at a time.
const DATA_PART: usize = 500;
/// What an application keeps that keeps nothing.
const NO_DATA: &str = "{}";
/// Bytes of packets in one message.
const PART_BYTES: usize = 256 << 10;

/// What becomes of a socket, and how far its former instance has heard each instance.
type Released = (Release, Heard);

/// Answers that are waited for, by the numbers of their questions.
#[derive(Debug, Default)]
struct Waiting {
    sessions: HashMap<u64, oneshot::Sender<Option<Session>>>,
    /// With the parts that have come.
    releases: HashMap<u64, (Vec<Handed>, oneshot::Sender<Option<Released>>)>,
}

/// The sockets that come and go.
pub(super) struct Takeovers {
    pub(super) service: Arc<Service>,
    pub(super) log: Arc<Log>,
    pub(super) sync: Arc<InstanceSync>,
    pub(super) answers: Arc<Answers>,
    pub(super) tasks: Arc<Tasks>,
    waiting: Arc<Mutex<Waiting>>,
    next: AtomicU64,
}

impl Takeovers {
    /// None comes, and none goes.
    pub(super) fn new(
        service: Arc<Service>,
        log: Arc<Log>,
        sync: Arc<InstanceSync>,
        answers: Arc<Answers>,
        tasks: Arc<Tasks>,
    ) -> Self {
        Self {
            service,
            log,
            sync,
            answers,
            tasks,
            waiting: Arc::default(),
            next: AtomicU64::new(0),
        }
    }

    /// Asks an instance what a socket is.
    pub(super) fn ask_session(&self, instance: &Arc<str>, claim: &Claim) -> BoxFuture<'static, Told> {
        if !self.sync.lives(instance) {
            return std::future::ready(Told::Nothing).boxed();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().sessions.insert(number, sender);
        let question = Message::AskSession(number, claim.clone());
        self.log.send(Body::Inbox(instance.clone(), question));
        let waiting = self.waiting.clone();
        async move {
            let forget = move || drop(waiting.lock().sessions.remove(&number));
            match within_patience(answer, forget).await {
                Some(Some(session)) => Told::Session(session),
                Some(None) => Told::New,
                None => Told::Nothing,
            }
        }
        .boxed()
    }

    /// Resolves when of each instance as much has been heard as a client has seen, but for that of its socket; to false when
    /// it takes too long.
    pub(super) fn heard(&self, socket: &Socket, seen: Cut) -> BoxFuture<'static, bool> {
        let (sync, lost) = (self.sync.clone(), socket.instance().cloned());
        async move {
            let reaches = sync.reaches(&seen, lost.as_deref());
            tokio::time::timeout(CATCHING_UP, reaches).await.is_ok()
        }
        .boxed()
    }

    /// Asks an instance to let a socket go, which is in these rooms here.
    pub(super) fn ask_release(
        &self,
        instance: &Arc<str>,
        claim: &Claim,
        rooms: &[String],
    ) -> BoxFuture<'static, Option<Release>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().releases.insert(number, (Vec::new(), sender));
        let question = Message::Release(number, claim.clone(), rooms.to_vec(), self.sync.heard());
        self.log.send(Body::Inbox(instance.clone(), question));
        let (waiting, sync) = (self.waiting.clone(), self.sync.clone());
        async move {
            let forget = move || drop(waiting.lock().releases.remove(&number));
            let (release, heard) = within_patience(answer, forget).await??;
            // What the former instance has brought does not come again from those that published it.
            let is_level = tokio::time::timeout(CATCHING_UP, sync.hears(&heard)).await.is_ok();
            is_level.then_some(release)
        }
        .boxed()
    }

    /// The answer to what was asked about a socket.
    pub(super) fn session_arrived(&self, number: u64, session: Option<Session>) {
        // JavaScript parses these.
        let session = session.map(|session| Session {
            profile: session.profile.filter(|profile| is_json(profile)),
            data: session.data.filter(|data| is_json(data)),
            ..session
        });
        let asked = self.waiting.lock().sessions.remove(&number);
        if let Some(asked) = asked {
            let _ = asked.send(session);
        }
    }

    /// A socket is not let go: it is in these rooms meanwhile.
    pub(super) fn moved(&self, number: u64, rooms: Vec<String>) {
        let asked = self.waiting.lock().releases.remove(&number);
        if let Some((_, asked)) = asked {
            let _ = asked.send(Some((Release::Moved(rooms), Heard::new())));
        }
    }

    /// A part of what a client has missed.
    pub(super) fn missed_arrived(&self, number: u64, part: Option<MissedPart>) {
        let mut waiting = self.waiting.lock();
        let Some((missed, _)) = waiting.releases.get_mut(&number) else {
            return;
        };
        let is_told = part.is_some();
        let MissedPart { packets, last } = part.unwrap_or_default();
        let count = missed.len() + packets.len();
        missed.extend(packets.into_iter().filter_map(MissedPacket::handed));
        let is_whole = is_told && missed.len() == count;
        if (last.is_some() || !is_whole)
            && let Some((missed, asked)) = waiting.releases.remove(&number)
        {
            let last = last.filter(|_| is_whole);
            let released = last.map(|(cut, heard)| (Release::Done(Inheritance { missed, cut }), heard));
            let _ = asked.send(released);
        }
    }

    /// Another instance asks what a socket of this one is.
    pub(super) fn session_asked(self: &Arc<Self>, uid: &Arc<str>, number: u64, claim: Claim) {
        let (takeovers, uid) = (self.clone(), uid.clone());
        self.tasks.spawn(async move {
            let session = takeovers.session(&claim).await;
            takeovers.log.send(Body::Inbox(uid, Message::Session(number, session)));
        });
    }

    async fn session(&self, claim: &Claim) -> Option<Session> {
        self.service.brought(claim).await;
        let Some(socket) = self.service.claimed(claim) else {
            return self.service.promise(claim).await;
        };
        if socket.is_touched() {
            self.note_data(std::slice::from_ref(&socket)).await;
        }
        let data = socket.told_data().map(|data| data.to_string());
        Some(self.service.session_of(&socket, data))
    }

    /// Tells the others what the application keeps of the sockets whose clients may come to them, as far as that has changed.
    pub(super) async fn tell_data(&self) {
        if self.service.recovers().is_none() {
            return;
        }
        let sockets = self.service.hub.sockets();
        let sockets = sockets
            .into_iter()
            .filter(|socket| socket.is_touched() && socket.recovery().is_some());
        for part in sockets.collect::<Vec<_>>().chunks(DATA_PART) {
            self.note_data(part).await;
        }
    }

    /// Asks the application what it keeps of sockets. What it does not say in time is as it was.
    async fn note_data(&self, sockets: &[Arc<Socket>]) {
        let data = self.answers.data_of(sockets).await;
        for (socket, data) in sockets.iter().zip(&data) {
            let expiry_changes = socket.note_expiry();
            let is_new = (data.get() != NO_DATA || socket.told_data().is_some()) && socket.note_data(data.get());
            if (is_new || expiry_changes) && socket.is_connected() {
                let kept = Message::Kept(socket.id().to_owned(), data.get().to_owned(), socket.expires_at());
                self.log.publish(Body::Message(kept), 0);
            }
        }
    }

    /// Another instance, which has heard this much of each, and has the socket in these rooms, asks for one of this instance.
    pub(super) fn release_asked(
        self: &Arc<Self>,
        uid: &Arc<str>,
        number: u64,
        claim: Claim,
        rooms: Vec<String>,
        heard: Heard,
    ) {
        let (takeovers, uid) = (self.clone(), uid.clone());
        self.tasks.spawn(async move {
            let has_heard = takeovers.sync.hears(&heard);
            let is_level = tokio::time::timeout(CATCHING_UP, has_heard).await.is_ok();
            match is_level.then(|| takeovers.sync.release(&claim, &rooms)).flatten() {
                Some(Release::Done(missed)) => takeovers.send_missed(&uid, number, Some(missed)),
                Some(Release::Moved(rooms)) => {
                    takeovers
                        .log
                        .send(Body::Inbox(uid, Message::NotReleased(number, rooms)));
                }
                None => takeovers.send_missed(&uid, number, None),
            }
        });
    }

    fn send_missed(&self, uid: &Arc<str>, number: u64, inheritance: Option<Inheritance>) {
        let send = |part| {
            let part = Message::Released(number, part);
            self.log.send(Body::Inbox(uid.clone(), part));
        };
        let Some(Inheritance { missed, cut }) = inheritance else {
            return send(None);
        };
        let (mut part, mut bytes) = (MissedPart::default(), 0);
        for handed in &missed {
            bytes += handed.packet.len();
            part.packets.push(handed.into());
            if bytes >= PART_BYTES {
                send(Some(std::mem::take(&mut part)));
                bytes = 0;
            }
        }
        part.last = Some((cut, self.sync.heard()));
        send(Some(part));
    }
}

/// The answer, if it comes in time. Then `forget` is called.
async fn within_patience<T>(answer: oneshot::Receiver<T>, forget: impl FnOnce()) -> Option<T> {
    let answered = tokio::time::timeout(PATIENCE, answer).await;
    forget();
    answered.ok()?.ok()
}

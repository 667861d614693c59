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
    message::{Message, MissedPacket},
    sync::InstanceSync,
    tasks::Tasks,
};
use crate::{
    hub::{Claim, Socket},
    ports::{Release, Session},
    service::Service,
    wire::packet::Packet,
};

/// How long an answer is waited for, that of another instance's application included.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an instance that is asked to let a socket go may take to hear what the other one has heard.
const CATCHING_UP: Duration = Duration::from_secs(2);
/// Bytes of packets in one message.
const PART_BYTES: usize = 256 << 10;

/// Where an answer is waited for.
type Awaited<T> = oneshot::Sender<Option<T>>;

/// Answers that are waited for, by the numbers of their questions.
#[derive(Debug, Default)]
struct Waiting {
    sessions: HashMap<u64, Awaited<Session>>,
    /// With the parts that have come.
    releases: HashMap<u64, (Vec<Packet>, Awaited<Release>)>,
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

    /// Asks the instance of a socket what that is.
    pub(super) fn ask_session(&self, socket: &Socket, claim: &Claim) -> BoxFuture<'static, Option<Session>> {
        let Some(instance) = socket.instance() else {
            return std::future::ready(None).boxed();
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().sessions.insert(number, sender);
        let question = Message::AskSession(number, claim.clone());
        self.log.send(Body::Inbox(instance.clone(), question));
        let waiting = self.waiting.clone();
        within_patience(answer, move || {
            waiting.lock().sessions.remove(&number);
        })
        .boxed()
    }

    /// Asks the instance of a socket, which is in these rooms here, to let it go.
    pub(super) fn ask_release(
        &self,
        socket: &Socket,
        claim: &Claim,
        rooms: &[String],
    ) -> BoxFuture<'static, Option<Release>> {
        let Some(instance) = socket.instance() else {
            return std::future::ready(None).boxed();
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().releases.insert(number, (Vec::new(), sender));
        let heard = self.sync.heard();
        let question = Message::Release(number, claim.clone(), rooms.to_vec(), heard);
        self.log.send(Body::Inbox(instance.clone(), question));
        let waiting = self.waiting.clone();
        within_patience(answer, move || {
            waiting.lock().releases.remove(&number);
        })
        .boxed()
    }

    /// The answer to what was asked about a socket.
    pub(super) fn session_arrived(&self, number: u64, session: Option<Session>) {
        let asked = self.waiting.lock().sessions.remove(&number);
        if let Some(asked) = asked {
            let _ = asked.send(session);
        }
    }

    /// A socket is not let go: it is in these rooms meanwhile.
    pub(super) fn moved(&self, number: u64, rooms: Vec<String>) {
        let asked = self.waiting.lock().releases.remove(&number);
        if let Some((_, asked)) = asked {
            let _ = asked.send(Some(Release::Moved(rooms)));
        }
    }

    /// A part of what a client has missed.
    pub(super) fn missed_arrived(&self, number: u64, part: Option<(Vec<MissedPacket>, bool)>) {
        let mut waiting = self.waiting.lock();
        let Some((packets, _)) = waiting.releases.get_mut(&number) else {
            return;
        };
        let is_last = part.as_ref().is_none_or(|(_, is_last)| *is_last);
        let is_whole = part.is_some_and(|(part, _)| {
            let count = packets.len() + part.len();
            packets.extend(part.into_iter().filter_map(MissedPacket::packet));
            packets.len() == count
        });
        if (is_last || !is_whole)
            && let Some((packets, asked)) = waiting.releases.remove(&number)
        {
            let _ = asked.send(is_whole.then_some(Release::Done(packets)));
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
        let socket = self.service.claimed(claim)?;
        let data = match socket.is_touched() {
            true => Some(self.answers.data_of_one(&socket).await?),
            false => socket.inherited_data().map(str::to_owned),
        };
        Some(self.service.session_of(&socket, data))
    }

    /// Another instance, which has heard this much of each, and has the socket in these rooms, asks for one of this instance.
    pub(super) fn release_asked(
        self: &Arc<Self>,
        uid: &Arc<str>,
        number: u64,
        claim: Claim,
        rooms: Vec<String>,
        heard: Vec<(Arc<str>, u64)>,
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

    fn send_missed(&self, uid: &Arc<str>, number: u64, missed: Option<Vec<Packet>>) {
        let send = |part| {
            let part = Message::Released(number, part);
            self.log.send(Body::Inbox(uid.clone(), part));
        };
        let Some(missed) = missed else {
            return send(None);
        };
        let (mut part, mut bytes) = (Vec::new(), 0);
        for packet in &missed {
            bytes += packet.len();
            part.push(MissedPacket::of(packet));
            if bytes >= PART_BYTES {
                send(Some((std::mem::take(&mut part), false)));
                bytes = 0;
            }
        }
        send(Some((part, true)));
    }
}

/// The answer, if it comes in time. Then, or when nobody waits any more, `forget` is called.
async fn within_patience<T>(answer: oneshot::Receiver<Option<T>>, forget: impl FnOnce()) -> Option<T> {
    let answered = tokio::time::timeout(PATIENCE, answer).await;
    forget();
    answered.ok()?.ok()?
}

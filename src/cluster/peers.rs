//! What the service tells the other servers, noted under the service's locks and published later: the port [`Peers`].

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    history::{Reader, Storage},
    log::{Body, Log, OwnedBroadcast},
    record::{Message, PacketParts, RoomFacts, Select, SocketFacts, digest},
    rooms::Directory,
};
use crate::{
    error::Error,
    hub::{Room, Socket},
    ports::{Answer, Broadcast, Command, Fact, Peers},
    wire::packet::Packet,
};

/// How long a caller waits for the messages of a room; what comes later is there for the next call.
const RESTORE_PATIENCE: Duration = Duration::from_millis(250);

/// What this instance has to tell.
pub(super) struct Outbox {
    /// Its publications.
    pub(super) log: Log,
    /// The rooms of the cluster.
    pub(super) directory: Directory,
    /// The messages that are to survive, when they are.
    pub(super) storage: Option<Arc<Storage>>,
    /// What is known of other instances is as new as it can be.
    pub(super) is_current: AtomicBool,
    /// Reads messages back, when they are kept.
    pub(super) reader: OnceLock<Reader>,
    questions: Mutex<HashMap<u64, (Instant, Answer)>>,
    next_question: AtomicU64,
    patience: Duration,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl Outbox {
    /// Nothing to tell. Questions wait for `patience`.
    pub(super) fn new(log: Log, directory: Directory, storage: Option<Arc<Storage>>, patience: Duration) -> Self {
        Self {
            log,
            directory,
            storage,
            is_current: AtomicBool::new(false),
            reader: OnceLock::new(),
            questions: Mutex::default(),
            next_question: AtomicU64::new(0),
            patience,
        }
    }

    /// The answer to a question.
    pub(super) fn answered(&self, question: u64, outcome: Result<(), Error>) {
        let waiting = self.questions.lock().remove(&question);
        if let Some((_, answer)) = waiting {
            answer(outcome);
        }
    }

    /// Gives up questions that nobody has answered in time.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        self.give_up(|asked_until| asked_until <= now);
    }

    /// Gives up all questions.
    pub(super) fn end(&self) {
        self.give_up(|_| true);
    }

    fn give_up(&self, is_over: impl Fn(Instant) -> bool) {
        let over: Vec<_> = {
            let mut questions = self.questions.lock();
            let ids: Vec<u64> = questions
                .iter()
                .filter(|(_, (until, _))| is_over(*until))
                .map(|(id, _)| *id)
                .collect();
            ids.iter().filter_map(|id| questions.remove(id)).collect()
        };
        for (_, answer) in over {
            answer(Err(Error::Unanswered));
        }
    }
}

impl Peers for Outbox {
    fn broadcast(&self, broadcast: &Broadcast<'_, '_>) {
        let Broadcast {
            packet,
            selection,
            fact,
        } = *broadcast;
        let Some(rooms) = selection.as_rooms() else {
            let select = Select::new(selection, packet);
            return self.log.publish(Body::Message(Message::Select(select)), 0);
        };
        let (socket, room) = (selection.except.first(), rooms.first());
        let digest = match (fact, socket, room) {
            (Fact::Joined | Fact::Left, Some(socket), Some(room)) => digest(socket, Some(room)),
            _ => 0,
        };
        if let (Fact::Message(time), Some(room), Some(storage)) = (fact, room, &self.storage) {
            storage.store(room, packet, time);
        }
        let owned = OwnedBroadcast {
            packet: packet.clone(),
            rooms: rooms.iter().map(|room| (**room).into()).collect(),
            except: selection.except.iter().map(|name| (**name).into()).collect(),
            volatile: selection.volatile,
            fact,
        };
        self.log.publish(Body::Broadcast(owned), digest);
    }

    fn stored(&self, room_id: &str, packet: &Packet, time: u64) {
        if let Some(storage) = &self.storage {
            storage.store(room_id, packet, time);
        }
        let message = Message::Stored(room_id.to_owned(), PacketParts::of(packet), time);
        self.log.publish(Body::Message(message), 0);
    }

    fn is_current(&self) -> bool {
        self.is_current.load(Ordering::Acquire)
    }

    fn connected(&self, socket: &Arc<Socket>) {
        let facts = SocketFacts::of(socket);
        self.log
            .publish(Body::Message(Message::Connected(facts)), digest(socket.id(), None));
    }

    fn disconnected(&self, socket: &Arc<Socket>) {
        let message = Message::Disconnected(socket.id().to_owned());
        self.log.publish(Body::Message(message), digest(socket.id(), None));
    }

    fn room_created(&self, room: &Room) {
        let facts = RoomFacts::from(&room.info);
        self.directory.created(facts.clone());
        self.log.publish(Body::Message(Message::RoomCreated(facts)), 0);
    }

    fn room_deleted(&self, room_id: &str, members: &[Arc<Socket>], here: bool) {
        self.directory.deleted(room_id, here);
        if here {
            self.log
                .publish(Body::Message(Message::RoomDeleted(room_id.to_owned())), 0);
            if let Some(storage) = &self.storage {
                storage.forget(room_id);
            }
        }
        if !members.is_empty() {
            let digest = members.iter().map(|socket| digest(socket.id(), Some(room_id)));
            let digest = digest.fold(0, |all, one| all ^ one);
            self.log
                .publish(Body::Message(Message::RoomCleared(room_id.to_owned())), digest);
        }
    }

    fn restore(&self, room: &Arc<Room>) {
        let Some((reader, storage)) = self.reader.get().zip(self.storage.as_ref()) else {
            return;
        };
        // Whoever comes second does not wait.
        room.state().history.is_restored = true;
        let _ = reader.read(storage, room).recv_timeout(RESTORE_PATIENCE);
    }

    fn ask(&self, socket: &Socket, command: Command, answer: Answer) {
        let Some(instance) = socket.instance() else {
            return answer(Err(Error::UserNotFound));
        };
        let question = self.next_question.fetch_add(1, Ordering::Relaxed);
        self.questions
            .lock()
            .insert(question, (Instant::now() + self.patience, answer));
        let message = Message::Do(question, socket.id().to_owned(), command);
        self.log.say(Body::Inbox(instance.clone(), message));
    }
}

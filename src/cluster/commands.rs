//! What this instance asks of the instance of a socket, until it is answered or given up; and what others ask of it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    log::{Body, Log},
    message::Message,
};
use crate::{
    error::{Error, Spoken},
    hub::Socket,
    ports::{Answer, Command},
    service::Service,
};

/// Commands that wait for their outcome.
pub(super) struct Commands {
    log: Arc<Log>,
    waiting: Mutex<HashMap<u64, (Instant, Answer)>>,
    next: AtomicU64,
    patience: Duration,
}

impl Commands {
    /// None waits. Each will for `patience`.
    pub(super) fn new(log: Arc<Log>, patience: Duration) -> Self {
        Self {
            log,
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            patience,
        }
    }

    /// Asks the instance of a socket to do something with it.
    pub(super) fn ask(&self, socket: &Socket, command: Command, answer: Answer) {
        let Some(instance) = socket.instance() else {
            return answer(Err(Error::UserNotFound));
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let until = Instant::now() + self.patience;
        self.waiting.lock().insert(number, (until, answer));
        let message = Message::Do(number, socket.id().to_owned(), command);
        self.log.send(Body::Inbox(instance.clone(), message));
    }

    /// The outcome of a command: nothing, or what went wrong.
    pub(super) fn done(&self, number: u64, error: Option<Spoken>) {
        let waiting = self.waiting.lock().remove(&number);
        if let Some((_, answer)) = waiting {
            answer(error.map_or(Ok(()), |spoken| Err(spoken.into())));
        }
    }

    /// Does what another instance asks, and tells it the outcome.
    pub(super) fn execute(&self, service: &Service, uid: &Arc<str>, number: u64, socket_id: &str, command: &Command) {
        let outcome = service.apply(socket_id, command);
        let error = outcome.err().map(|error| error.spoken());
        self.log.send(Body::Inbox(uid.clone(), Message::Done(number, error)));
    }

    /// Gives up those that nobody has answered in time.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        self.give_up(|until| until <= now);
    }

    /// Gives up all.
    pub(super) fn end(&self) {
        self.give_up(|_| true);
    }

    fn give_up(&self, is_over: impl Fn(Instant) -> bool) {
        let over: Vec<_> = {
            let mut waiting = self.waiting.lock();
            let ended = waiting.iter().filter(|(_, (until, _))| is_over(*until));
            let numbers: Vec<u64> = ended.map(|(number, _)| *number).collect();
            numbers.iter().filter_map(|number| waiting.remove(number)).collect()
        };
        for (_, answer) in over {
            answer(Err(Error::Unanswered));
        }
    }
}

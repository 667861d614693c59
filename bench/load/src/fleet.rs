//! All clients of a run: opens them, sends messages from one after the other, waits for what is on its way.

use crate::{
    Target, chat,
    client::{self, Receiver, Scratch, Sender},
    tally::{Phase, Tally},
};
use anyhow::{Context, Result};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, interval_at, timeout},
};

/// How long opening all clients may take.
const OPEN_LIMIT: Duration = Duration::from_secs(180);

/// How long the last deliveries may take after the last message.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

struct Client {
    sender: Rc<Sender>,
    /// Index of its room.
    room: Option<usize>,
}

/// What the receiving tasks share with the fleet.
struct Shared {
    tally: RefCell<Tally>,
    /// Some message has reached its last member.
    finished: Notify,
}

pub struct Fleet {
    rooms: Vec<String>,
    /// Members of each room.
    members: Vec<u32>,
    clients: Vec<Client>,
    next: Cell<usize>,
    shared: Rc<Shared>,
}

impl Fleet {
    /// Opens all clients of the target, joined to their rooms; one refusal fails it all.
    pub async fn open(target: &Target, tally: Tally) -> Result<Self> {
        let shared = Rc::new(Shared {
            tally: RefCell::new(tally),
            finished: Notify::new(),
        });
        let clients = timeout(OPEN_LIMIT, open_all(target, &shared))
            .await
            .context("opening took too long")??;
        let mut members = vec![0; target.rooms.len()];
        for room in clients.iter().filter_map(|client| client.room) {
            if let Some(count) = members.get_mut(room) {
                *count += 1;
            }
        }
        Ok(Self {
            rooms: target.rooms.clone(),
            members,
            clients,
            next: Cell::new(0),
            shared,
        })
    }

    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Reads the books.
    pub fn tally<T>(&self, read: impl FnOnce(&Tally) -> T) -> T {
        read(&self.shared.tally.borrow())
    }

    /// The next client sends one message to its room.
    pub fn send(&self, phase: Phase) -> Result<()> {
        let turn = self.next.replace(self.next.get() + 1) % self.clients.len().max(1);
        let client = self.clients.get(turn).context("no clients")?;
        let room = client.room.context("client without a room")?;
        let members = *self.members.get(room).context("unknown room")?;
        let stamp = self.shared.tally.borrow_mut().send(phase, members)?;
        client
            .sender
            .send(&chat::message(self.rooms.get(room).context("unknown room")?, stamp))
    }

    /// Sends `rate` messages per second for `duration`, the first after one period.
    pub async fn pace(&self, phase: Phase, rate: u32, duration: Duration) -> Result<()> {
        let period = Duration::from_secs(1) / rate;
        let mut ticks = interval_at(Instant::now() + period, period);
        for _ in 0..duration.as_millis() * u128::from(rate) / 1_000 {
            ticks.tick().await;
            self.send(phase)?;
        }
        Ok(())
    }

    /// Keeps `in_flight` messages on their way until `duration` is over.
    pub async fn fill(&self, phase: Phase, in_flight: u32, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            while self.tally(Tally::unfinished) < in_flight {
                self.send(phase)?;
            }
            // Running out of time is how this ends.
            let _ = tokio::time::timeout_at(end, self.shared.finished.notified()).await;
        }
        Ok(())
    }

    /// Waits until every message has reached every member. What has not within the limit counts as lost.
    pub async fn drain(&self) {
        let finished = async {
            while self.tally(Tally::unfinished) > 0 {
                self.shared.finished.notified().await;
            }
        };
        // The books show what is missing.
        let _ = timeout(DRAIN_LIMIT, finished).await;
    }
}

/// `concurrency` tasks each open one client after the other.
async fn open_all(target: &Target, shared: &Rc<Shared>) -> Result<Vec<Client>> {
    let scratch = Rc::new(Scratch::default());
    let next = Rc::new(Cell::new(0));
    let mut openers = JoinSet::new();
    for _ in 0..target.concurrency {
        let (port, count, rooms) = (target.port, target.clients, target.rooms.clone());
        let (scratch, next, shared) = (Rc::clone(&scratch), Rc::clone(&next), Rc::clone(shared));
        openers.spawn_local(async move {
            let mut opened = Vec::new();
            while next.get() < count {
                let index = next.replace(next.get() + 1);
                let room = index.checked_rem(rooms.len());
                let room_id = room.and_then(|room| rooms.get(room)).map(String::as_str);
                let username = format!("u{index}");
                let (sender, receiver) = client::open(port, &username, room_id, Rc::clone(&scratch)).await?;
                let sender = Rc::new(sender);
                tokio::task::spawn_local(listen(receiver, Rc::clone(&sender), Rc::clone(&shared)));
                opened.push(Client { sender, room });
            }
            anyhow::Ok(opened)
        });
    }
    let mut clients = Vec::with_capacity(target.clients);
    while let Some(opened) = openers.join_next().await {
        clients.extend(opened??);
    }
    Ok(clients)
}

async fn listen(mut receiver: Receiver, sender: Rc<Sender>, shared: Rc<Shared>) {
    let ended = receiver.run(&sender, |event| {
        if shared.tally.borrow_mut().receive(event)? {
            shared.finished.notify_one();
        }
        Ok(())
    });
    if let Err(error) = ended.await {
        shared.tally.borrow_mut().close();
        eprintln!("connection ended: {error:#}");
    }
}

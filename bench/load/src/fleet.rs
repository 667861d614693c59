//! All clients of a run: opens them, sends messages from one after the other, waits for what is on its way, ends those
//! that the server has stopped pinging.

use crate::{
    Target, Transport, chat, client,
    heartbeat::Heartbeat,
    line::Scratch,
    polling,
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
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, interval_at, timeout},
};

/// How long opening all clients may take.
const OPEN_LIMIT: Duration = Duration::from_secs(180);

/// How long the last deliveries may take after the last message.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// How often heartbeats are looked at.
const WATCH_PERIOD: Duration = Duration::from_millis(100);

/// The sending half of a client, whatever its transport.
enum Sender {
    WebSocket(client::Sender),
    Polling(polling::Sender),
}

enum Receiver {
    WebSocket(client::Receiver),
    Polling(polling::Receiver),
}

impl Sender {
    fn send(&self, packet: &str) -> Result<()> {
        match self {
            Self::WebSocket(sender) => sender.send(packet),
            Self::Polling(sender) => sender.send(packet),
        }
    }

    /// A polling connection ends with its receiver, whose GET is broken off.
    fn shut_down(&self) {
        if let Self::WebSocket(sender) = self {
            sender.shut_down();
        }
    }

    fn heartbeat(&self) -> &Heartbeat {
        match self {
            Self::WebSocket(sender) => &sender.heartbeat,
            Self::Polling(sender) => &sender.heartbeat,
        }
    }
}

struct Client {
    index: usize,
    sender: Rc<Sender>,
    /// Index of its room.
    room: Option<usize>,
    /// Receives for it.
    listener: AbortHandle,
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
    clients: Rc<[Client]>,
    /// The first so many clients send.
    senders: usize,
    next: Cell<usize>,
    shared: Rc<Shared>,
    /// One task per client that receives, and the one that looks at heartbeats; they end with the fleet.
    tasks: Rc<RefCell<JoinSet<()>>>,
}

impl Fleet {
    /// Opens all clients of the target, joined to their rooms; one refusal fails it all.
    pub async fn open(target: &Target, mut tally: Tally) -> Result<Self> {
        tally.expect(target.all_clients(), target.rooms.len());
        if target.far_clients > 0 {
            tally.time_from(target.clients);
        }
        let shared = Rc::new(Shared {
            tally: RefCell::new(tally),
            finished: Notify::new(),
        });
        let tasks = Rc::default();
        let clients: Rc<[Client]> = timeout(OPEN_LIMIT, open_all(target, &shared, &tasks))
            .await
            .context("opening took too long")??
            .into();
        let mut members = vec![0; target.rooms.len()];
        for room in clients.iter().filter_map(|client| client.room) {
            if let Some(count) = members.get_mut(room) {
                *count += 1;
            }
        }
        let watch = watch(Rc::clone(&clients), Rc::clone(&shared));
        tasks.borrow_mut().spawn_local(watch);
        Ok(Self {
            rooms: target.rooms.clone(),
            members,
            clients,
            senders: target.clients,
            next: Cell::new(0),
            shared,
            tasks,
        })
    }

    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// How long a client waits for a ping of the server.
    pub fn patience(&self) -> Option<Duration> {
        self.clients.first()?.sender.heartbeat().patience()
    }

    /// Reads the books.
    pub fn tally<T>(&self, read: impl FnOnce(&Tally) -> T) -> T {
        read(&self.shared.tally.borrow())
    }

    /// The next client sends one message to its room.
    pub fn send(&self, phase: Phase) -> Result<()> {
        let turn = self.next.replace(self.next.get() + 1) % self.senders.max(1);
        let client = self.clients.get(turn).context("no clients")?;
        let room = client.room.context("client without a room")?;
        let members = *self.members.get(room).context("unknown room")?;
        let stamp = self.shared.tally.borrow_mut().send(phase, room, members)?;
        let room = self.rooms.get(room).context("unknown room")?;
        client.sender.send(&chat::message(room, stamp))
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

    /// Ends all connections at once, without a word, as a network that goes away does.
    pub async fn close(self) {
        let mut tasks = self.tasks.take();
        tasks.shutdown().await;
    }
}

/// `concurrency` tasks each open one client after the other. The clients come in the order of their numbers.
async fn open_all(target: &Target, shared: &Rc<Shared>, tasks: &Rc<RefCell<JoinSet<()>>>) -> Result<Vec<Client>> {
    let scratch = Rc::new(Scratch::default());
    let next = Rc::new(Cell::new(0));
    let mut openers = JoinSet::new();
    for _ in 0..target.concurrency {
        let (target, scratch, next) = (target.clone(), Rc::clone(&scratch), Rc::clone(&next));
        let (shared, tasks) = (Rc::clone(shared), Rc::clone(tasks));
        openers.spawn_local(async move {
            let mut opened = Vec::new();
            while next.get() < target.all_clients() {
                let index = next.replace(next.get() + 1);
                let room = index.checked_rem(target.rooms.len());
                let (sender, receiver) = open_one(&target, index, room, &scratch).await?;
                let sender = Rc::new(sender);
                let task = listen(index, receiver, Rc::clone(&sender), Rc::clone(&shared));
                let listener = tasks.borrow_mut().spawn_local(task);
                opened.push(Client {
                    index,
                    sender,
                    room,
                    listener,
                });
            }
            anyhow::Ok(opened)
        });
    }
    let mut clients = Vec::with_capacity(target.all_clients());
    while let Some(opened) = openers.join_next().await {
        clients.extend(opened??);
    }
    clients.sort_unstable_by_key(|client| client.index);
    Ok(clients)
}

async fn open_one(
    target: &Target,
    index: usize,
    room: Option<usize>,
    scratch: &Rc<Scratch>,
) -> Result<(Sender, Receiver)> {
    let room = room.and_then(|room| target.rooms.get(room)).map(String::as_str);
    let username = format!("u{index}");
    Ok(match target.transport {
        Transport::Websocket => {
            let (sender, receiver) =
                client::open(target.port_of(index), target.tls, &username, room, Rc::clone(scratch)).await?;
            (Sender::WebSocket(sender), Receiver::WebSocket(receiver))
        }
        Transport::Polling => {
            let (sender, receiver) = polling::open(target.port_of(index), &username, room).await?;
            (Sender::Polling(sender), Receiver::Polling(receiver))
        }
    })
}

async fn listen(index: usize, receiver: Receiver, sender: Rc<Sender>, shared: Rc<Shared>) {
    let on_event = |event: &[u8]| {
        if shared.tally.borrow_mut().receive(index, event)? {
            shared.finished.notify_one();
        }
        Ok(())
    };
    let ended = match (receiver, &*sender) {
        (Receiver::WebSocket(mut receiver), Sender::WebSocket(sender)) => receiver.run(sender, on_event).await,
        (Receiver::Polling(mut receiver), Sender::Polling(sender)) => receiver.run(sender, on_event).await,
        _ => Ok(()),
    };
    if let Err(error) = ended {
        shared.tally.borrow_mut().close();
        eprintln!("connection ended: {error:#}");
    }
}

/// Ends every connection that the server has not pinged in time, and counts it as closed.
async fn watch(clients: Rc<[Client]>, shared: Rc<Shared>) {
    let mut ticks = interval(WATCH_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let overdue = |client: &&Client| !client.listener.is_finished() && client.sender.heartbeat().is_overdue();
        for client in clients.iter().filter(overdue) {
            client.listener.abort();
            client.sender.shut_down();
            shared.tally.borrow_mut().close();
            eprintln!("connection ended: no ping in time");
        }
    }
}

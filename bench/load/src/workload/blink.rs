//! Clients whose connections end again and again: whether each, when it is back, has every message of its room exactly
//! once and in order, how soon, and what that costs the server.

use super::{Usage, WARM_UP, Window};
use crate::{
    Target,
    chat::{self, Packet},
    client::{self, Receiver, Sender},
    ledger::{CatchUps, Ledger, Received},
    line::Scratch,
};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{interval_at, sleep, timeout, timeout_at},
};

/// How long a client waits for a connection, from its beginning: `timeout` of `socket.io-client`.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// How long the last deliveries may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// Time for what should not come any more.
const AFTER: Duration = Duration::from_millis(500);

const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// When connections end: each once in every period, at a time of its own.
#[derive(Clone, Copy)]
pub struct Cuts {
    pub periods: u32,
    pub period: Duration,
    /// How long a client is away.
    pub away: Duration,
}

#[derive(Serialize)]
pub struct Report {
    connected: usize,
    /// Connections that the server has ended, or not taken.
    closed: u64,
    #[serde(flatten)]
    received: Received,
    /// Deliveries in the measured time.
    measured_deliveries: u64,
    catch_up: CatchUps,
    #[serde(flatten)]
    usage: Usage,
}

/// What the clients share.
struct Shared {
    target: Target,
    scratch: Rc<Scratch>,
    ledger: RefCell<Ledger>,
    /// Clients without a connection, or not yet in their room again.
    away: Cell<usize>,
    closed: Cell<u64>,
}

/// What a client remembers from one connection to the next.
#[derive(Default)]
struct Memory {
    pid: Option<String>,
    offset: Option<String>,
}

/// The answer to CONNECT.
#[derive(Deserialize)]
struct Answer {
    pid: Option<String>,
}

/// A client that is in its room.
struct Client {
    index: usize,
    memory: Memory,
    sender: Sender,
    receiver: Receiver,
}

pub async fn run(target: &Target, rate: u32, cuts: Cuts) -> Result<Report> {
    ensure!(cuts.away < cuts.period, "a client is away for less than a period");
    let shared = Rc::new(Shared {
        target: target.clone(),
        scratch: Rc::default(),
        ledger: RefCell::new(Ledger::new(target.clients, target.rooms.len())?),
        away: Cell::new(0),
        closed: Cell::new(0),
    });
    let clients = open_all(&shared).await?;
    let mut tasks = JoinSet::new();
    let speaker = Speaker::open(&shared, &mut tasks).await?;
    let begin = Instant::now() + WARM_UP;
    for client in clients {
        let (shared, times) = (Rc::clone(&shared), cuts.times(client.index, begin));
        tasks.spawn_local(async move {
            if let Err(error) = live(client, times, cuts.away, &shared).await {
                shared.closed.set(shared.closed.get() + 1);
                eprintln!("connection ended: {error:#}");
            }
        });
    }
    let deliveries = || shared.ledger.borrow().deliveries();

    speaker.pace(rate, WARM_UP).await?;
    let window = Window::open(target.pid)?;
    let before = deliveries();
    speaker.pace(rate, cuts.period * cuts.periods).await?;
    let measured_deliveries = deliveries() - before;
    let usage = window.close()?;

    settle(|| shared.away.get() == 0).await;
    // Whoever has the last message of its room has, or has lost, all that were sent before.
    for room in 0..target.rooms.len() {
        speaker.say(room)?;
    }
    settle(|| shared.ledger.borrow().waiting() == 0).await;
    sleep(AFTER).await;
    tasks.shutdown().await;
    let ledger = shared.ledger.borrow();
    Ok(Report {
        connected: target.clients,
        closed: shared.closed.get(),
        received: ledger.received(),
        measured_deliveries,
        catch_up: ledger.catch_ups(),
        usage,
    })
}

/// Waits until it is so; what is not so within the limit shows in the books.
async fn settle(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() && begun.elapsed() < DRAIN_LIMIT {
        sleep(LOOK_PERIOD).await;
    }
}

impl Cuts {
    /// When the connections of this client end. Each period is long enough for it to come back.
    fn times(self, client: usize, begin: Instant) -> Vec<Instant> {
        let time = |period| begin + self.period * period + (self.period - self.away).mul_f64(share(client, period));
        (0..self.periods).map(time).collect()
    }
}

/// A random share of the whole, the same for the same numbers (SplitMix64): every server has to do with the same cuts.
fn share(client: usize, period: u32) -> f64 {
    let seed = ((client as u64) << 32) | u64::from(period);
    let mut mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// Opens all clients, in their rooms.
async fn open_all(shared: &Rc<Shared>) -> Result<Vec<Client>> {
    let next = Rc::new(Cell::new(0));
    let mut openers = JoinSet::new();
    for _ in 0..shared.target.concurrency {
        let (shared, next) = (Rc::clone(shared), Rc::clone(&next));
        openers.spawn_local(async move {
            let mut opened = Vec::new();
            while next.get() < shared.target.clients {
                opened.push(open(next.replace(next.get() + 1), Memory::default(), &shared).await?);
            }
            anyhow::Ok(opened)
        });
    }
    let mut clients = Vec::with_capacity(shared.target.clients);
    while let Some(opened) = openers.join_next().await {
        clients.extend(opened??);
    }
    Ok(clients)
}

/// Connects a client as the one that it remembers to be. Who is not taken for that joins its room anew.
async fn open(index: usize, mut memory: Memory, shared: &Shared) -> Result<Client> {
    let Target { port, tls, rooms, .. } = &shared.target;
    let connect = match &memory.pid {
        Some(pid) => chat::connect_again(pid, memory.offset.as_deref()),
        None => chat::CONNECT.to_owned(),
    };
    let mut recovered = false;
    let on_packet = |packet: &Packet<'_>| match packet {
        // CONNECT is sent at once.
        Packet::Open(_) => shared.ledger.borrow_mut().ask(index, Instant::now()),
        Packet::Connected(data) => {
            let Answer { pid } = serde_json::from_slice(data)?;
            recovered = pid.is_some() && pid == memory.pid;
            memory.pid = pid;
            shared.ledger.borrow_mut().answer(index, recovered, Instant::now())
        }
        Packet::Event(event) => shared.hear(index, &mut memory, event),
        _ => Ok(()),
    };
    let (username, scratch) = (format!("u{index}"), Rc::clone(&shared.scratch));
    let (sender, mut receiver) = client::connect(*port, *tls, &username, &connect, scratch, on_packet).await?;
    if !recovered {
        let room = index.checked_rem(rooms.len()).and_then(|room| rooms.get(room));
        let on_event = |event: &[u8]| shared.hear(index, &mut memory, event);
        receiver.join(&sender, room.context("no rooms")?, on_event).await?;
    }
    Ok(Client {
        index,
        memory,
        sender,
        receiver,
    })
}

/// Listens, but for the times after each cut. Fails when a connection ends that was not cut, or the client cannot come
/// back; it stays away then.
async fn live(mut client: Client, cuts: Vec<Instant>, away: Duration, shared: &Shared) -> Result<()> {
    for cut in cuts {
        if let Ok(ended) = timeout_at(cut.into(), client.listen(shared)).await {
            return ended;
        }
        let (index, memory) = client.leave();
        shared.ledger.borrow_mut().cut(index);
        shared.away.set(shared.away.get() + 1);
        sleep(away).await;
        let back = timeout(CONNECT_LIMIT, open(index, memory, shared)).await;
        shared.away.set(shared.away.get() - 1);
        client = back.context("no connection in time")??;
    }
    client.listen(shared).await
}

impl Client {
    /// Closes the connection, without a word; what is left is who it was and what it remembers.
    fn leave(self) -> (usize, Memory) {
        (self.index, self.memory)
    }

    /// Listens until the connection ends.
    async fn listen(&mut self, shared: &Shared) -> Result<()> {
        let on_event = |event: &[u8]| shared.hear(self.index, &mut self.memory, event);
        self.receiver.run(&self.sender, on_event).await
    }
}

impl Shared {
    /// What a client does with an event.
    fn hear(&self, client: usize, memory: &mut Memory, event: &[u8]) -> Result<()> {
        if memory.pid.is_some()
            && let Some(offset) = chat::offset(event)
        {
            let kept = memory.offset.get_or_insert_default();
            kept.clear();
            kept.push_str(offset);
        }
        self.ledger.borrow_mut().receive(client, event, Instant::now())
    }
}

/// The client that says everything: it is in all rooms, its connection stays, and what it hears is not counted.
struct Speaker {
    shared: Rc<Shared>,
    sender: Rc<Sender>,
    turn: Cell<usize>,
}

impl Speaker {
    async fn open(shared: &Rc<Shared>, tasks: &mut JoinSet<()>) -> Result<Self> {
        let Target { port, tls, rooms, .. } = &shared.target;
        let scratch = Rc::clone(&shared.scratch);
        let (sender, mut receiver) = client::open(*port, *tls, "speaker", None, scratch).await?;
        for room in rooms {
            receiver.join(&sender, room, |_| Ok(())).await?;
        }
        let sender = Rc::new(sender);
        let answering = Rc::clone(&sender);
        tasks.spawn_local(async move {
            if let Err(error) = receiver.run(&answering, |_| Ok(())).await {
                eprintln!("the speaker's connection ended: {error:#}");
                answering.shut_down();
            }
        });
        Ok(Self {
            shared: Rc::clone(shared),
            sender,
            turn: Cell::new(0),
        })
    }

    /// Sends `rate` messages per second for `duration`, to one room after the other.
    async fn pace(&self, rate: u32, duration: Duration) -> Result<()> {
        let period = Duration::from_secs(1) / rate;
        let mut ticks = interval_at(tokio::time::Instant::now() + period, period);
        for _ in 0..duration.as_millis() * u128::from(rate) / 1_000 {
            ticks.tick().await;
            let turn = self.turn.replace(self.turn.get() + 1);
            self.say(turn % self.shared.target.rooms.len())?;
        }
        Ok(())
    }

    fn say(&self, room: usize) -> Result<()> {
        let stamp = self.shared.ledger.borrow_mut().send(room)?;
        let room = self.shared.target.rooms.get(room).context("unknown room")?;
        self.sender.send(&chat::message(room, stamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_is_cut_once_in_every_period_and_is_back_at_its_end() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let cuts = Cuts {
            periods: 3,
            period: second * 20,
            away: second * 2,
        };
        let mut sum = Duration::ZERO;
        for client in 0..1_000 {
            for (period, time) in (0..).zip(cuts.times(client, begin)) {
                let at = time - begin - cuts.period * period;
                assert!(at + cuts.away <= cuts.period, "{at:?}");
                sum += at;
            }
        }
        let mean = sum / 3_000;
        assert!(mean > second * 17 / 2 && mean < second * 19 / 2, "{mean:?}");
    }
}

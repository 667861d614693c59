//! Clients whose connections end again and again: whether each, when it is back, has every message of its room exactly
//! once and in order, how soon, and what that costs the server. With several instances, clients come back to another one,
//! and instances are killed.

use super::{Usage, WARM_UP, Window, ask};
use crate::{
    Target,
    chat::{self, Packet},
    client::{self, Receiver, Sender},
    ledger::{CatchUps, Ledger, Received},
    line::Scratch,
};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
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

/// How long a client waits that has lost its connection, or got none: `reconnectionDelay` of `socket.io-client`.
const PAUSE: Duration = Duration::from_secs(1);

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
    /// Connections that ended because their instance was killed.
    orphaned: u64,
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
    /// Ports of the instances.
    ports: Vec<u16>,
    scratch: Rc<Scratch>,
    ledger: RefCell<Ledger>,
    /// Connections that ended with an instance.
    orphaned: Cell<u64>,
    /// Clients without a connection, or not yet in their room again.
    away: Cell<usize>,
    closed: Cell<u64>,
}

/// What a client remembers from one connection to the next.
#[derive(Default)]
struct Memory {
    pid: Option<String>,
    offset: Option<String>,
    /// Connections that it has asked for.
    attempts: usize,
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

pub async fn run(target: &Target, others: &[u16], rate: u32, cuts: Cuts) -> Result<Report> {
    ensure!(cuts.away < cuts.period, "a client is away for less than a period");
    let shared = Rc::new(Shared {
        target: target.clone(),
        ports: [target.port].iter().chain(others).copied().collect(),
        scratch: Rc::default(),
        ledger: RefCell::new(Ledger::new(target.clients, target.rooms.len())?),
        away: Cell::new(0),
        closed: Cell::new(0),
        orphaned: Cell::new(0),
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
    for period in 0..cuts.periods {
        speaker.pace(rate, cuts.period / 2).await?;
        // In the middle of each period, one after the other.
        if let Some(doomed) = (period as usize).checked_rem(others.len()) {
            ask(&json!({ "kill": doomed }));
        }
        speaker.pace(rate, cuts.period / 2).await?;
    }
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
        orphaned: shared.orphaned.get(),
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
    let Target { tls, rooms, .. } = &shared.target;
    let port = (index + memory.attempts).checked_rem(shared.ports.len());
    let port = port.and_then(|port| shared.ports.get(port)).context("no ports")?;
    memory.attempts += 1;
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

/// Opens a connection again, to one instance after the other where that is refused.
async fn come_back(index: usize, mut memory: Memory, shared: &Shared) -> Result<Client> {
    loop {
        let attempt = Memory {
            pid: memory.pid.clone(),
            offset: memory.offset.clone(),
            ..memory
        };
        match open(index, attempt, shared).await {
            Err(_) if shared.ports.len() > 1 => memory.attempts += 1,
            opened => return opened,
        }
        sleep(PAUSE).await;
    }
}

/// Listens, but for the times after each cut. Fails when a connection ends that was not cut, or the client cannot come
/// back; it stays away then.
async fn live(mut client: Client, cuts: Vec<Instant>, away: Duration, shared: &Shared) -> Result<()> {
    for cut in cuts {
        while let Ok(ended) = timeout_at(cut.into(), client.listen(shared)).await {
            client = client.lost(ended, shared).await?;
        }
        client = client.blink(away, shared).await?;
    }
    loop {
        let ended = client.listen(shared).await;
        client = client.lost(ended, shared).await?;
    }
}

impl Client {
    /// Comes back after the end of a connection that was not cut: where instances are killed.
    async fn lost(self, ended: Result<()>, shared: &Shared) -> Result<Self> {
        if shared.ports.len() == 1 {
            ended?;
            bail!("the server has closed the connection");
        }
        shared.orphaned.set(shared.orphaned.get() + 1);
        self.blink(PAUSE, shared).await
    }

    /// Closes the connection, without a word, and comes back.
    async fn blink(self, away: Duration, shared: &Shared) -> Result<Self> {
        let Self {
            index,
            memory,
            sender,
            receiver,
        } = self;
        drop((sender, receiver));
        shared.ledger.borrow_mut().cut(index);
        shared.away.set(shared.away.get() + 1);
        sleep(away).await;
        let back = timeout(CONNECT_LIMIT, come_back(index, memory, shared)).await;
        shared.away.set(shared.away.get() - 1);
        back.context("no connection in time")?
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

//! Delivery: one worker for each part of the connections writes packets straight to them, in the order handed in.
//!
//! A packet for a room is one queue entry per part, whatever the number of members. What waits at the same moment
//! leaves in one write per connection. What a client causes is charged to it until it is delivered, which holds its
//! reader back ([`crate::backpressure`]); JavaScript is told when to wait ([`Fanout::is_congested`]). Nothing is dropped.

mod congestion;

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::{
    backpressure::{self, Charge, RECEIVER_COST, Work},
    event::{Ending, Link},
    hub::{Except, Member, Members, User},
    packet::Packet,
};

pub use congestion::Congestion;

/// Queue entries of one part above which JavaScript waits before it hands in more.
const HIGH_WATER: usize = 512;
/// Receivers up to which a packet does not wait for those of larger rooms.
const FEW: usize = 64;
/// Deliveries after which a worker lets other tasks of its thread run.
const DELIVERIES_PER_TURN: usize = 256;

#[derive(Debug)]
enum Entry {
    Many {
        members: Arc<Vec<Member>>,
        except: Except,
        packet: Packet,
    },
    One {
        user: Arc<User>,
        packet: Packet,
        volatile: bool,
    },
    Close {
        user: Arc<User>,
        ending: Ending,
    },
    Barrier(oneshot::Sender<()>),
}

/// Bytes of packets that a part has not delivered yet, for as long as this lives.
#[derive(Debug)]
struct Weight {
    of: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Queued {
    entry: Entry,
    weight: Weight,
    charge: Option<Charge>,
}

#[derive(Debug, Default)]
struct Part {
    entries: Mutex<VecDeque<Queued>>,
    /// Bytes of packets that wait, or are just being delivered.
    bytes: Arc<AtomicUsize>,
    wake: Notify,
}

/// The way from the service to its connections.
#[derive(Debug)]
pub struct Fanout {
    parts: Vec<Arc<Part>>,
    workers: Vec<tokio::task::JoinHandle<()>>,
    congestion: Arc<Congestion>,
}

impl Fanout {
    /// Starts one worker for each of `parts` on the runtime. `most`: bytes that may wait for one client.
    pub fn start(parts: usize, most: usize, runtime: &tokio::runtime::Handle) -> Self {
        let parts: Vec<_> = (0..parts.max(1)).map(|_| Arc::new(Part::default())).collect();
        let workers = parts
            .iter()
            .map(|part| {
                let part = part.clone();
                runtime.spawn(async move {
                    // A panic must not end the deliveries of every connection of the part.
                    while AssertUnwindSafe(work(part.clone())).catch_unwind().await.is_err() {
                        tracing::error!("a delivery panicked; its batch was lost");
                    }
                })
            })
            .collect();
        Self {
            parts,
            workers,
            congestion: Arc::new(Congestion::new(most)),
        }
    }

    /// The clients that are slow to read.
    pub fn congestion(&self) -> &Arc<Congestion> {
        &self.congestion
    }

    /// Number of parts.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Sends to all members but some. Returns to how many. Call it under the room's lock, which gives the order.
    pub fn send_many(&self, members: &Members, except: &Except, packet: &Packet) -> usize {
        for (index, users) in members.snapshot() {
            let cost = packet.len() + users.len() * RECEIVER_COST;
            let entry = Entry::Many {
                members: users.clone(),
                except: except.clone(),
                packet: packet.clone(),
            };
            self.push(index, entry, packet.len(), cost);
        }
        members.local_len(except)
    }

    /// Sends to one socket; a volatile packet is dropped when others still wait for its client.
    pub fn send_one(&self, user: &Arc<User>, packet: Packet, volatile: bool) {
        let bytes = packet.len();
        let entry = Entry::One {
            user: user.clone(),
            packet,
            volatile,
        };
        self.push(user.shard(self.parts.len()), entry, bytes, bytes);
    }

    /// Ends the connection of one socket once everything sent to it before is on its way.
    pub fn close(&self, user: &Arc<User>, ending: Ending) {
        let entry = Entry::Close {
            user: user.clone(),
            ending,
        };
        self.push(user.shard(self.parts.len()), entry, 0, 0);
    }

    /// Resolves when everything handed in before has been written or staged by its connection.
    pub async fn flushed(&self) {
        let mut barriers = Vec::with_capacity(self.parts.len());
        for index in 0..self.parts.len() {
            let (done, barrier) = oneshot::channel();
            self.push(index, Entry::Barrier(done), 0, 0);
            barriers.push(barrier);
        }
        for barrier in barriers {
            let _ = barrier.await;
        }
    }

    /// Whether callers should see who is slow to read, and wait for what was handed in, before they hand in more.
    pub fn is_congested(&self) -> bool {
        let quarter = self.congestion.quarter();
        self.congestion.is_any_slow()
            || self
                .parts
                .iter()
                .any(|part| part.bytes.load(Ordering::Relaxed) >= quarter || part.entries.lock().len() >= HIGH_WATER)
    }

    /// Ends the workers.
    pub fn stop(&self) {
        for worker in &self.workers {
            worker.abort();
        }
    }

    fn push(&self, index: usize, entry: Entry, bytes: usize, cost: usize) {
        if let Some(part) = self.parts.get(index) {
            part.bytes.fetch_add(bytes, Ordering::Relaxed);
            let queued = Queued {
                entry,
                weight: Weight {
                    of: part.bytes.clone(),
                    bytes,
                },
                charge: backpressure::charge(Work::Delivery, cost),
            };
            part.entries.lock().push_back(queued);
            part.wake.notify_one();
        }
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn work(part: Arc<Part>) {
    loop {
        let entries = std::mem::take(&mut *part.entries.lock());
        if entries.is_empty() {
            part.wake.notified().await;
            // What other clients have sent by now is read first, so that it leaves in the same writes: the first turn
            // asks the kernel, the second lets the readers run, which would otherwise come after this task.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        } else {
            deliver(entries).await;
            // Packets that arrive meanwhile form the next batch.
            tokio::task::yield_now().await;
        }
    }
}

/// Connections that have something staged. Those that a packet for few reaches are written to first, so that it waits
/// for no large room; what else is staged for them leaves with it, in order.
#[derive(Debug, Default)]
struct Staged {
    first: Vec<Arc<dyn Link>>,
    later: Vec<Arc<dyn Link>>,
    turn: usize,
}

impl Staged {
    fn send(&mut self, link: &Arc<dyn Link>, packet: &Packet, delivery: Delivery) {
        let is_new = link.send(packet, delivery == Delivery::Now);
        match delivery {
            Delivery::Now => {}
            // Also when a packet for many has staged it before.
            Delivery::First => self.first.push(link.clone()),
            Delivery::Later if is_new => self.later.push(link.clone()),
            Delivery::Later => {}
        }
    }

    /// Counts a delivery and lets other tasks run from time to time.
    async fn count(&mut self) {
        self.turn += 1;
        if self.turn.is_multiple_of(DELIVERIES_PER_TURN) {
            tokio::task::yield_now().await;
        }
    }

    async fn flush(&mut self) {
        for links in [std::mem::take(&mut self.first), std::mem::take(&mut self.later)] {
            for link in links {
                link.flush();
                self.count().await;
            }
        }
    }
}

/// When a packet leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// At once: nothing else waits.
    Now,
    First,
    Later,
}

impl Delivery {
    fn of(receivers: usize, alone: bool) -> Self {
        match receivers {
            _ if alone => Self::Now,
            0..=FEW => Self::First,
            _ => Self::Later,
        }
    }
}

/// Writes a batch. Connections that several packets are for are written to once, at the end.
async fn deliver(entries: VecDeque<Queued>) {
    let alone = entries.len() == 1;
    let mut staged = Staged::default();
    // What is staged counts until its connection has seen how much that is.
    let mut held = Vec::with_capacity(entries.len());
    for Queued { entry, weight, charge } in entries {
        held.push((weight, charge));
        match entry {
            Entry::Many {
                members,
                except,
                packet,
            } => {
                let delivery = Delivery::of(members.len(), alone);
                for member in members.iter() {
                    if except.is_empty() || !except.contains(member.user().key()) {
                        staged.send(member.link(), &packet, delivery);
                        staged.count().await;
                    }
                }
            }
            Entry::One { user, packet, volatile } => {
                if !(volatile && user.link().waiting() > 0) {
                    staged.send(user.link(), &packet, Delivery::of(1, alone));
                }
            }
            Entry::Close { user, ending } => {
                user.link().flush();
                user.link().close(ending);
            }
            Entry::Barrier(done) => {
                staged.flush().await;
                held.clear();
                let _ = done.send(());
            }
        }
    }
    staged.flush().await;
    drop(held);
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;
    use crate::backpressure::Account;

    const PARTS: usize = 3;
    /// Bytes that may wait for a client.
    const MOST: usize = 1 << 20;

    /// Notes what is written, and in how many writes.
    #[derive(Debug, Default)]
    struct Inbox {
        staged: Mutex<Vec<String>>,
        written: Mutex<Vec<String>>,
        writes: AtomicUsize,
        waiting: AtomicUsize,
    }

    impl Inbox {
        fn write(&self) {
            self.writes.fetch_add(1, Ordering::Relaxed);
            self.written.lock().append(&mut self.staged.lock());
        }
    }

    impl Link for Inbox {
        fn send(&self, packet: &Packet, now: bool) -> bool {
            let mut staged = self.staged.lock();
            staged.push(packet.args().to_owned());
            let first = staged.len() == 1;
            drop(staged);
            if now {
                self.write();
            }
            first && !now
        }

        fn flush(&self) {
            if !self.staged.lock().is_empty() {
                self.write();
            }
        }

        fn waiting(&self) -> usize {
            self.waiting.load(Ordering::Relaxed)
        }

        fn close(&self, _: Ending) {
            assert!(
                self.staged.lock().is_empty(),
                "closed before what was sent has been written"
            );
            self.written.lock().push("closed".to_owned());
        }
    }

    type Client = (Arc<User>, Arc<Inbox>);

    /// A room of clients in several parts.
    fn room(size: u64) -> (Members, Vec<Client>) {
        let mut members = Members::new(PARTS);
        let clients: Vec<_> = (0..size)
            .map(|key| {
                let inbox = Arc::new(Inbox::default());
                let user = User::new(key, &key.to_string(), inbox.clone(), "{}".into(), 0);
                (Arc::new(user), inbox)
            })
            .collect();
        for (user, _) in &clients {
            members.insert(user);
        }
        (members, clients)
    }

    fn packet(number: usize) -> Packet {
        Packet::event("n", &number.to_string())
    }

    fn args(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
        numbers.into_iter().map(|number| format!("[\"n\",{number}]")).collect()
    }

    fn fanout() -> Fanout {
        Fanout::start(PARTS, MOST, &tokio::runtime::Handle::current())
    }

    #[tokio::test]
    async fn every_client_of_every_part_gets_packets_in_the_order_handed_in() {
        let fanout = fanout();
        let (members, clients) = room(10);
        for number in 0..100 {
            if number % 10 == 3 {
                clients
                    .iter()
                    .for_each(|(user, _)| fanout.send_one(user, packet(number), false));
            } else {
                assert_eq!(fanout.send_many(&members, &Except::new(), &packet(number)), 10);
            }
        }
        fanout.flushed().await;
        for (_, inbox) in &clients {
            assert_eq!(*inbox.written.lock(), args(0..100));
            assert_eq!(
                inbox.writes.load(Ordering::Relaxed),
                1,
                "what waits leaves in one write"
            );
        }
    }

    #[tokio::test]
    async fn those_left_out_get_nothing() {
        let fanout = fanout();
        let (members, clients) = room(4);
        // The last one is no member.
        let except = Except::from_iter([1, 3, 77]);
        assert_eq!(fanout.send_many(&members, &except, &packet(0)), 2);
        fanout.flushed().await;
        let received: Vec<_> = clients.iter().map(|(_, inbox)| inbox.written.lock().len()).collect();
        assert_eq!(received, [1, 0, 1, 0]);
    }

    #[tokio::test]
    async fn later_changes_do_not_touch_what_was_handed_in() {
        let fanout = fanout();
        let (mut members, clients) = room(4);
        fanout.send_many(&members, &Except::new(), &packet(0));
        members.remove(2);
        fanout.send_many(&members, &Except::new(), &packet(1));
        fanout.flushed().await;
        assert_eq!(*clients[2].1.written.lock(), args([0]));
        assert_eq!(*clients[3].1.written.lock(), args([0, 1]));
    }

    #[tokio::test]
    async fn a_volatile_packet_is_dropped_only_for_a_busy_client() {
        let fanout = fanout();
        let (_, clients) = room(2);
        clients[0].1.waiting.store(1, Ordering::Relaxed);
        for (user, _) in &clients {
            fanout.send_one(user, packet(0), false);
            fanout.send_one(user, packet(1), true);
        }
        fanout.flushed().await;
        assert_eq!(*clients[0].1.written.lock(), args([0]));
        assert_eq!(*clients[1].1.written.lock(), args([0, 1]));
    }

    #[tokio::test]
    async fn a_client_is_closed_after_what_was_sent_to_it() {
        let fanout = fanout();
        let (members, clients) = room(1);
        fanout.send_many(&members, &Except::new(), &packet(0));
        fanout.send_one(&clients[0].0, packet(1), false);
        fanout.close(&clients[0].0, Ending::Kick);
        fanout.flushed().await;
        let expected = [args([0, 1]), vec!["closed".to_owned()]].concat();
        assert_eq!(*clients[0].1.written.lock(), expected);
    }

    #[tokio::test]
    async fn a_packet_for_few_does_not_wait_for_a_large_room() {
        let fanout = fanout();
        let order = Arc::new(Mutex::new(Vec::new()));
        let recorded = |key: u64| -> Arc<User> {
            let link = Recorded {
                key,
                order: order.clone(),
            };
            Arc::new(User::new(key, &key.to_string(), Arc::new(link), "{}".into(), 0))
        };
        // All in one part, so that one worker serves both rooms.
        let keys = (0_u64..).filter(|key| recorded(*key).shard(PARTS) == 0);
        let users: Vec<_> = keys.take(1_000).map(recorded).collect();
        let mut large = Members::new(PARTS);
        users.iter().for_each(|user| {
            large.insert(user);
        });
        let mut small = Members::new(PARTS);
        let pair = [users[500].key(), users[999].key()];
        small.insert(&users[500]);
        small.insert(&users[999]);
        fanout.send_many(&large, &Except::new(), &packet(0));
        fanout.send_many(&small, &Except::new(), &packet(1));
        fanout.flushed().await;
        let order = order.lock();
        assert_eq!(order[..2], pair, "the small room is written to first");
        assert!(users.iter().all(|user| order.contains(&user.key())));
    }

    /// Notes who is written to, in order.
    #[derive(Debug)]
    struct Recorded {
        key: u64,
        order: Arc<Mutex<Vec<u64>>>,
    }

    impl Link for Recorded {
        fn send(&self, _: &Packet, now: bool) -> bool {
            assert!(!now, "several packets wait");
            true
        }

        fn flush(&self) {
            self.order.lock().push(self.key);
        }
    }

    #[tokio::test]
    async fn a_sender_is_told_when_much_waits_to_be_delivered() {
        let fanout = fanout();
        let (members, clients) = room(1);
        // The workers share this thread and run only when the test waits.
        for number in 0..HIGH_WATER {
            assert!(!fanout.is_congested(), "at {number}");
            fanout.send_one(&clients[0].0, packet(number), false);
        }
        assert!(fanout.is_congested(), "by number");
        fanout.flushed().await;
        assert!(!fanout.is_congested());
        let large = Packet::event("n", &format!("\"{}\"", "x".repeat(MOST / 4)));
        fanout.send_many(&members, &Except::new(), &large);
        assert!(fanout.is_congested(), "by size");
        fanout.flushed().await;
        assert!(!fanout.is_congested());
        assert_eq!(clients[0].1.written.lock().len(), HIGH_WATER + 1);
    }

    #[tokio::test]
    async fn what_a_client_causes_is_charged_to_it_until_it_is_delivered() {
        let fanout = fanout();
        let (members, _) = room(4);
        let budget = Arc::default();
        let sender = Account::new(&budget);
        sender.causes(|| fanout.send_many(&members, &Except::new(), &packet(0)));
        let charged = budget.waiting();
        assert!(charged > 4 * RECEIVER_COST, "{charged}");
        fanout.send_many(&members, &Except::new(), &packet(1));
        assert_eq!(budget.waiting(), charged, "what nobody caused is charged to nobody");
        fanout.flushed().await;
        assert_eq!(budget.waiting(), 0);
    }

    #[derive(Debug)]
    struct Broken;

    impl Link for Broken {
        fn send(&self, _: &Packet, _: bool) -> bool {
            panic!("a fault of one connection")
        }
    }

    #[tokio::test]
    async fn deliveries_go_on_after_a_panic() {
        let fanout = fanout();
        let broken = Arc::new(User::new(0, "broken", Arc::new(Broken), "{}".into(), 0));
        fanout.send_one(&broken, packet(0), false);
        // The barrier is lost with its batch.
        tokio::time::timeout(Duration::from_secs(10), fanout.flushed())
            .await
            .unwrap();
        let (members, clients) = room(1);
        fanout.send_many(&members, &Except::new(), &packet(1));
        fanout.flushed().await;
        assert_eq!(*clients[0].1.written.lock(), args([1]));
    }
}

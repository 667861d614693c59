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
    /// Packets that came together.
    together: AtomicUsize,
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

    fn send_series(&self, series: &Series) -> bool {
        self.together.fetch_add(series.packets().len(), Ordering::Relaxed);
        let all: Vec<_> = series.packets().iter().map(|packet| self.send(packet, false)).collect();
        all.contains(&true)
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

type Client = (Arc<Socket>, Arc<Inbox>);

/// A room of clients in several parts.
fn room(size: u64) -> (Members, Vec<Client>) {
    let mut members = Members::new(PARTS);
    let clients: Vec<_> = (0..size)
        .map(|key| {
            let inbox = Arc::new(Inbox::default());
            let socket = Socket::new(key, &key.to_string(), inbox.clone(), "{}".into(), 0);
            (Arc::new(socket), inbox)
        })
        .collect();
    for (socket, _) in &clients {
        members.insert(socket);
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
    Fanout::start(PARTS, MOST, None, &tokio::runtime::Handle::current())
}

#[tokio::test]
async fn every_client_of_every_part_gets_packets_in_the_order_handed_in() {
    let fanout = fanout();
    let (members, clients) = room(10);
    for number in 0..100 {
        if number % 10 == 3 {
            clients
                .iter()
                .for_each(|(socket, _)| fanout.send_one(socket, packet(number), false));
        } else {
            assert_eq!(fanout.send_many(&members, &Except::new(), &packet(number), || {}), 10);
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
async fn packets_for_the_same_members_come_together_and_nothing_overtakes_them() {
    let fanout = fanout();
    let (mut members, clients) = room(100);
    let (others, _) = room(100);
    let newcomer = room(101).1.pop().unwrap();
    let left_out = Except::from_iter([clients[0].0.key()]);
    let everyone = Except::new();
    // One after the other: 0 to 9 together, 10 for all but one, 11 to 20, one to one client, 22 to 31.
    for number in 0..10 {
        fanout.send_many(&members, &everyone, &packet(number), || {});
    }
    fanout.send_many(&members, &left_out, &packet(10), || {});
    for number in 11..21 {
        fanout.send_many(&members, &everyone, &packet(number), || {});
    }
    clients
        .iter()
        .for_each(|(socket, _)| fanout.send_one(socket, packet(21), false));
    for number in 22..27 {
        fanout.send_many(&members, &everyone, &packet(number), || {});
    }
    fanout.send_many(&others, &everyone, &packet(0), || {});
    members.insert(&newcomer.0);
    for number in 27..32 {
        fanout.send_many(&members, &everyone, &packet(number), || {});
    }
    fanout.flushed().await;
    for (index, (_, inbox)) in clients.iter().enumerate() {
        let missing = if index == 0 { 10 } else { 32 };
        assert_eq!(*inbox.written.lock(), args((0..32).filter(|number| *number != missing)));
        assert_eq!(inbox.together.load(Ordering::Relaxed), 30);
        assert_eq!(inbox.writes.load(Ordering::Relaxed), 1);
    }
    assert_eq!(*newcomer.1.written.lock(), args(27..32));
}

#[tokio::test]
async fn large_packets_are_not_put_together() {
    let fanout = fanout();
    let (members, clients) = room(100);
    let large = |number: usize| Packet::event("n", &format!("\"{number}{}\"", "x".repeat(SERIES_BYTES)));
    for number in 0..3 {
        fanout.send_many(&members, &Except::new(), &large(number), || {});
    }
    fanout.flushed().await;
    for (_, inbox) in &clients {
        let written: Vec<_> = inbox.written.lock().iter().map(|args| args[6..7].to_owned()).collect();
        assert_eq!(written, ["0", "1", "2"]);
        assert_eq!(inbox.together.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn what_comes_while_one_packet_is_written_joins_it() {
    let fanout = fanout();
    let (members, clients) = room(3_000);
    fanout.send_many(&members, &Except::new(), &packet(0), || {});
    while clients.iter().all(|(_, inbox)| inbox.written.lock().is_empty()) {
        tokio::task::yield_now().await;
    }
    fanout.send_many(&members, &Except::new(), &packet(1), || {});
    fanout.flushed().await;
    let writes = clients.iter().map(|(_, inbox)| inbox.writes.load(Ordering::Relaxed));
    let of_both = writes.filter(|writes| *writes == 1).count();
    assert!((1_000..3_000).contains(&of_both), "{of_both} got both in one write");
    for (_, inbox) in &clients {
        assert_eq!(*inbox.written.lock(), args(0..2));
    }
}

#[tokio::test]
async fn those_left_out_get_nothing() {
    let fanout = fanout();
    let (members, clients) = room(4);
    // The last one is no member.
    let except = Except::from_iter([1, 3, 77]);
    assert_eq!(fanout.send_many(&members, &except, &packet(0), || {}), 2);
    fanout.flushed().await;
    let received: Vec<_> = clients.iter().map(|(_, inbox)| inbox.written.lock().len()).collect();
    assert_eq!(received, [1, 0, 1, 0]);
}

#[tokio::test]
async fn later_changes_do_not_touch_what_was_handed_in() {
    let fanout = fanout();
    let (mut members, clients) = room(4);
    fanout.send_many(&members, &Except::new(), &packet(0), || {});
    members.remove(2);
    fanout.send_many(&members, &Except::new(), &packet(1), || {});
    fanout.flushed().await;
    assert_eq!(*clients[2].1.written.lock(), args([0]));
    assert_eq!(*clients[3].1.written.lock(), args([0, 1]));
}

#[tokio::test]
async fn a_volatile_packet_is_dropped_only_for_a_busy_client() {
    let fanout = fanout();
    let (_, clients) = room(2);
    clients[0].1.waiting.store(1, Ordering::Relaxed);
    for (socket, _) in &clients {
        fanout.send_one(socket, packet(0), false);
        fanout.send_one(socket, packet(1), true);
    }
    fanout.flushed().await;
    assert_eq!(*clients[0].1.written.lock(), args([0]));
    assert_eq!(*clients[1].1.written.lock(), args([0, 1]));
}

#[tokio::test]
async fn a_client_is_closed_after_what_was_sent_to_it() {
    let fanout = fanout();
    let (members, clients) = room(1);
    fanout.send_many(&members, &Except::new(), &packet(0), || {});
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
    let recorded = |key: u64| -> Arc<Socket> {
        let link = Recorded {
            key,
            order: order.clone(),
        };
        Arc::new(Socket::new(key, &key.to_string(), Arc::new(link), "{}".into(), 0))
    };
    // All in one part, so that one worker serves both rooms.
    let keys = (0_u64..).filter(|key| recorded(*key).shard(PARTS) == 0);
    let sockets: Vec<_> = keys.take(1_000).map(recorded).collect();
    let mut large = Members::new(PARTS);
    sockets.iter().for_each(|socket| {
        large.insert(socket);
    });
    let mut small = Members::new(PARTS);
    let pair = [sockets[500].key(), sockets[999].key()];
    small.insert(&sockets[500]);
    small.insert(&sockets[999]);
    fanout.send_many(&large, &Except::new(), &packet(0), || {});
    fanout.send_many(&small, &Except::new(), &packet(1), || {});
    fanout.flushed().await;
    let order = order.lock();
    assert_eq!(order[..2], pair, "the small room is written to first");
    assert!(sockets.iter().all(|socket| order.contains(&socket.key())));
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
    fanout.send_many(&members, &Except::new(), &large, || {});
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
    sender.causes(|| fanout.send_many(&members, &Except::new(), &packet(0), || {}));
    let charged = budget.waiting();
    assert!(charged > 4 * RECEIVER_COST, "{charged}");
    fanout.send_many(&members, &Except::new(), &packet(1), || {});
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
    let broken = Arc::new(Socket::new(0, "broken", Arc::new(Broken), "{}".into(), 0));
    fanout.send_one(&broken, packet(0), false);
    // The barrier is lost with its batch.
    tokio::time::timeout(Duration::from_secs(10), fanout.flushed())
        .await
        .unwrap();
    let (members, clients) = room(1);
    fanout.send_many(&members, &Except::new(), &packet(1), || {});
    fanout.flushed().await;
    assert_eq!(*clients[0].1.written.lock(), args([1]));
}

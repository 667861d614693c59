//! Backpressure: what still has to be done because of one client, and when its reader pauses.
//!
//! Whatever a client's packets cause (events for JavaScript, deliveries, packets that wait for its CONNECT answer) is
//! charged to its [`Account`] until it has been dealt with. A client whose account is full is not read from, and nobody
//! else is. When all clients together keep the service very busy, each may have one thing waiting.

mod congestion;
#[cfg(test)]
#[cfg(feature = "shuttle")]
mod interleavings;

use std::{
    cell::RefCell,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    metrics::Gauge,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

pub use congestion::Congestion;

/// What one client may have waiting, in bytes, for each kind of work.
const SHARE: usize = 256 << 10;
/// What may wait of all clients before each of them may have one thing waiting only; of the kinds that readers wait for.
const TOGETHER: [usize; 2] = [64 << 20, 16 << 20];
const KINDS: usize = 3;
/// What waits of all clients from which on there is a storm.
const STORM: usize = 8 << 20;
/// From so many bytes on a message leaves room behind that is worth giving back.
const LARGE: usize = 64 << 10;

/// What something that waits costs in addition to its bytes.
pub const ITEM_COST: usize = 512;
/// What a packet costs for each of its receivers: the time that its delivery takes, as bytes.
pub const RECEIVER_COST: usize = 32;

/// Who has to do what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// JavaScript is to hear of it.
    JavaScript,
    /// The workers of the fan-out are to deliver it.
    Delivery,
    /// The client is to send what is missing. Its reader does not wait for that: it would never arrive.
    Arrival,
}

/// What waits because of all clients of a service.
#[derive(Debug, Default)]
pub struct Budget {
    waiting: [AtomicUsize; KINDS],
    paused: Gauge,
    is_stormy: AtomicBool,
}

impl Budget {
    /// How many clients are not read from.
    pub fn paused(&self) -> usize {
        self.paused.get()
    }

    /// Whether very much waited at a time, or a large message came or went, since this was asked last.
    pub fn take_storm(&self) -> bool {
        self.is_stormy.swap(false, Ordering::Relaxed)
    }

    /// Bytes that wait, for each kind of work.
    pub fn waiting(&self) -> usize {
        self.waiting.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }
}

/// What waits because of one client.
#[derive(Debug)]
pub struct Account {
    budget: Arc<Budget>,
    waiting: [AtomicUsize; KINDS],
    /// Whether there are `readers`, so that settling a charge need not look.
    is_paused: AtomicBool,
    readers: Mutex<Vec<Waker>>,
}

thread_local! {
    /// Whose packet this thread is handling.
    static CAUSE: RefCell<Option<Arc<Account>>> = const { RefCell::new(None) };
}

impl Account {
    /// The account of a new client.
    pub fn new(budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            budget: budget.clone(),
            waiting: Default::default(),
            is_paused: AtomicBool::new(false),
            readers: Mutex::default(),
        })
    }

    /// Runs a step that the client has caused: what it leaves to be done is charged to the client.
    pub fn causes<R>(self: &Arc<Self>, step: impl FnOnce() -> R) -> R {
        struct Restore(Option<Arc<Account>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CAUSE.set(self.0.take());
            }
        }
        let _before = Restore(CAUSE.replace(Some(self.clone())));
        step()
    }

    /// So many bytes were read from the client, or made for it, at a time.
    pub fn took(&self, bytes: usize) {
        if bytes >= LARGE {
            self.budget.is_stormy.store(true, Ordering::Relaxed);
        }
    }

    /// So many bytes are kept of a message of which the rest is still to come, where there were `before`.
    pub fn keeps(&self, before: usize, bytes: usize) {
        let kind = Work::Arrival as usize;
        for waiting in [self.waiting.get(kind), self.budget.waiting.get(kind)]
            .into_iter()
            .flatten()
        {
            // In turn, so that it never shows less than nothing.
            waiting.fetch_add(bytes, Ordering::SeqCst);
            waiting.fetch_sub(before, Ordering::SeqCst);
        }
    }

    /// Bytes that wait because of the client.
    pub fn waiting(&self) -> usize {
        self.waiting.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    /// Whether the client may cause more.
    pub fn has_room(&self) -> bool {
        let together = self.budget.waiting.iter().zip(TOGETHER);
        self.waiting.iter().zip(together).all(|(own, (all, most))| {
            let own = own.load(Ordering::SeqCst);
            own == 0 || (own < SHARE && all.load(Ordering::Relaxed) < most)
        })
    }

    /// Ready while the client may cause more; otherwise its reader is woken when it may, or when it is to look again.
    pub fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        let mut readers = self.readers.lock();
        if readers.is_empty() {
            self.budget.paused.rise();
        }
        if !readers.iter().any(|reader| reader.will_wake(context.waker())) {
            readers.push(context.waker().clone());
        }
        self.is_paused.store(true, Ordering::SeqCst);
        drop(readers);
        // What was settled before the reader was there to be woken.
        if self.has_room() {
            self.wake();
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Whether the client is not read from.
    pub fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::SeqCst)
    }

    /// Has the reader look again.
    pub fn wake(&self) {
        let readers = {
            let mut readers = self.readers.lock();
            if !readers.is_empty() {
                self.budget.paused.fall();
            }
            self.is_paused.store(false, Ordering::SeqCst);
            std::mem::take(&mut *readers)
        };
        readers.into_iter().for_each(Waker::wake);
    }

    fn settle(&self, kind: usize, cost: usize) {
        let (Some(own), Some(all)) = (self.waiting.get(kind), self.budget.waiting.get(kind)) else {
            return;
        };
        all.fetch_sub(cost, Ordering::Relaxed);
        let left = own.fetch_sub(cost, Ordering::SeqCst) - cost;
        // Not at every step, so that a reader finds room for more than one packet.
        if left <= SHARE / 2 && self.is_paused() {
            self.wake();
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.wake();
    }
}

/// Something that waits because of a client; dropped when it has been dealt with.
#[derive(Debug)]
pub struct Charge {
    account: Arc<Account>,
    kind: usize,
    cost: usize,
}

impl Charge {
    /// Whose it is.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.settle(self.kind, self.cost);
    }
}

/// Charges what is left to be done to the client whose packet this thread is handling, if there is one.
pub fn charge(work: Work, bytes: usize) -> Option<Charge> {
    let account = CAUSE.with_borrow(Clone::clone)?;
    let (kind, cost) = (work as usize, bytes.saturating_add(ITEM_COST));
    account.waiting.get(kind)?.fetch_add(cost, Ordering::SeqCst);
    let before = account.budget.waiting.get(kind)?.fetch_add(cost, Ordering::Relaxed);
    if before >= STORM {
        account.budget.is_stormy.store(true, Ordering::Relaxed);
    }
    Some(Charge { account, kind, cost })
}

#[cfg(test)]
mod tests {
    use std::{task::Wake, thread};

    use super::*;

    fn events(account: &Arc<Account>, count: usize, bytes: usize) -> Vec<Charge> {
        account.causes(|| (0..count).filter_map(|_| charge(Work::JavaScript, bytes)).collect())
    }

    #[test]
    fn nothing_is_charged_to_nobody() {
        assert!(charge(Work::Delivery, 1).is_none());
        let account = Account::new(&Arc::default());
        account.causes(|| assert!(charge(Work::Delivery, 1).is_some()));
        assert!(charge(Work::Delivery, 1).is_none(), "after the step");
    }

    #[test]
    fn a_step_within_a_step_has_its_own_cause() {
        let budget = Arc::default();
        let (outer, inner) = (Account::new(&budget), Account::new(&budget));
        let charged = outer.causes(|| {
            let first = inner.causes(|| charge(Work::Delivery, 0));
            (first, charge(Work::Delivery, 0))
        });
        assert!(Arc::ptr_eq(&charged.0.unwrap().account, &inner));
        assert!(Arc::ptr_eq(&charged.1.unwrap().account, &outer));
    }

    #[test]
    fn only_the_client_with_a_full_account_pauses() {
        let budget = Arc::default();
        let (flooder, other) = (Account::new(&budget), Account::new(&budget));
        let few = events(&other, 3, 100);
        let waiting = events(&flooder, SHARE / ITEM_COST, 0);
        assert!(!flooder.has_room() && other.has_room());
        drop(waiting);
        assert!(flooder.has_room());
        drop(few);
        assert_eq!((budget.waiting(), budget.paused()), (0, 0));
    }

    #[test]
    fn one_packet_may_be_larger_than_a_share() {
        let account = Account::new(&Arc::default());
        assert!(account.has_room());
        let large = events(&account, 1, 10 * SHARE);
        assert!(!account.has_room());
        drop(large);
        assert!(account.has_room());
    }

    #[test]
    fn when_very_much_waits_each_client_may_have_one_thing_waiting() {
        let budget = Arc::default();
        let busy: Vec<_> = (0..TOGETHER[Work::JavaScript as usize] / SHARE)
            .map(|_| events(&Account::new(&budget), SHARE / ITEM_COST, 0))
            .collect();
        let modest = Account::new(&budget);
        assert!(modest.has_room(), "with nothing waiting");
        let one = events(&modest, 1, 0);
        assert!(!modest.has_room(), "with one thing waiting");
        let delivery = modest.causes(|| charge(Work::Delivery, 0));
        drop(one);
        assert!(modest.has_room(), "deliveries are counted by themselves");
        drop((busy, delivery));
        assert_eq!(budget.waiting(), 0);
    }

    #[test]
    fn what_has_not_arrived_whole_counts_and_does_not_pause() {
        let budget = Arc::default();
        let account = Account::new(&budget);
        let partial = account.causes(|| charge(Work::Arrival, 100 << 20));
        assert!(account.has_room());
        assert_eq!(budget.waiting(), (100 << 20) + ITEM_COST);
        drop(partial);
        assert_eq!(budget.waiting(), 0);
    }

    struct Woken(thread::Thread);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Whatever the threads do when, a reader that pauses is woken.
    #[test]
    fn no_reader_sleeps_for_ever() {
        const PACKETS: usize = 20_000;
        let budget = Arc::default();
        let account = Account::new(&budget);
        let (give, take) = std::sync::mpsc::channel::<Charge>();
        // Deals with everything at once, so that the reader often pauses just when its account becomes empty.
        let worker = thread::spawn(move || take.into_iter().for_each(drop));
        let waker = Waker::from(Arc::new(Woken(thread::current())));
        for _ in 0..PACKETS {
            let since = std::time::Instant::now();
            while account.poll_ready(&Context::from_waker(&waker)).is_pending() {
                thread::park_timeout(std::time::Duration::from_secs(5));
                assert!(since.elapsed().as_secs() < 5, "never woken");
            }
            for packet in events(&account, 1, SHARE) {
                give.send(packet).unwrap();
            }
        }
        drop(give);
        worker.join().unwrap();
        assert_eq!((budget.waiting(), budget.paused()), (0, 0));
    }
}

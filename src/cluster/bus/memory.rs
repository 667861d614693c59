//! Instances of one process joined without any network, for the tests: what is published is handed on at once, unless a
//! test holds it, loses it, or takes the whole broker away.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::error::{BusError, Fault};
use super::store::{Record, Store};
use super::{Bus, Observer, Publication, Subscriptions};

fn away() -> BusError {
    let text = "the broker is away".to_owned();
    BusError::new(Fault::Unreachable, "ERR_REDIS_UNREACHABLE", text)
}

/// What joins the instances, and the store that they share.
pub(crate) struct Broker {
    buses: Mutex<Vec<Weak<MemoryBus>>>,
    is_away: AtomicBool,
    store: Arc<MemoryStore>,
}

impl Broker {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            buses: Mutex::default(),
            is_away: AtomicBool::new(false),
            store: Arc::default(),
        })
    }

    /// The way of one more instance.
    pub(crate) fn bus(self: &Arc<Self>) -> Arc<MemoryBus> {
        let bus = Arc::new_cyclic(|this| MemoryBus {
            this: this.clone(),
            broker: self.clone(),
            started: Mutex::default(),
            mailbox: Mutex::default(),
            handing_on: Mutex::default(),
            up: watch::Sender::new(false),
        });
        self.buses.lock().push(Arc::downgrade(&bus));
        bus
    }

    pub(crate) fn store(&self) -> Arc<MemoryStore> {
        self.store.clone()
    }

    /// An outage for everyone; told when this returns.
    pub(crate) fn take_away(&self) {
        self.is_away.store(true, Ordering::Release);
        self.store.is_away.store(true, Ordering::Release);
        self.living().iter().for_each(|bus| bus.go_down());
    }

    pub(crate) fn bring_back(&self) {
        self.is_away.store(false, Ordering::Release);
        self.store.is_away.store(false, Ordering::Release);
        self.living().iter().for_each(|bus| bus.come_up());
    }

    fn living(&self) -> Vec<Arc<MemoryBus>> {
        let mut buses = self.buses.lock();
        buses.retain(|bus| bus.strong_count() > 0);
        buses.iter().filter_map(Weak::upgrade).collect()
    }
}

struct Started {
    subscriptions: Subscriptions,
    observer: Arc<dyn Observer>,
    runtime: Handle,
}

/// What becomes of what is published for an instance.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Intake {
    #[default]
    HandedOn,
    Held,
    Lost,
}

#[derive(Default)]
struct Mailbox {
    intake: Intake,
    waiting: VecDeque<Publication>,
    /// How many of the next batch are taken before the broker goes away.
    taken_of_next: Option<usize>,
}

/// The way of one instance.
pub(crate) struct MemoryBus {
    this: Weak<Self>,
    broker: Arc<Broker>,
    started: Mutex<Option<Arc<Started>>>,
    mailbox: Mutex<Mailbox>,
    /// Held while the observer is told of publications, so that they come from one task at a time.
    handing_on: Mutex<()>,
    up: watch::Sender<bool>,
}

impl MemoryBus {
    /// What is published for this instance waits until [`MemoryBus::release`].
    pub(crate) fn hold(&self) {
        self.mailbox.lock().intake = Intake::Held;
    }

    /// What is published for this instance is lost, and nobody told, until [`MemoryBus::release`].
    pub(crate) fn lose(&self) {
        self.mailbox.lock().intake = Intake::Lost;
    }

    /// Hands on what was held, and everything from now on.
    pub(crate) fn release(&self) {
        self.mailbox.lock().intake = Intake::HandedOn;
        self.hand_on();
    }

    /// Takes out what is held.
    pub(crate) fn take_held(&self) -> Vec<Publication> {
        self.mailbox.lock().waiting.drain(..).collect()
    }

    /// Hands a publication on, whatever else is held.
    pub(crate) fn arrive(&self, publication: Publication) {
        let _one_at_a_time = self.handing_on.lock();
        if let Some(started) = self.started() {
            tell(&*started.observer, publication);
        }
    }

    /// The broker goes away in the middle of the next batch, of which it has taken so many.
    pub(crate) fn interrupt_next(&self, taken: usize) {
        self.mailbox.lock().taken_of_next = Some(taken);
    }

    /// An outage for this instance alone.
    pub(crate) fn go_down(&self) {
        if let Some(started) = self.started()
            && self.up.send_replace(false)
        {
            self.mailbox.lock().waiting.clear();
            started.observer.down(&away());
        }
    }

    pub(crate) fn come_up(&self) {
        if let Some(started) = self.started()
            && !self.up.send_replace(true)
        {
            started.observer.up();
        }
    }

    fn started(&self) -> Option<Arc<Started>> {
        self.started.lock().clone()
    }

    fn hears(&self, channel: &[u8]) -> bool {
        let Some(started) = self.started().filter(|_| self.is_up()) else {
            return false;
        };
        let Subscriptions { prefixes, names } = &started.subscriptions;
        let is_prefix = |prefix: &String| channel.starts_with(prefix.as_bytes());
        prefixes.iter().any(is_prefix) || names.iter().any(|name| name.as_bytes() == channel)
    }

    fn hand_on(&self) {
        let _one_at_a_time = self.handing_on.lock();
        loop {
            let next = {
                let mut mailbox = self.mailbox.lock();
                match mailbox.intake {
                    Intake::HandedOn => mailbox.waiting.pop_front(),
                    Intake::Held | Intake::Lost => None,
                }
            };
            let Some((publication, started)) = next.zip(self.started()) else {
                return;
            };
            tell(&*started.observer, publication);
        }
    }

    fn publish_now(&self, batch: Vec<Publication>) -> Result<(), BusError> {
        if !self.is_up() {
            return Err(away());
        }
        let interrupted = self.mailbox.lock().taken_of_next.take();
        let buses = self.broker.living();
        {
            // One order for everyone.
            let _one_at_a_time = self.broker.buses.lock();
            for publication in batch.into_iter().take(interrupted.unwrap_or(usize::MAX)) {
                for bus in buses.iter().filter(|bus| bus.hears(&publication.channel)) {
                    let mut mailbox = bus.mailbox.lock();
                    if mailbox.intake != Intake::Lost {
                        mailbox.waiting.push_back(publication.clone());
                    }
                }
            }
        }
        buses.iter().for_each(|bus| bus.hand_on());
        if interrupted.is_some() {
            self.broker.take_away();
            return Err(away());
        }
        Ok(())
    }
}

fn tell(observer: &dyn Observer, publication: Publication) {
    let channel = String::from_utf8_lossy(&publication.channel);
    observer.message(&channel, publication.payload);
}

impl Bus for MemoryBus {
    fn start(&self, subscriptions: Subscriptions, observer: Arc<dyn Observer>, runtime: &Handle) {
        let runtime = runtime.clone();
        let started = Arc::new(Started {
            subscriptions,
            observer,
            runtime: runtime.clone(),
        });
        *self.started.lock() = Some(started.clone());
        let bus = self.this.clone();
        runtime.spawn(async move {
            let Some(bus) = bus.upgrade() else { return };
            if bus.broker.is_away.load(Ordering::Acquire) {
                started.observer.down(&away());
            } else {
                bus.come_up();
            }
        });
    }

    fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    fn until_up(&self) -> BoxFuture<'_, ()> {
        async {
            let mut up = self.up.subscribe();
            let _up = up.wait_for(|up| *up).await;
        }
        .boxed()
    }

    fn publish(&self, batch: Vec<Publication>) -> BoxFuture<'_, Result<(), BusError>> {
        async { self.publish_now(batch) }.boxed()
    }

    fn subscribers<'a>(&'a self, channel: &'a str) -> BoxFuture<'a, Result<u64, BusError>> {
        if !self.is_up() {
            return ready(Err(away())).boxed();
        }
        let is_subscribed = |bus: &&Arc<MemoryBus>| {
            let started = bus.started().filter(|_| bus.is_up());
            started.is_some_and(|started| started.subscriptions.names.iter().any(|name| name == channel))
        };
        let count = self.broker.living().iter().filter(is_subscribed).count();
        ready(Ok(count as u64)).boxed()
    }

    fn resubscribe(&self) {
        let Some(started) = self.started() else { return };
        let bus = self.this.clone();
        started.runtime.spawn(async move {
            if let Some(bus) = bus.upgrade() {
                bus.go_down();
                bus.come_up();
            }
        });
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        *self.started.lock() = None;
        self.up.send_replace(false);
        // Whoever is being told of something is waited for.
        drop(self.handing_on.lock());
        ready(()).boxed()
    }
}

/// Rooms and messages in memory.
#[derive(Default)]
pub(crate) struct MemoryStore {
    rooms: Mutex<HashMap<String, Bytes>>,
    messages: Mutex<HashMap<String, VecDeque<Record>>>,
    is_away: AtomicBool,
}

impl MemoryStore {
    fn call<T: Send + 'static>(&self, run: impl FnOnce() -> T) -> BoxFuture<'_, Result<T, BusError>> {
        let is_away = self.is_away.load(Ordering::Acquire);
        let answer = if is_away { Err(away()) } else { Ok(run()) };
        ready(answer).boxed()
    }
}

impl Store for MemoryStore {
    fn rooms(&self) -> BoxFuture<'_, Result<Vec<(String, Bytes)>, BusError>> {
        self.call(|| {
            let rooms = self.rooms.lock();
            rooms.iter().map(|(id, value)| (id.clone(), value.clone())).collect()
        })
    }

    fn put_rooms(&self, rooms: Vec<(String, Vec<u8>)>) -> BoxFuture<'_, Result<(), BusError>> {
        self.call(|| {
            let rooms = rooms.into_iter().map(|(id, value)| (id, value.into()));
            self.rooms.lock().extend(rooms);
        })
    }

    fn delete_rooms(&self, ids: Vec<String>) -> BoxFuture<'_, Result<(), BusError>> {
        self.call(|| self.rooms.lock().retain(|id, _| !ids.contains(id)))
    }

    fn append<'a>(
        &'a self,
        room_id: &'a str,
        record: Record,
        most: Option<usize>,
    ) -> BoxFuture<'a, Result<(), BusError>> {
        self.call(|| {
            let mut messages = self.messages.lock();
            let room = messages.entry(room_id.to_owned()).or_default();
            room.push_back(record);
            let surplus = room.len().saturating_sub(most.unwrap_or(usize::MAX));
            room.drain(..surplus);
        })
    }

    fn newest<'a>(&'a self, room_id: &'a str, most: usize) -> BoxFuture<'a, Result<Vec<Record>, BusError>> {
        self.call(|| {
            let messages = self.messages.lock();
            let Some(room) = messages.get(room_id) else {
                return Vec::new();
            };
            room.iter().skip(room.len().saturating_sub(most)).cloned().collect()
        })
    }

    fn forget<'a>(&'a self, room_id: &'a str) -> BoxFuture<'a, Result<(), BusError>> {
        self.call(|| drop(self.messages.lock().remove(room_id)))
    }
}

mod tests {
    use super::super::contract::Backend;
    use super::*;

    impl Backend for Arc<Broker> {
        fn begin() -> Self {
            Broker::new()
        }

        fn open(&self) -> (Arc<dyn Bus>, Arc<dyn Store>) {
            (self.bus(), self.store())
        }

        fn take_away(&mut self) {
            Broker::take_away(self);
        }

        fn bring_back(&mut self) {
            Broker::bring_back(self);
        }
    }

    crate::cluster::bus::contract::cases!(Arc<Broker>);
}

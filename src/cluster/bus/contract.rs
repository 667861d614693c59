//! What every bus and every store keeps to, as cases over a [`Backend`]: `cases!` makes a test of each for one
//! implementation. That nothing arrives is shown by what arrives after it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::recorder::{Recorder, Told};
use super::{Bus, Publication, Record, Store, Subscriptions};

/// How long something that must happen may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// What every instance hears. Characters that patterns give a meaning are part of the name.
const PREFIX: &str = "k[a]?*#";
const NAME: &str = "k-name";

/// What carries buses and stores, apart from any other.
pub(crate) trait Backend: Sized {
    /// One that is there.
    fn begin() -> Self;
    /// The way of one more instance. The store works while the bus is up.
    fn open(&self) -> (Arc<dyn Bus>, Arc<dyn Store>);
    /// Nobody reaches it any more. What is in the store need not survive.
    fn take_away(&mut self);
    /// It can be reached again.
    fn bring_back(&mut self);
}

/// An instance, and what it was told.
struct Instance {
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    told: Mutex<UnboundedReceiver<Told>>,
}

impl Instance {
    fn start(backend: &impl Backend) -> Self {
        let (sender, told) = unbounded_channel();
        let (bus, store) = backend.open();
        let subscriptions = Subscriptions {
            prefixes: vec![PREFIX.to_owned()],
            names: vec![NAME.to_owned()],
        };
        bus.start(subscriptions, Arc::new(Recorder(sender)), &Handle::current());
        let told = Mutex::new(told);
        Self { bus, store, told }
    }

    async fn up(backend: &impl Backend) -> Self {
        let instance = Self::start(backend);
        assert_eq!(instance.next().await, Some(Told::Up));
        instance
    }

    /// What it was told next; `None` when its observer was let go.
    async fn next(&self) -> Option<Told> {
        let mut told = self.told.lock().await;
        let next = tokio::time::timeout(PATIENCE, told.recv()).await;
        next.expect("something is told")
    }

    async fn goes_down(&self) {
        match self.next().await {
            Some(Told::Down(error)) => assert!(error.is_unreachable(), "{error}"),
            other => panic!("{other:?} instead of an outage"),
        }
    }

    async fn publish(&self, channel: &str, payload: &str) {
        let published = self.bus.publish(vec![publication(channel, payload)]).await;
        assert_eq!(published, Ok(()));
    }

    /// What arrived until the marker that is published now: channels and payloads.
    async fn heard_until_now(&self) -> Vec<(String, String)> {
        let marker = uuid::Uuid::new_v4().to_string();
        self.publish(NAME, &marker).await;
        let mut heard = Vec::new();
        loop {
            match self.next().await {
                Some(Told::Message(channel, payload)) if channel == NAME && payload == marker => return heard,
                Some(Told::Message(channel, payload)) => {
                    heard.push((channel, String::from_utf8_lossy(&payload).into_owned()));
                }
                other => panic!("{other:?} instead of a message"),
            }
        }
    }
}

fn publication(channel: &str, payload: &str) -> Publication {
    Publication {
        channel: Bytes::copy_from_slice(channel.as_bytes()),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

fn in_order(numbers: std::ops::Range<u32>) -> Vec<Publication> {
    numbers
        .map(|number| publication(&format!("{PREFIX}{}", number % 7), &number.to_string()))
        .collect()
}

pub(crate) async fn publications_arrive_once_and_in_order_at_everyone<B: Backend>() {
    let backend = B::begin();
    let instances = [Instance::up(&backend).await, Instance::up(&backend).await];
    for part in 0..5 {
        let batch = in_order(part * 1_000..(part + 1) * 1_000);
        assert_eq!(instances[0].bus.publish(batch).await, Ok(()));
    }
    let expected: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
    for instance in &instances {
        for number in &expected {
            let Some(Told::Message(_, payload)) = instance.next().await else {
                panic!("no message {number}");
            };
            assert_eq!(payload, number.as_bytes());
        }
    }
    for instance in &instances {
        // The other one's marker may be among it.
        let heard = instance.heard_until_now().await;
        assert!(heard.iter().all(|(channel, _)| channel == NAME), "{heard:?}");
    }
}

pub(crate) async fn a_name_is_heard_as_a_whole_and_a_prefix_as_a_beginning<B: Backend>() {
    let backend = B::begin();
    let instance = Instance::up(&backend).await;
    let channels = [
        PREFIX,
        "k[a]?*#room#",
        "k[a]?*#k-name",
        NAME,
        // What a pattern would mean, and what is nearly a name.
        "ka.#room#",
        "kabcd#",
        "K[A]?*#",
        "xk[a]?*#",
        "k-name2",
        "k-nam",
        "K-NAME",
    ];
    for (index, channel) in channels.iter().enumerate() {
        instance.publish(channel, &index.to_string()).await;
    }
    let heard = instance.heard_until_now().await;
    let expected = (0..4).map(|index| (channels[index].to_owned(), index.to_string()));
    assert_eq!(heard, expected.collect::<Vec<_>>());
}

pub(crate) async fn a_channel_and_a_payload_may_be_any_bytes<B: Backend>() {
    let backend = B::begin();
    let instance = Instance::up(&backend).await;
    let binary = Bytes::from_static(b"\xff\x00\r\n\xfe");
    let large = Bytes::from(vec![b'x'; 5_000_000]);
    let to_prefix = |payload: &Bytes| Publication {
        channel: Bytes::from_static(PREFIX.as_bytes()),
        payload: payload.clone(),
    };
    let nobody = Publication {
        channel: binary.clone(),
        payload: Bytes::new(),
    };
    let empty = Bytes::new();
    let batch = vec![nobody, to_prefix(&binary), to_prefix(&empty), to_prefix(&large)];
    assert_eq!(instance.bus.publish(batch).await, Ok(()));
    for expected in [binary, empty, large] {
        assert_eq!(instance.next().await, Some(Told::Message(PREFIX.to_owned(), expected)));
    }
    assert_eq!(instance.bus.publish(Vec::new()).await, Ok(()));
}

pub(crate) async fn nothing_arrives_after_the_end<B: Backend>() {
    let backend = B::begin();
    let (first, second) = (Instance::up(&backend).await, Instance::up(&backend).await);
    first.publish(NAME, "before").await;
    let before = Some(Told::Message(NAME.to_owned(), Bytes::from_static(b"before")));
    assert_eq!(
        (first.next().await, second.next().await),
        (
            before,
            Some(Told::Message(NAME.to_owned(), Bytes::from_static(b"before")))
        )
    );
    second.bus.stop().await;
    first.publish(NAME, "after").await;
    let heard = first.heard_until_now().await;
    assert_eq!(heard, [(NAME.to_owned(), "after".to_owned())]);
    assert_eq!(second.next().await, None, "its observer is let go, untold");
    assert!(!second.bus.is_up());
    assert!(second.bus.publish(vec![publication(NAME, "never")]).await.is_err());
    second.bus.stop().await;
    assert_eq!(first.heard_until_now().await, []);
}

pub(crate) async fn publishing_in_an_outage_fails_and_is_not_made_up_for<B: Backend>() {
    let mut backend = B::begin();
    let instance = Instance::up(&backend).await;
    backend.take_away();
    instance.goes_down().await;
    for _ in 0..3 {
        let refused = instance.bus.publish(vec![publication(NAME, "in vain")]).await;
        assert!(refused.is_err_and(|error| error.is_unreachable()));
    }
    backend.bring_back();
    assert_eq!(instance.next().await, Some(Told::Up));
    assert_eq!(instance.heard_until_now().await, []);
}

pub(crate) async fn every_outage_and_every_return_is_told_once<B: Backend>() {
    let mut backend = B::begin();
    let instance = Instance::up(&backend).await;
    for _ in 0..2 {
        assert!(instance.bus.is_up());
        backend.take_away();
        instance.goes_down().await;
        assert!(!instance.bus.is_up());
        assert!(instance.bus.subscribers(NAME).await.is_err());
        backend.bring_back();
        // `next` takes what is told in between for a mistake.
        assert_eq!(instance.next().await, Some(Told::Up));
        assert_eq!(instance.heard_until_now().await, []);
    }
}

pub(crate) async fn starting_in_an_outage_waits_for_its_end<B: Backend>() {
    let mut backend = B::begin();
    backend.take_away();
    let instance = Instance::start(&backend);
    instance.goes_down().await;
    backend.bring_back();
    let up = tokio::time::timeout(PATIENCE, instance.bus.until_up()).await;
    assert!(up.is_ok());
    assert_eq!(instance.next().await, Some(Told::Up));
    assert_eq!(instance.heard_until_now().await, []);
}

pub(crate) async fn subscribers_are_counted_by_their_names<B: Backend>() {
    let backend = B::begin();
    let (first, second) = (Instance::up(&backend).await, Instance::up(&backend).await);
    assert_eq!(first.bus.subscribers(NAME).await, Ok(2));
    assert_eq!(first.bus.subscribers("k-other").await, Ok(0));
    assert_eq!(first.bus.subscribers(&format!("{PREFIX}room#")).await, Ok(0));
    second.bus.stop().await;
    let gone = async {
        while first.bus.subscribers(NAME).await != Ok(1) {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, gone).await.is_ok());
}

pub(crate) async fn subscriptions_that_are_made_anew_are_in_force<B: Backend>() {
    let backend = B::begin();
    let (first, second) = (Instance::up(&backend).await, Instance::up(&backend).await);
    second.bus.resubscribe();
    second.goes_down().await;
    assert_eq!(second.next().await, Some(Told::Up));
    first.publish(NAME, "word").await;
    assert_eq!(second.heard_until_now().await, [(NAME.to_owned(), "word".to_owned())]);
}

fn room(number: u32) -> (String, Vec<u8>) {
    (format!("room{number}"), vec![0xff, (number % 256) as u8, 0])
}

async fn stored(instance: &Instance) -> Vec<(String, Vec<u8>)> {
    let rooms = instance.store.rooms().await.unwrap();
    let mut rooms: Vec<_> = rooms.into_iter().map(|(id, value)| (id, value.to_vec())).collect();
    rooms.sort_unstable();
    rooms
}

pub(crate) async fn rooms_are_kept_until_they_are_deleted<B: Backend>() {
    let backend = B::begin();
    let (first, second) = (Instance::up(&backend).await, Instance::up(&backend).await);
    assert_eq!(stored(&first).await, []);
    let mut rooms: Vec<_> = (0..3_000).map(room).collect();
    assert_eq!(first.store.put_rooms(rooms.clone()).await, Ok(()));
    assert_eq!(first.store.put_rooms(Vec::new()).await, Ok(()));
    rooms.sort_unstable();
    assert_eq!(stored(&second).await, rooms);

    let other = ("room7".to_owned(), b"{}".to_vec());
    assert_eq!(second.store.put_rooms(vec![other.clone()]).await, Ok(()));
    let deleted: Vec<String> = (100..3_000).map(|number| room(number).0).collect();
    let unknown = vec!["unknown".to_owned()];
    assert_eq!(second.store.delete_rooms([deleted, unknown].concat()).await, Ok(()));
    assert_eq!(second.store.delete_rooms(Vec::new()).await, Ok(()));
    let mut left: Vec<_> = (0..100).filter(|number| *number != 7).map(room).collect();
    left.push(other);
    left.sort_unstable();
    assert_eq!(stored(&first).await, left);
}

fn record(number: u64) -> Record {
    Record {
        args: Bytes::from(format!("[\"message\",{number}]")),
        time: 1_766_102_400_000 + number,
        attachments: (0..number % 3).map(|_| Bytes::from_static(b"\xff\x00\r\n")).collect(),
    }
}

pub(crate) async fn messages_come_back_in_the_order_in_which_they_were_appended<B: Backend>() {
    let backend = B::begin();
    let (first, second) = (Instance::up(&backend).await, Instance::up(&backend).await);
    assert_eq!(
        first.store.newest("room", 10).await,
        Ok(Vec::new()),
        "of an unknown room"
    );
    for number in 0..20 {
        assert_eq!(first.store.append("room", record(number), None).await, Ok(()));
    }
    assert_eq!(first.store.append("other", record(99), None).await, Ok(()));
    let all: Vec<_> = (0..20).map(record).collect();
    assert_eq!(second.store.newest("room", 1_000).await, Ok(all.clone()));
    assert_eq!(second.store.newest("room", 3).await, Ok(all[17..].to_vec()));
    assert_eq!(second.store.newest("other", 3).await, Ok(vec![record(99)]));
}

pub(crate) async fn the_oldest_messages_are_dropped_when_there_are_too_many<B: Backend>() {
    let backend = B::begin();
    let instance = Instance::up(&backend).await;
    for number in 0..500 {
        assert_eq!(instance.store.append("room", record(number), Some(10)).await, Ok(()));
        assert_eq!(instance.store.append("whole", record(number), None).await, Ok(()));
    }
    let left = instance.store.newest("room", 1_000).await.unwrap();
    assert!((10..250).contains(&left.len()), "{}", left.len());
    let newest: Vec<_> = (490..500).map(record).collect();
    assert_eq!(left[left.len() - 10..], newest);
    assert_eq!(
        instance.store.newest("whole", 1_000).await.map(|all| all.len()),
        Ok(500)
    );
}

pub(crate) async fn the_messages_of_one_room_are_forgotten<B: Backend>() {
    let backend = B::begin();
    let instance = Instance::up(&backend).await;
    for room in ["room", "other"] {
        assert_eq!(instance.store.append(room, record(1), None).await, Ok(()));
    }
    assert_eq!(instance.store.forget("room").await, Ok(()));
    assert_eq!(instance.store.forget("unknown").await, Ok(()));
    assert_eq!(instance.store.newest("room", 10).await, Ok(Vec::new()));
    assert_eq!(instance.store.newest("other", 10).await, Ok(vec![record(1)]));
    assert_eq!(instance.store.append("room", record(2), None).await, Ok(()));
    assert_eq!(instance.store.newest("room", 10).await, Ok(vec![record(2)]));
}

pub(crate) async fn a_store_that_is_away_says_so<B: Backend>() {
    let mut backend = B::begin();
    let instance = Instance::up(&backend).await;
    backend.take_away();
    instance.goes_down().await;
    let store = &instance.store;
    let outcomes = [
        store.rooms().await.map(drop),
        store.put_rooms(vec![room(1)]).await,
        store.delete_rooms(vec!["room1".to_owned()]).await,
        store.append("room", record(1), None).await,
        store.newest("room", 1).await.map(drop),
        store.forget("room").await,
    ];
    for outcome in outcomes {
        assert!(outcome.is_err_and(|error| error.is_unreachable()));
    }
    backend.bring_back();
    assert_eq!(instance.next().await, Some(Told::Up));
    assert_eq!(stored(&instance).await, []);
    assert_eq!(instance.store.newest("room", 1).await, Ok(Vec::new()));
}

/// A test of each case for a [`Backend`].
macro_rules! cases {
    ($backend:ty) => {
        $crate::cluster::bus::contract::cases!($backend:
            publications_arrive_once_and_in_order_at_everyone
            a_name_is_heard_as_a_whole_and_a_prefix_as_a_beginning
            a_channel_and_a_payload_may_be_any_bytes
            nothing_arrives_after_the_end
            publishing_in_an_outage_fails_and_is_not_made_up_for
            every_outage_and_every_return_is_told_once
            starting_in_an_outage_waits_for_its_end
            subscribers_are_counted_by_their_names
            subscriptions_that_are_made_anew_are_in_force
            rooms_are_kept_until_they_are_deleted
            messages_come_back_in_the_order_in_which_they_were_appended
            the_oldest_messages_are_dropped_when_there_are_too_many
            the_messages_of_one_room_are_forgotten
            a_store_that_is_away_says_so
        );
    };
    ($backend:ty: $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::cluster::bus::contract::$case::<$backend>().await;
            }
        )+
    };
}
pub(crate) use cases;

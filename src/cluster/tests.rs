//! Instances joined by a broker in memory, so that a test decides what is held, what is lost, and when there is an outage.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::Mutex;

use super::{
    Cluster, Settings,
    bus::{
        Bus, BusError, Observer, Publication, Store, Subscriptions,
        memory::{Broker, MemoryBus},
    },
};
use crate::{
    config::Config,
    hub::{Identity, Room, Socket},
    link::Link,
    ports::{EventKind, EventSink, ServiceEvent},
    service::Service,
    wire::packet::Packet,
};

mod healing;
mod history;
mod moving;
mod outages;
mod property;
mod requests;
mod returning;

/// What a client received.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Vec<String>>);

impl Link for Inbox {
    fn send(&self, packet: &Packet, _: bool) -> bool {
        self.0.lock().push(packet.args().to_owned());
        false
    }

    fn replay(&self, missed: Vec<Packet>) {
        let missed = missed.iter().map(|packet| packet.args().to_owned());
        self.0.lock().extend(missed);
    }
}

/// What an application is told, as words: of sockets, and of the cluster itself.
#[derive(Default)]
struct Told {
    sockets: Mutex<Vec<String>>,
    cluster: Mutex<Vec<String>>,
}

impl EventSink for Told {
    fn wants(&self, _: EventKind) -> bool {
        true
    }

    fn emit(&self, event: ServiceEvent) {
        let words = match event {
            ServiceEvent::Connection(socket) => format!("connection {}", socket.id()),
            ServiceEvent::Disconnect(socket, reason, _) => format!("disconnect {} {reason}", socket.id()),
            ServiceEvent::RoomJoin(socket, _) => format!("join {}", socket.id()),
            ServiceEvent::RoomLeave(socket, _) => format!("leave {}", socket.id()),
            ServiceEvent::Cluster(status) => return self.cluster.lock().push(status.to_owned()),
            ServiceEvent::Fault(code, _) => return self.cluster.lock().push(code.to_owned()),
            _ => return,
        };
        self.sockets.lock().push(words);
    }
}

/// An instance, and its way to the others.
pub(super) struct Node {
    pub(super) cluster: Cluster,
    pub(super) bus: Arc<MemoryBus>,
    told: Arc<Told>,
}

impl Node {
    /// One that beats when a test says so; every beat counts.
    pub(super) fn start(broker: &Arc<Broker>, uid: &str) -> Self {
        Self::start_with(broker, uid, Config::default(), Duration::ZERO)
    }

    pub(super) fn start_with(broker: &Arc<Broker>, uid: &str, config: Config, heartbeat_interval: Duration) -> Self {
        let settings = Settings {
            key_prefix: "socket.io".to_owned(),
            heartbeat_interval,
            max_queued_messages: 100_000,
            max_queued_bytes: 64 << 20,
            requests_timeout: Duration::from_secs(5),
        };
        let (bus, told) = (broker.bus(), Arc::new(Told::default()));
        let runtime = tokio::runtime::Handle::current();
        let service = Arc::new(Service::new(config, told.clone(), &runtime));
        let ways: (Arc<dyn Bus>, Arc<dyn Store>) = (bus.clone(), broker.store());
        let cluster = Cluster::new(uid.into(), &service, &settings, ways, &runtime);
        cluster.join();
        Self { cluster, bus, told }
    }

    pub(super) fn service(&self) -> &Arc<Service> {
        &self.cluster.service
    }

    pub(super) fn connect(&self, name: &str) -> (Arc<Socket>, Arc<Inbox>) {
        let inbox = Arc::new(Inbox::default());
        let key = self.service().next_key();
        let socket = Arc::new(Socket::new(key, name, inbox.clone(), "{}".into(), 0));
        socket.identify(Identity::new(&format!("user-{name}"), None));
        self.service().register(&socket).unwrap();
        (socket, inbox)
    }

    pub(super) fn join(&self, socket: &Socket, room: &Room) {
        self.service().join_room(socket.id(), &room.info.id).unwrap();
    }

    pub(super) fn beat(&self) {
        self.cluster.membership.beat();
    }

    /// What the application was told since the last call.
    pub(super) fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.sockets.lock())
    }

    /// What the application was told of the cluster since the last call.
    pub(super) fn told_of_cluster(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.cluster.lock())
    }

    /// What it knows of sockets anywhere: id, and the rooms that it is in.
    pub(super) fn knows(&self) -> Vec<(String, Vec<String>)> {
        let mut sockets: Vec<_> = self
            .service()
            .hub
            .everyone_anywhere()
            .iter()
            .map(|socket| {
                let mut rooms: Vec<String> = socket
                    .with_rooms(|rooms| rooms.iter().map(|room| room.info.id.to_string()).collect())
                    .unwrap_or_default();
                rooms.sort_unstable();
                (socket.id().to_owned(), rooms)
            })
            .collect();
        sockets.sort_unstable();
        sockets
    }

    /// Packets that a client of this instance received since the last call, by the name of their event.
    pub(super) async fn received(&self, inbox: &Inbox, event: &str) -> Vec<String> {
        self.service().fanout().flushed().await;
        let prefix = format!("[\"{event}\"");
        let mut packets = std::mem::take(&mut *inbox.0.lock());
        packets.retain(|packet| packet.starts_with(&prefix));
        packets
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.cluster.stop();
        let _stopped = self.cluster.bus.stop().now_or_never();
    }
}

/// Somebody else on the bus, and what was published there: channels and payloads.
pub(super) struct Outsider {
    bus: Arc<MemoryBus>,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard(Mutex<Vec<(String, Bytes)>>);

impl Observer for Heard {
    fn message(&self, channel: &str, payload: Bytes) {
        self.0.lock().push((channel.to_owned(), payload));
    }

    fn up(&self) {}

    fn down(&self, _: &BusError) {}
}

impl Outsider {
    pub(super) async fn start(broker: &Arc<Broker>) -> Self {
        let (bus, heard) = (broker.bus(), Arc::new(Heard::default()));
        let everything = Subscriptions {
            prefixes: vec![String::new()],
            names: Vec::new(),
        };
        bus.start(everything, heard.clone(), &tokio::runtime::Handle::current());
        bus.until_up().await;
        Self { bus, heard }
    }

    pub(super) async fn publish(&self, channel: &str, payload: impl Into<Bytes>) {
        let publication = Publication {
            channel: Bytes::copy_from_slice(channel.as_bytes()),
            payload: payload.into(),
        };
        self.bus.publish(vec![publication]).await.unwrap();
    }

    /// What it has heard on a channel.
    pub(super) fn heard_on(&self, channel: &str) -> Vec<Bytes> {
        let heard = self.heard.0.lock();
        let on_channel = heard.iter().filter(|(heard_on, _)| heard_on == channel);
        on_channel.map(|(_, payload)| payload.clone()).collect()
    }
}

/// Everything that these have to say is published, and so is what follows from it. Ends when nobody has had anything to
/// say for as long as it takes every task to have several turns: nothing here waits for time or for the network.
pub(super) async fn settle(nodes: &[&Node]) {
    let mut idle_turns = 0;
    while idle_turns < 16 {
        tokio::task::yield_now().await;
        let is_idle = nodes.iter().all(|node| node.cluster.log.queued().0 == 0);
        idle_turns = if is_idle { idle_turns + 1 } else { 0 };
    }
}

/// Everyone beats, and everything that follows is heard.
pub(super) async fn beat(nodes: &[&Node]) {
    nodes.iter().for_each(|node| node.beat());
    settle(nodes).await;
}

/// Instances that know each other.
pub(super) async fn acquainted<const COUNT: usize>(uids: [&str; COUNT]) -> [Node; COUNT] {
    acquainted_on(&Broker::new(), uids).await
}

pub(super) async fn acquainted_on<const COUNT: usize>(broker: &Arc<Broker>, uids: [&str; COUNT]) -> [Node; COUNT] {
    let nodes = uids.map(|uid| Node::start(broker, uid));
    for node in &nodes {
        assert!(node.cluster.ready().await);
    }
    let all: Vec<&Node> = nodes.iter().collect();
    beat(&all).await;
    nodes
}

#[tokio::test]
async fn instances_know_each_others_sockets_and_rooms() {
    let [one, two] = acquainted(["aaaaaa", "bbbbbb"]).await;
    let room = one.service().create_room("room", "default");
    settle(&[&one, &two]).await;
    let (ann, ann_inbox) = one.connect("ann");
    let (bob, bob_inbox) = two.connect("bob");
    one.join(&ann, &room);
    settle(&[&one, &two]).await;
    two.join(&bob, &room);
    settle(&[&one, &two]).await;
    assert_eq!(one.knows(), two.knows());
    assert_eq!(one.knows().iter().filter(|(_, rooms)| rooms.len() == 1).count(), 2);
    assert_eq!(one.received(&ann_inbox, "user:joined").await.len(), 1);
    assert_eq!(two.received(&bob_inbox, "user:joined").await.len(), 0);
}

//! Instances that hear each other without Redis: what one says is handed to the others by hand, so that a test decides
//! what is lost, and when.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Cluster, membership::Ear};
use crate::{
    config::{Config, RedisConfig},
    hub::{Identity, Room, Socket},
    link::Link,
    ports::{EventKind, EventSink, ServiceEvent},
    service::Service,
    wire::packet::Packet,
};

mod healing;
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
}

/// What an application is told: all events, as words.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

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
            _ => return,
        };
        self.0.lock().push(words);
    }
}

/// An instance.
pub(super) struct Node {
    pub(super) cluster: Arc<Cluster>,
    told: Arc<Told>,
}

/// A message on its way: channel and payload.
pub(super) type Post = (Bytes, Bytes);

impl Node {
    pub(super) fn start(uid: &str) -> Self {
        // Every beat that a test makes counts.
        Self::start_with(uid, Config::default(), Duration::ZERO)
    }

    pub(super) fn start_with(uid: &str, config: Config, heartbeat_interval: Duration) -> Self {
        let redis = RedisConfig {
            heartbeat_interval,
            ..RedisConfig::default()
        };
        let told = Arc::new(Told::default());
        let runtime = tokio::runtime::Handle::current();
        let service = Arc::new(Service::new(config, told.clone(), &runtime));
        let cluster = Arc::new_cyclic(|cluster| {
            let ear = Arc::new(Ear::new(cluster.clone()));
            Cluster::new(uid.into(), service.clone(), &redis, &runtime, ear)
        });
        service.join_cluster(cluster.outbox.clone());
        Self { cluster, told }
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

    /// What it says, which leaves it with this.
    pub(super) async fn said(&self) -> Vec<Post> {
        // Snapshots are made aside.
        while self.cluster.tasks.lock().iter().any(|task| !task.is_finished()) {
            tokio::task::yield_now().await;
        }
        let entries = self.cluster.outbox.log.take(usize::MAX, usize::MAX);
        entries.iter().filter_map(|entry| self.cluster.encode(entry)).collect()
    }

    pub(super) fn hears(&self, posts: &[Post]) {
        for (channel, payload) in posts {
            let channel = std::str::from_utf8(channel).unwrap();
            if self.listens(channel) {
                self.cluster.arrived(channel, payload.clone());
            }
        }
    }

    fn listens(&self, channel: &str) -> bool {
        let (_, names) = self.cluster.channels.subscribed();
        names.iter().any(|name| name == channel) || self.cluster.channels.classic.scope(channel).is_some()
    }

    /// What the application was told since the last call.
    pub(super) fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.0.lock())
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

/// Hands on everything until nobody has anything to say. Nothing is lost.
pub(super) async fn settle(nodes: &[&Node]) {
    loop {
        let posts = all_said(nodes).await;
        if posts.is_empty() {
            return;
        }
        nodes.iter().for_each(|node| node.hears(&posts));
    }
}

/// What all of them say.
pub(super) async fn all_said(nodes: &[&Node]) -> Vec<Post> {
    let mut posts = Vec::new();
    for node in nodes {
        posts.extend(node.said().await);
    }
    posts
}

/// Everyone beats, and everything that follows is heard.
pub(super) async fn beat(nodes: &[&Node]) {
    nodes.iter().for_each(|node| node.cluster.beat());
    settle(nodes).await;
}

/// Instances that know each other.
pub(super) async fn acquainted<const COUNT: usize>(uids: [&str; COUNT]) -> [Node; COUNT] {
    let nodes = uids.map(Node::start);
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

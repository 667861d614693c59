//! Messages that are kept in the store.

use super::*;
use crate::{
    clock,
    cluster::bus::Record,
    config::HistoryConfig,
    service::{MessageType, NewMessage},
};

const HOUR: u64 = 3_600_000;

fn keeping(broker: &Arc<Broker>, uid: &str) -> Node {
    let history = HistoryConfig {
        persist: true,
        max_age_ms: Some(HOUR),
        ..HistoryConfig::default()
    };
    let config = Config {
        history,
        ..Config::default()
    };
    Node::start_with(broker, uid, config, Duration::ZERO)
}

fn send(node: &Node, room: &Room, content: &str) {
    let message = NewMessage {
        author: "\"userId\":\"ann\"",
        content: &format!("\"{content}\""),
        kind: MessageType::Text,
        metadata: None,
        attachments: Vec::new(),
    };
    node.service().send_message(&room.info.id, message).unwrap();
}

/// What is stored of a room once so much of it is.
async fn stored(broker: &Arc<Broker>, room: &Room, count: usize) -> Vec<Record> {
    let arrived = async {
        loop {
            match broker.store().newest(&room.info.id, 100).await {
                Ok(records) if records.len() == count => return records,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let arrived = tokio::time::timeout(Duration::from_secs(15), arrived).await;
    arrived.expect("so many messages are stored")
}

fn read(node: &Node, room: &Room) -> Vec<String> {
    node.service().restore(&room.info.id);
    let (_, messages) = node.service().messages(&room.info.id, 0..=u64::MAX);
    messages
        .iter()
        .map(|message| message.packet.args().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_is_read_unless_it_is_too_old_and_goes_with_its_room() {
    let broker = Broker::new();
    let one = keeping(&broker, "aaaaaa");
    assert!(one.cluster.ready().await);
    let [room, other] = ["room", "other"].map(|name| one.service().create_room(name, "default"));
    send(&one, &other, "old");
    let mut old = stored(&broker, &other, 1).await.remove(0);
    old.time = clock::now_ms() - 2 * HOUR;
    broker.store().append(&room.info.id, old, None).await.unwrap();
    send(&one, &room, "new");
    stored(&broker, &room, 2).await;
    // What cannot be written in an outage is written after it.
    broker.take_away();
    send(&one, &room, "newer");
    broker.bring_back();
    stored(&broker, &room, 3).await;

    let two = keeping(&broker, "bbbbbb");
    assert!(two.cluster.ready().await);
    let messages = read(&two, &room);
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].contains("\"newer\"") && messages[1].contains("\"new\""));

    assert!(two.service().delete_room(&room.info.id).is_some());
    assert_eq!(stored(&broker, &room, 0).await, []);
    assert_eq!(stored(&broker, &other, 1).await.len(), 1);
}

//! Instances that are lost, and come back: what applications and clients are told.

use super::*;
use crate::{
    cluster::message::{Beat, Envelope, Message},
    disconnect::DisconnectReason,
    selection::Selection,
};

/// Time passes for some instances, which hear each other only.
async fn pass(beats: usize, nodes: &[&Node]) {
    for _ in 0..beats {
        beat(nodes).await;
    }
}

fn with(words: &[String], start: &str) -> Vec<String> {
    words.iter().filter(|words| words.starts_with(start)).cloned().collect()
}

#[tokio::test]
async fn the_first_instance_speaks_for_a_lost_one() {
    let [one, two, three] = acquainted(["aaaaaa", "bbbbbb", "cccccc"]).await;
    three.connect("cat");
    settle(&[&one, &two, &three]).await;
    three.bus.lose();
    pass(3, &[&one, &two]).await;
    assert_eq!(one.told(), ["disconnect cat instance lost"]);
    assert!(two.told().is_empty());
    assert!(one.knows().is_empty() && two.knows().is_empty());
}

#[tokio::test]
async fn somebody_speaks_for_instances_that_are_lost_together() {
    let [one, two, three] = acquainted(["aaaaaa", "bbbbbb", "cccccc"]).await;
    one.connect("ann");
    two.connect("bob");
    settle(&[&one, &two, &three]).await;
    // The first, who would speak for the second, is heard of a beat longer.
    [&one, &two].iter().for_each(|node| node.bus.lose());
    three.beat();
    settle(&[&three]).await;
    one.beat();
    settle(&[&one]).await;
    pass(4, &[&three]).await;
    let mut told = three.told();
    told.sort_unstable();
    assert_eq!(told, ["disconnect ann instance lost", "disconnect bob instance lost"]);
}

#[tokio::test]
async fn a_returning_instance_is_told_of_once_and_brings_what_it_said_meanwhile() {
    let [one, two] = acquainted(["aaaaaa", "bbbbbb"]).await;
    let both = [&one, &two];
    let room = one.service().create_room("room", "default");
    let (ann, inbox) = one.connect("ann");
    one.join(&ann, &room);
    settle(&both).await;
    let (bob, _) = two.connect("bob");
    let (ben, _) = two.connect("ben");
    two.join(&bob, &room);
    two.join(&ben, &room);
    settle(&both).await;
    assert_eq!(one.received(&inbox, "user:joined").await.len(), 2);
    two.bus.lose();
    pass(3, &[&one]).await;
    assert_eq!(one.received(&inbox, "user:left").await.len(), 2);
    one.told();
    // Meanwhile the lost instance loses one, gains one, and speaks; some of it was under way and is lost.
    one.bus.lose();
    two.service().unregister(&ben, DisconnectReason::TransportClose);
    let (bea, _) = two.connect("bea");
    settle(&[&two]).await;
    both.iter().for_each(|node| node.bus.release());
    two.join(&bea, &room);
    two.service()
        .emit(&Selection::room(&room.info.id), &Packet::event("note", "1"));
    settle(&both).await;
    pass(1, &both).await;
    assert_eq!(one.knows(), two.knows());
    let told = one.told();
    assert_eq!(
        with(&told, "connection"),
        ["connection bob"],
        "its own application was told of bea"
    );
    one.service().fanout().flushed().await;
    let packets = std::mem::take(&mut *inbox.0.lock());
    let count = |event: &str| with(&packets, &format!("[\"{event}\"")).len();
    assert_eq!(
        (count("note"), count("user:joined"), count("user:left")),
        (1, 2, 0),
        "{packets:?}"
    );
}

#[tokio::test]
async fn clients_are_told_once_of_who_joins_while_a_snapshot_is_asked_for() {
    let broker = Broker::new();
    let [one, two] = acquainted_on(&broker, ["aaaaaa", "bbbbbb"]).await;
    let both = [&one, &two];
    let room = one.service().create_room("room", "default");
    let (ann, inbox) = one.connect("ann");
    one.join(&ann, &room);
    let (bob, _) = two.connect("bob");
    let (bea, _) = two.connect("bea");
    settle(&both).await;
    // A snapshot is asked for, and bob joins before it is made, bea after.
    two.bus.hold();
    let disagreeing = Message::Beat(Beat {
        next_seq: two.cluster.log.next_seq(),
        digest: 1,
        ..Beat::default()
    });
    let outsider = Outsider::start(&broker).await;
    let beat = Envelope::encode(&"bbbbbb".into(), None, &disagreeing);
    outsider.publish(&one.cluster.channels.everyone, beat).await;
    settle(&both).await;
    assert_eq!(one.cluster.sync.instances().whole(), 0);
    two.join(&bob, &room);
    settle(&both).await;
    two.bus.release();
    two.join(&bea, &room);
    settle(&both).await;
    assert_eq!(one.received(&inbox, "user:joined").await.len(), 2);
    assert_eq!(one.knows(), two.knows());
}

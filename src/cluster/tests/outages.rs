//! Instances that beat by themselves, and what comes of outages. The clock only jumps, so nothing waits for time.

use super::*;

const BEAT: Duration = Duration::from_millis(100);

/// Time passes until it holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(BEAT).await;
    }
    panic!("still not so: {what}");
}

fn running(broker: &Arc<Broker>, uid: &str) -> Node {
    let node = Node::start_with(broker, uid, Config::default(), BEAT);
    node.cluster.keep_beating();
    node
}

/// Two that know each other, and a client of the second.
async fn pair(broker: &Arc<Broker>) -> ([Node; 2], Arc<Inbox>) {
    let nodes = ["aaaaaa", "bbbbbb"].map(|uid| running(broker, uid));
    for node in &nodes {
        assert!(node.cluster.ready().await);
    }
    let (_, inbox) = nodes[1].connect("bob");
    until("bob is known", || !nodes[0].knows().is_empty()).await;
    nodes.iter().for_each(|node| drop(node.told_of_cluster()));
    (nodes, inbox)
}

fn emit(node: &Node, word: &str) {
    let packet = Packet::event("note", &format!("\"{word}\""));
    node.service().emit(&crate::selection::Selection::room("bob"), &packet);
}

/// Waits until a client has received this, which ends what is waited for; returns all of it.
async fn received_until(node: &Node, inbox: &Inbox, last: &str) -> Vec<String> {
    let last = format!("[\"note\",\"{last}\"]");
    let mut packets = Vec::new();
    for _ in 0..1_000 {
        tokio::time::sleep(BEAT).await;
        packets.extend(node.received(inbox, "note").await);
        if packets.last() == Some(&last) {
            return packets;
        }
    }
    panic!("{last} never arrives after {packets:?}");
}

fn notes(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| format!("[\"note\",\"{word}\"]")).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_in_an_outage_arrives_after_it_once_and_in_order() {
    let broker = Broker::new();
    let ([one, two], inbox) = pair(&broker).await;
    emit(&one, "before");
    assert_eq!(received_until(&two, &inbox, "before").await, notes(&["before"]));
    broker.take_away();
    ["a", "b", "c"].iter().for_each(|word| emit(&one, word));
    tokio::time::sleep(BEAT * 20).await;
    assert!(two.received(&inbox, "note").await.is_empty());
    assert_eq!(one.told_of_cluster(), ["degraded", "ERR_REDIS_UNREACHABLE"]);
    assert_eq!(one.cluster.state().queued, 3, "no beats wait");
    broker.bring_back();
    emit(&one, "after");
    assert_eq!(
        received_until(&two, &inbox, "after").await,
        notes(&["a", "b", "c", "after"])
    );
    assert!(one.cluster.ready().await);
    assert_eq!(one.told_of_cluster(), ["ready"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_on_its_way_when_the_bus_went_arrives_once_whether_it_was_taken_or_not() {
    for taken in 0..=3 {
        let broker = Broker::new();
        let ([one, two], inbox) = pair(&broker).await;
        let outsider = Outsider::start(&broker).await;
        one.bus.interrupt_next(taken);
        ["a", "b", "c"].iter().for_each(|word| emit(&one, word));
        until("the bus is away", || !one.bus.is_up()).await;
        broker.bring_back();
        emit(&one, "after");
        let expected = notes(&["a", "b", "c", "after"]);
        assert_eq!(
            received_until(&two, &inbox, "after").await,
            expected,
            "{taken} were taken"
        );
        assert_eq!(two.cluster.state().lost, 0);
        // Node.js servers, which number nothing, are told nothing twice.
        let heard = outsider.heard_on("socket.io#/#bob#");
        assert_eq!(heard.len(), taken + 1, "{taken} were taken");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_lost_in_an_outage_however_long_it_is() {
    let broker = Broker::new();
    let ([one, two], _) = pair(&broker).await;
    one.told();
    broker.take_away();
    tokio::time::sleep(BEAT * 1_000).await;
    assert_eq!(one.knows(), two.knows());
    broker.bring_back();
    assert!(one.cluster.ready().await && two.cluster.ready().await);
    tokio::time::sleep(BEAT * 10).await;
    assert_eq!((one.knows().len(), one.told().len()), (1, 0));
    // One that is really gone is.
    two.cluster.stop();
    tokio::time::sleep(BEAT * 10).await;
    assert_eq!(one.told(), ["disconnect bob instance lost"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_without_an_outage_is_asked_for() {
    let broker = Broker::new();
    let ([one, two], inbox) = pair(&broker).await;
    two.bus.lose();
    ["a", "b"].iter().for_each(|word| emit(&one, word));
    settle(&[&one]).await;
    two.bus.release();
    // The next beat tells that something is missing.
    assert_eq!(received_until(&two, &inbox, "b").await, notes(&["a", "b"]));
    assert_eq!(two.cluster.state().lost, 0);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_does_not_hear_itself_subscribes_anew() {
    let broker = Broker::new();
    let ([one, two], inbox) = pair(&broker).await;
    two.bus.lose();
    until("it notices", || !two.told_of_cluster().is_empty()).await;
    two.bus.release();
    assert!(two.cluster.ready().await);
    emit(&one, "word");
    assert_eq!(received_until(&two, &inbox, "word").await, notes(&["word"]));
}

#[tokio::test(start_paused = true)]
async fn rooms_that_were_made_and_deleted_in_an_outage_are_known_after_it() {
    let broker = Broker::new();
    let ([one, two], _) = pair(&broker).await;
    let old = one.service().create_room("old", "default");
    let knows = |node: &Node, room: &Room| node.service().hub.room(&room.info.id).is_some();
    until("the first room is known", || knows(&two, &old)).await;
    broker.take_away();
    let new = one.service().create_room("new", "default");
    assert!(one.service().delete_room(&old.info.id).is_some());
    broker.bring_back();
    assert!(one.cluster.ready().await && two.cluster.ready().await);
    until("both are known", || knows(&two, &new) && !knows(&two, &old)).await;
    // What a third one finds is what there is.
    let three = running(&broker, "cccccc");
    assert!(three.cluster.ready().await);
    let rooms: Vec<_> = three
        .service()
        .hub
        .rooms(None)
        .iter()
        .map(|room| room.info.id.clone())
        .collect();
    assert_eq!(rooms, std::slice::from_ref(&new.info.id));
}

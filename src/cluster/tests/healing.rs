//! What is lost on the way, and what comes of it.

use super::*;
use crate::selection::Selection;
use crate::{
    cluster::message::{Envelope, Message},
    disconnect::DisconnectReason,
};

fn message(uid: &str, seq: Option<u64>, message: &Message) -> Bytes {
    Envelope::encode(&uid.into(), seq, message)
}

#[tokio::test]
async fn hasty_beats_lose_nobody() {
    let broker = Broker::new();
    let minute = Duration::from_secs(60);
    let [one, two] = ["aaaaaa", "bbbbbb"].map(|uid| Node::start_with(&broker, uid, Config::default(), minute));
    two.connect("bob");
    assert!(one.cluster.ready().await && two.cluster.ready().await);
    beat(&[&one, &two]).await;
    // Others that come all at once each ask for a beat; the second instance has no chance to beat in between.
    two.bus.hold();
    let outsider = Outsider::start(&broker).await;
    let beats = || outsider.heard_on(&one.cluster.channels.everyone).len();
    for _ in 0..4 {
        let before = beats();
        outsider
            .publish(&one.cluster.channels.everyone, message("cccccc", None, &Message::Hello))
            .await;
        settle(&[&one]).await;
        assert_eq!(beats(), before + 2, "it was asked, and has beaten");
    }
    assert_eq!(
        one.knows().len(),
        1,
        "bob's instance was not silent for three beats of time"
    );
}

#[tokio::test]
async fn what_waits_behind_a_gap_is_handled_when_the_gap_is_given_up() {
    let [one, two] = acquainted(["aaaaaa", "bbbbbb"]).await;
    let both = [&one, &two];
    let room = one.service().create_room("room", "default");
    settle(&both).await;
    let (ann, inbox) = one.connect("ann");
    one.join(&ann, &room);
    settle(&both).await;
    let note = |text: &str| {
        let packet = Packet::event("note", &format!("\"{text}\""));
        two.service().emit(&Selection::room(&room.info.id), &packet);
    };
    one.bus.lose();
    note("lost");
    settle(&both).await;
    one.bus.release();
    note("late");
    // What the first one asks for is never heard.
    two.bus.lose();
    settle(&both).await;
    assert_eq!(one.received(&inbox, "note").await, [] as [&str; 0]);
    for _ in 0..3 {
        beat(&both).await;
    }
    assert_eq!(one.received(&inbox, "note").await, [r#"["note","late"]"#]);
}

#[tokio::test]
async fn a_forged_publication_far_ahead_silences_nobody() {
    let broker = Broker::new();
    let [one, two] = acquainted_on(&broker, ["aaaaaa", "bbbbbb"]).await;
    let both = [&one, &two];
    let (_, inbox) = one.connect("ann");
    settle(&both).await;
    let outsider = Outsider::start(&broker).await;
    for seq in [1_000, u64::MAX] {
        let forged = message("bbbbbb", Some(seq), &Message::Nothing);
        outsider.publish(&one.cluster.channels.everyone, forged).await;
    }
    let note = Packet::event("note", "1");
    for _ in 0..5 {
        beat(&both).await;
        two.service().emit(&Selection::room("ann"), &note);
        settle(&both).await;
    }
    assert_eq!(one.received(&inbox, "note").await.len(), 5);
    assert_eq!(one.cluster.state().lost, 0);
}

#[tokio::test]
async fn a_forged_loss_counts_for_nothing() {
    let broker = Broker::new();
    let [one, two] = acquainted_on(&broker, ["aaaaaa", "bbbbbb"]).await;
    let both = [&one, &two];
    let (_, inbox) = one.connect("ann");
    settle(&both).await;
    let outsider = Outsider::start(&broker).await;
    for before in [1_000_000, u64::MAX] {
        let forged = message("bbbbbb", None, &Message::Lost(before));
        outsider.publish(&one.cluster.channels.everyone, forged).await;
    }
    settle(&both).await;
    let note = Packet::event("note", "1");
    two.service().emit(&Selection::room("ann"), &note);
    settle(&both).await;
    assert_eq!(one.received(&inbox, "note").await.len(), 1);
    assert_eq!(one.cluster.state().lost, 0);
}

#[tokio::test]
async fn an_ended_instance_does_not_come_back_when_it_is_asked_something() {
    let [one, two] = acquainted(["aaaaaa", "bbbbbb"]).await;
    assert_eq!(one.cluster.state().instances, 2);
    two.cluster.leave().await;
    // What was under way to it.
    let everyone = &two.cluster.channels.everyone;
    two.cluster
        .listener
        .message(everyone, message("aaaaaa", None, &Message::Hello));
    two.beat();
    settle(&[&one]).await;
    assert_eq!(one.cluster.state().instances, 1);
}

#[tokio::test]
async fn an_instance_is_known_again_only_when_nothing_is_missing() {
    let [one, two] = acquainted(["aaaaaa", "bbbbbb"]).await;
    let whole = || one.cluster.sync.instances().whole();
    assert_eq!(whole(), 1);
    // The bus is away, and takes what the other instance says with it.
    one.bus.go_down();
    two.connect("bob");
    settle(&[&two]).await;
    two.bus.hold();
    one.bus.come_up();
    settle(&[&one, &two]).await;
    assert_eq!(whole(), 0);
    two.beat();
    settle(&[&one, &two]).await;
    assert_eq!(whole(), 0, "bob is missing");
    two.bus.release();
    settle(&[&one, &two]).await;
    beat(&[&one, &two]).await;
    assert_eq!((whole(), one.knows().len()), (1, 1));
}

#[tokio::test]
async fn disconnecting_a_socket_that_is_just_gone_is_no_fault() {
    let [one, two] = acquainted(["aaaaaa", "bbbbbb"]).await;
    let (bob, _) = two.connect("bob");
    settle(&[&one, &two]).await;
    one.bus.hold();
    two.service().unregister(&bob, DisconnectReason::TransportClose);
    settle(&[&one, &two]).await;
    let outcome = Arc::new(Mutex::new(None));
    let answer = || {
        let outcome = outcome.clone();
        let answer: crate::ports::Answer = Box::new(move |result| *outcome.lock() = Some(result));
        answer
    };
    assert_eq!(one.service().disconnect_remote("user-bob", &"bye".into(), &answer), 1);
    settle(&[&one, &two]).await;
    one.bus.release();
    assert_eq!(*outcome.lock(), Some(Err(crate::error::Error::UserNotFound)));
}

//! What is lost on the way, and what comes of it.

use super::*;
use crate::cluster::{
    log::Body,
    record::{Envelope, Message},
};
use crate::selection::Selection;

#[tokio::test]
async fn hasty_beats_lose_nobody() {
    let [one, two] = ["aaaaaa", "bbbbbb"].map(|uid| Node::start_with(uid, Config::default(), Duration::from_secs(60)));
    two.connect("bob");
    beat(&[&one, &two]).await;
    // Others that come all at once each ask for a beat; the second instance has no chance to beat in between.
    let hello = Node::start("cccccc");
    for _ in 0..4 {
        hello.cluster.outbox.log.say(Body::Message(Message::Hello));
    }
    let posts = hello.said().await;
    one.hears(&posts);
    let own = one.said().await;
    one.hears(&own);
    assert_eq!(
        one.knows().len(),
        1,
        "bob's instance was not silent for three beats of time"
    );
}

#[tokio::test]
async fn what_waits_behind_a_gap_is_handled_when_the_gap_is_given_up() {
    let [one, two] = acquainted(["aaaaaa", "bbbbbb"]).await;
    let room = one.service().create_room("room", "default");
    settle(&[&one, &two]).await;
    let (ann, inbox) = one.connect("ann");
    one.join(&ann, &room);
    settle(&[&one, &two]).await;
    let packet = |text: &str| Packet::event("note", &format!("\"{text}\""));
    two.service().emit(&Selection::room(&room.info.id), &packet("lost"));
    let _lost = two.said().await;
    two.service().emit(&Selection::room(&room.info.id), &packet("late"));
    one.hears(&two.said().await);
    for _ in 0..3 {
        let _unheard = one.said().await;
        for node in [&one, &two] {
            node.cluster.beat();
            one.hears(&node.said().await);
        }
    }
    assert_eq!(one.received(&inbox, "note").await, [r#"["note","late"]"#]);
}

#[tokio::test]
async fn a_forged_publication_far_ahead_silences_nobody() {
    let [one, two] = acquainted(["aaaaaa", "bbbbbb"]).await;
    let both = [&one, &two];
    let (_, inbox) = one.connect("ann");
    settle(&both).await;
    let channel = Bytes::copy_from_slice(one.cluster.channels.everyone.as_bytes());
    let forged = |seq| {
        let payload = Envelope::encode(&"bbbbbb".into(), Some(seq), &Message::Nothing);
        one.hears(&[(channel.clone(), payload)]);
    };
    forged(1_000);
    forged(u64::MAX);
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
async fn an_ended_instance_does_not_come_back_when_it_is_asked_something() {
    let [one, two] = acquainted(["aaaaaa", "bbbbbb"]).await;
    two.cluster.leave().await;
    // What was under way to it.
    two.cluster.arrived(
        &two.cluster.channels.everyone,
        Envelope::encode(&"aaaaaa".into(), None, &Message::Hello),
    );
    two.cluster.beat();
    settle(&[&one, &two]).await;
    assert_eq!(one.cluster.state().instances, 1);
}

#[tokio::test]
async fn an_instance_is_known_again_only_when_nothing_is_missing() {
    let [one, two] = acquainted(["aaaaaa", "bbbbbb"]).await;
    let whole = || one.cluster.instances.lock().whole();
    assert_eq!(whole(), 1);
    // Redis is away, and takes what the other instance says with it.
    two.connect("bob");
    let _lost = two.said().await;
    one.cluster.instances.lock().join();
    assert_eq!(whole(), 0);
    two.cluster.beat();
    one.hears(&two.said().await);
    assert_eq!(whole(), 0, "bob is missing");
    settle(&[&one, &two]).await;
    beat(&[&one, &two]).await;
    assert_eq!((whole(), one.knows().len()), (1, 1));
}

#[tokio::test]
async fn disconnecting_a_socket_that_is_just_gone_is_no_fault() {
    let [one, two] = acquainted(["aaaaaa", "bbbbbb"]).await;
    let (bob, _) = two.connect("bob");
    settle(&[&one, &two]).await;
    two.service().unregister(&bob, "transport close");
    let outcome = Arc::new(Mutex::new(None));
    let answer = || {
        let outcome = outcome.clone();
        let answer: crate::ports::Answer = Box::new(move |result| *outcome.lock() = Some(result));
        answer
    };
    assert_eq!(one.service().disconnect_remote("user-bob", "bye", &answer), 1);
    let asked = one.said().await;
    two.hears(&asked);
    settle(&[&one, &two]).await;
    assert_eq!(*outcome.lock(), Some(Err(crate::error::Error::UserNotFound)));
}

//! Sockets that go from one instance to another with their clients.

use super::*;
use crate::{
    cluster::{
        log::Body,
        message::{Message, digest},
    },
    config::RecoveryConfig,
    hub::{Claim, Recovery},
    selection::Selection,
    service::TakenOver,
};

const SECRET: &str = "aaaaaaaaaaaaaaaaaaaa";

fn claim() -> Claim {
    Claim {
        secret: SECRET.to_owned(),
        offset: None,
    }
}

/// Instances whose clients may come back, and a broker that an outsider hears on.
async fn recovering<const COUNT: usize>(broker: &Arc<Broker>, uids: [&str; COUNT]) -> [Node; COUNT] {
    let nodes = uids.map(|uid| {
        let config = Config {
            connection_state_recovery: Some(RecoveryConfig::default()),
            ..Config::default()
        };
        Node::start_with(broker, uid, config, Duration::ZERO)
    });
    for node in &nodes {
        assert!(node.cluster.ready().await);
    }
    let all: Vec<&Node> = nodes.iter().collect();
    beat(&all).await;
    nodes
}

/// A socket whose client has the secret.
fn connect(node: &Node) -> (Arc<Socket>, Arc<Inbox>) {
    connect_as(node, "ann", SECRET)
}

fn connect_as(node: &Node, name: &str, secret: &str) -> (Arc<Socket>, Arc<Inbox>) {
    let inbox = Arc::new(Inbox::default());
    let key = node.service().next_key();
    let socket = Arc::new(Socket::new(key, name, inbox.clone(), "{}".into(), 0));
    socket.identify(Identity::new(&format!("user-{name}"), None));
    socket.set_recovery(Recovery::of(secret, false));
    node.service().register(&socket).unwrap();
    (socket, inbox)
}

/// How often one was asked for everything that it knows of its sockets.
fn snapshots_asked_of(outsider: &Outsider, node: &Node) -> usize {
    let heard = outsider.heard_on(&node.cluster.channels.inbox);
    heard.iter().filter(|payload| is_named(payload, "AskSnapshot")).count()
}

fn is_named(payload: &Bytes, name: &str) -> bool {
    payload.windows(name.len()).any(|part| part == name.as_bytes())
}

#[tokio::test]
async fn a_socket_that_goes_while_its_room_is_deleted_is_not_told_to_be_out_of_it_twice() {
    let broker = Broker::new();
    let outsider = Outsider::start(&broker).await;
    let [one, two] = recovering(&broker, ["aaaaaa", "bbbbbb"]).await;
    let both = [&one, &two];
    let room = one.service().create_room("room", "default");
    let (ann, _) = connect(&one);
    one.join(&ann, &room);
    settle(&both).await;
    let before = snapshots_asked_of(&outsider, &one);
    // The first half of a deletion, as another thread has done it: the socket has not been told yet.
    one.service().hub.remove_room(&room.info.id);
    {
        let mut state = room.state();
        state.deleted = true;
        state.members.clear();
        let message = Message::RoomCleared(room.info.id.to_string());
        one.cluster
            .log
            .publish(Body::Message(message), digest(ann.id(), Some(&room.info.id)));
    }
    assert!(
        one.service()
            .release(&claim(), &[room.info.id.to_string()], |_| {})
            .is_some()
    );
    settle(&both).await;
    for _ in 0..3 {
        beat(&both).await;
    }
    assert_eq!(snapshots_asked_of(&outsider, &one), before);
    assert_eq!((one.knows(), two.knows()), (vec![], vec![]));
}

/// A client with the secret comes to an instance.
fn comes_to(node: &Node, inbox: &Arc<Inbox>) -> tokio::task::JoinHandle<TakenOver> {
    let (service, link) = (node.service().clone(), inbox.clone() as Arc<dyn Link>);
    tokio::spawn(async move {
        service.brought(&claim()).await;
        match service.come_back(&claim(), None, &link, "{}".into()) {
            Some((socket, number)) => TakenOver::Socket(socket, number),
            None => service.take_over(&claim(), None, &link, "{}".into()).await,
        }
    })
}

fn note(node: &Node, text: &str) {
    let packet = Packet::event("note", &format!("\"{text}\""));
    node.service().emit_to_socket("ann", packet, false);
}

#[tokio::test]
async fn a_client_that_loses_its_connection_while_its_socket_comes_has_all_of_it_where_it_goes_then() {
    for goes_on in [false, true] {
        let broker = Broker::new();
        let [one, two, three] = recovering(&broker, ["aaaaaa", "bbbbbb", "cccccc"]).await;
        let all = [&one, &two, &three];
        let (ann, _) = connect(&one);
        settle(&all).await;
        note(&one, "missed");
        // The first instance is asked what the socket is, and not yet to let it go.
        one.bus.hold();
        let (lost, inbox) = (Arc::new(Inbox::default()), Arc::new(Inbox::default()));
        let first = comes_to(&two, &lost);
        settle(&all).await;
        one.bus.take_held().into_iter().for_each(|asked| one.bus.arrive(asked));
        settle(&all).await;
        assert_eq!(
            (one.service().hub.socket_count(), two.service().hub.socket_count()),
            (1, 1)
        );
        note(&two, "meanwhile");
        let last = if goes_on { &three } else { &two };
        let second = comes_to(last, &inbox);
        settle(&all).await;
        one.bus.release();
        settle(&all).await;
        assert!(matches!(first.await, Ok(TakenOver::Socket(..))));
        assert!(matches!(second.await, Ok(TakenOver::Socket(socket, _)) if socket.id() == ann.id()));
        assert_eq!(texts(last, &inbox).await, ["missed", "meanwhile"]);
        let counts = all.map(|node| node.service().hub.socket_count());
        assert_eq!(counts, if goes_on { [0, 0, 1] } else { [0, 1, 0] });
    }
}

/// What was in the notes that a client has received since the last call.
async fn texts(node: &Node, inbox: &Inbox) -> Vec<String> {
    let notes = node.received(inbox, "note").await;
    let text = |note: &String| note.split('"').nth(3).unwrap_or_default().to_owned();
    notes.iter().map(text).collect()
}

#[tokio::test]
async fn a_socket_that_has_just_gone_on_is_asked_for_where_it_has_gone() {
    let broker = Broker::new();
    let [one, two, three] = recovering(&broker, ["aaaaaa", "bbbbbb", "cccccc"]).await;
    let all = [&one, &two, &three];
    connect(&one);
    settle(&all).await;
    // The third instance does not hear yet that the socket is on the second one.
    three.bus.hold();
    let [first, second] = [(); 2].map(|()| Arc::new(Inbox::default()));
    let to_two = comes_to(&two, &first);
    settle(&all).await;
    assert!(matches!(to_two.await, Ok(TakenOver::Socket(..))));
    note(&one, "missed");
    let to_three = comes_to(&three, &second);
    settle(&all).await;
    three.bus.release();
    settle(&all).await;
    assert!(matches!(to_three.await, Ok(TakenOver::Socket(..))));
    assert_eq!(texts(&three, &second).await, ["missed"]);
    assert_eq!(all.map(|node| node.service().hub.socket_count()), [0, 0, 1]);
}

#[tokio::test]
async fn a_socket_that_comes_and_goes_while_it_is_on_its_way_is_where_it_was_told_to_be() {
    let broker = Broker::new();
    let [one, two, three] = recovering(&broker, ["aaaaaa", "bbbbbb", "cccccc"]).await;
    let all = [&one, &two, &three];
    let [left, joined] = ["left", "joined"].map(|name| one.service().create_room(name, "default"));
    let (ann, _) = connect(&one);
    one.join(&ann, &left);
    settle(&all).await;
    one.bus.hold();
    let inbox = Arc::new(Inbox::default());
    let coming = comes_to(&two, &inbox);
    settle(&all).await;
    one.bus.take_held().into_iter().for_each(|asked| one.bus.arrive(asked));
    settle(&all).await;
    one.join(&ann, &joined);
    one.service().leave_room("ann", &left.info.id);
    settle(&all).await;
    one.bus.release();
    settle(&all).await;
    assert!(matches!(coming.await, Ok(TakenOver::Socket(..))));
    beat(&all).await;
    let expected = vec![("ann".to_owned(), vec![joined.info.id.to_string()])];
    for node in all {
        assert_eq!(node.knows(), expected);
    }
}

#[tokio::test]
async fn what_was_heard_before_a_socket_came_is_not_missed_where_it_was_heard_later() {
    let broker = Broker::new();
    let [one, two, three] = recovering(&broker, ["aaaaaa", "bbbbbb", "cccccc"]).await;
    let all = [&one, &two, &three];
    let room = one.service().create_room("room", "default");
    let (ann, _) = connect(&one);
    one.join(&ann, &room);
    settle(&all).await;
    // The second instance hears it, and the first one does not yet.
    one.bus.hold();
    let packet = Packet::event("note", "\"late\"");
    three
        .service()
        .broadcast_to_room(&room.info.id, &packet, Selection::default())
        .unwrap();
    settle(&all).await;
    let late = one.bus.take_held();
    assert_eq!(late.len(), 1);
    one.bus.release();
    let inbox = Arc::new(Inbox::default());
    let coming = comes_to(&two, &inbox);
    settle(&all).await;
    assert!(!coming.is_finished());
    late.into_iter().for_each(|late| one.bus.arrive(late));
    settle(&all).await;
    assert!(matches!(coming.await, Ok(TakenOver::Socket(..))));
    assert_eq!(texts(&two, &inbox).await, ["late"]);
}

/// An instance is not heard of any more, and hears nothing: the others give it up.
async fn cut_off(node: &Node, rest: &[&Node]) {
    node.bus.lose();
    for _ in 0..4 {
        beat(rest).await;
    }
}

#[tokio::test]
async fn an_instance_that_was_only_cut_off_agrees_with_the_others_when_its_client_has_gone_to_one() {
    let broker = Broker::new();
    let outsider = Outsider::start(&broker).await;
    let [one, two, three] = recovering(&broker, ["aaaaaa", "bbbbbb", "cccccc"]).await;
    let all = [&one, &two, &three];
    let room = one.service().create_room("room", "default");
    let (ann, old) = connect(&one);
    one.join(&ann, &room);
    let (bob, watching) = three.connect("bob");
    settle(&all).await;
    three.join(&bob, &room);
    settle(&all).await;
    cut_off(&one, &[&two, &three]).await;
    note(&three, "missed");
    all.iter().for_each(|node| drop(node.told()));
    let inbox = Arc::new(Inbox::default());
    let coming = comes_to(&two, &inbox);
    settle(&[&two, &three]).await;
    assert!(matches!(coming.await, Ok(TakenOver::Socket(..))));
    assert_eq!(texts(&two, &inbox).await, ["missed"]);
    // It goes on as if nothing had happened, and hears of it.
    one.bus.release();
    for _ in 0..6 {
        beat(&all).await;
    }
    let snapshots = || all.map(|node| snapshots_asked_of(&outsider, node));
    let before = snapshots();
    for _ in 0..4 {
        beat(&all).await;
    }
    assert_eq!(snapshots(), before);
    assert_eq!(all.map(|node| node.service().hub.socket_count()), [0, 1, 1]);
    assert_eq!((one.knows(), three.knows()), (two.knows(), two.knows()));
    note(&one, "afterwards");
    settle(&all).await;
    assert_eq!(texts(&two, &inbox).await, ["afterwards"]);
    assert!(texts(&one, &old).await.is_empty());
    for node in all {
        let told = node.told();
        let ends = |words: &&String| !words.starts_with("connection");
        assert_eq!(told.iter().filter(ends).count(), 0, "{told:?}");
    }
    three.service().fanout().flushed().await;
    assert!(watching.0.lock().is_empty());
}

#[tokio::test]
async fn what_an_instance_had_no_time_to_bring_comes_from_a_third_one() {
    let broker = Broker::new();
    let [one, two, three] = recovering(&broker, ["aaaaaa", "bbbbbb", "cccccc"]).await;
    let all = [&one, &two, &three];
    let room = one.service().create_room("room", "default");
    let (ann, _) = connect(&one);
    one.join(&ann, &room);
    settle(&all).await;
    cut_off(&one, &[&two, &three]).await;
    let to_room = |node: &Node, text: &str, except: &[&str]| {
        let packet = Packet::event("note", &format!("\"{text}\""));
        let selection = Selection {
            except: crate::selection::names(except),
            ..Selection::default()
        };
        node.service()
            .broadcast_to_room(&room.info.id, &packet, selection)
            .unwrap();
    };
    note(&three, "alone");
    to_room(&three, "all", &[]);
    to_room(&three, "others", &["ann"]);
    settle(&[&two, &three]).await;
    let (lost, inbox) = (Arc::new(Inbox::default()), Arc::new(Inbox::default()));
    let coming = comes_to(&two, &lost);
    settle(&[&two, &three]).await;
    assert!(matches!(coming.await, Ok(TakenOver::Socket(..))));
    assert_eq!(texts(&two, &lost).await, ["alone", "all"]);
    note(&three, "later");
    to_room(&two, "not it", &["ann"]);
    settle(&[&two, &three]).await;
    // The client has received nothing of all that.
    cut_off(&two, &[&three]).await;
    let coming = comes_to(&three, &inbox);
    settle(&[&three]).await;
    assert!(matches!(coming.await, Ok(TakenOver::Socket(socket, _)) if socket.id() == ann.id()));
    assert_eq!(texts(&three, &inbox).await, ["alone", "all", "later"]);
    assert_eq!(three.knows().len(), 1);
}

#[tokio::test]
async fn whoever_stayed_on_an_instance_that_was_cut_off_has_not_come_anew_and_whoever_left_it_is_told_of_once() {
    let broker = Broker::new();
    let [one, two] = recovering(&broker, ["bbbbbb", "aaaaaa"]).await;
    let both = [&one, &two];
    let room = one.service().create_room("room", "default");
    let (ann, _) = connect(&one);
    let (amy, _) = connect_as(&one, "amy", "bbbbbbbbbbbbbbbbbbbb");
    let (bob, watching) = two.connect("bob");
    settle(&both).await;
    for (node, socket) in [(&one, &ann), (&one, &amy), (&two, &bob)] {
        node.join(socket, &room);
        settle(&both).await;
    }
    cut_off(&one, &[&two]).await;
    two.bus.lose();
    one.service()
        .unregister(&amy, crate::disconnect::DisconnectReason::ClientLeft);
    settle(&[&one]).await;
    two.service().fanout().flushed().await;
    watching.0.lock().clear();
    two.told();
    both.iter().for_each(|node| node.bus.release());
    for _ in 0..6 {
        beat(&both).await;
    }
    assert_eq!(one.knows(), two.knows());
    assert_eq!(two.told(), [""; 0]);
    two.service().fanout().flushed().await;
    let events: Vec<_> = watching
        .0
        .lock()
        .iter()
        .map(|packet| packet.split('"').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(events, ["user:left"]);
}

#[tokio::test]
async fn of_two_instances_that_take_a_socket_over_at_once_one_has_it() {
    let broker = Broker::new();
    let [one, two, three, four] = recovering(&broker, ["aaaaaa", "bbbbbb", "cccccc", "dddddd"]).await;
    let rest = [&two, &three, &four];
    let room = one.service().create_room("room", "default");
    let (ann, _) = connect(&one);
    one.join(&ann, &room);
    settle(&[&one, &two, &three, &four]).await;
    cut_off(&one, &rest).await;
    rest.iter().for_each(|node| node.bus.hold());
    let coming = [&two, &three].map(|node| comes_to(node, &Arc::new(Inbox::default())));
    settle(&rest).await;
    rest.iter().for_each(|node| node.bus.release());
    settle(&rest).await;
    for coming in coming {
        assert!(matches!(coming.await, Ok(TakenOver::Socket(..))));
    }
    for _ in 0..3 {
        beat(&rest).await;
    }
    assert_eq!(rest.map(|node| node.service().hub.socket_count()), [1, 0, 0]);
    let expected = vec![("ann".to_owned(), vec![room.info.id.to_string()])];
    assert_eq!(rest.map(|node| node.knows()), [(); 3].map(|()| expected.clone()));
}

#[tokio::test]
async fn what_is_no_json_is_not_what_an_application_keeps() {
    let broker = Broker::new();
    let [one, two] = recovering(&broker, ["aaaaaa", "bbbbbb"]).await;
    connect(&one);
    for (data, known) in [
        ("{oops", None),
        ("{\"seat\":7}", Some("{\"seat\":7}")),
        ("7]", Some("{\"seat\":7}")),
    ] {
        let kept = Message::Kept("ann".to_owned(), data.to_owned(), None);
        one.cluster.log.publish(Body::Message(kept), 0);
        settle(&[&one, &two]).await;
        let ann = two.service().hub.remote().socket("ann").unwrap();
        assert_eq!(ann.told_data().as_deref(), known);
    }
}

#[tokio::test]
async fn nothing_is_kept_of_rooms_where_nobody_may_come_back() {
    let broker = Broker::new();
    let [plain, _] = acquainted_on(&broker, ["aaaaaa", "bbbbbb"]).await;
    let rooms = ["one", "other"].map(|name| plain.service().create_room(name, "default"));
    let names = [&*rooms[0].info.id, &*rooms[1].info.id];
    let selection = Selection {
        rooms: crate::selection::names(&names),
        ..Selection::default()
    };
    plain.service().emit(&selection, &Packet::event("note", "1"));
    assert!(rooms.iter().all(|room| room.state().members.trail().is_none()));
}

#[tokio::test]
async fn whoever_is_disconnected_while_the_instance_is_lost_does_not_come_to_another_one() {
    let broker = Broker::new();
    let [one, two, three] = recovering(&broker, ["aaaaaa", "bbbbbb", "cccccc"]).await;
    connect(&one);
    settle(&[&one, &two, &three]).await;
    cut_off(&one, &[&two, &three]).await;
    assert_eq!(three.knows().len(), 1);
    let done = Arc::new(Mutex::new(None));
    let answer = || -> crate::ports::Answer {
        let done = done.clone();
        Box::new(move |outcome| *done.lock() = Some(outcome.is_ok()))
    };
    let reason = crate::disconnect::DisconnectReason::ServerLeft;
    assert_eq!(two.service().disconnect_remote("user-ann", &reason, &answer), 1);
    settle(&[&two, &three]).await;
    assert_eq!(*done.lock(), Some(true));
    assert!(two.knows().is_empty() && three.knows().is_empty());
    for node in [&two, &three] {
        let coming = comes_to(node, &Arc::new(Inbox::default()));
        settle(&[&two, &three]).await;
        assert!(matches!(coming.await, Ok(TakenOver::Not)));
    }
}

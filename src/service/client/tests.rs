//! Each event of a client: what it is answered, who receives what, and what is refused.

mod payloads;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::{
    config::Config,
    hub::{Identity, Room},
    link::Link,
    ports::{EventKind, EventSink},
    wire::packet::{Packet, PacketKind},
};

#[derive(Debug, Default)]
struct Inbox(Mutex<Vec<Packet>>);

impl Link for Inbox {
    fn send(&self, packet: &Packet, _: bool) -> bool {
        self.0.lock().push(packet.clone());
        false
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<ServiceEvent>>);

impl EventSink for Told {
    fn wants(&self, _: EventKind) -> bool {
        false
    }

    fn emit(&self, event: ServiceEvent) {
        self.0.lock().push(event);
    }
}

struct Stage {
    service: Service,
    told: Arc<Told>,
    room: Arc<Room>,
    ann: (Arc<Socket>, Arc<Inbox>),
    bob: (Arc<Socket>, Arc<Inbox>),
}

impl Stage {
    /// Ann and Bob, Bob in the room.
    fn set(config: Config) -> Self {
        let told = Arc::new(Told::default());
        let service = Service::new(config, told.clone(), &tokio::runtime::Handle::current());
        let connect = |name: &str| {
            let inbox = Arc::new(Inbox::default());
            let key = service.next_key();
            let socket = Arc::new(Socket::new(
                key,
                &format!("socket-{name}"),
                inbox.clone(),
                "{}".into(),
                0,
            ));
            socket.identify(Identity::new(name, Some(&name.to_uppercase())));
            service.register(&socket).unwrap();
            (socket, inbox)
        };
        let (ann, bob) = (connect("ann"), connect("bob"));
        let room = service.create_room("room", "default");
        service.join(&bob.0, &room).unwrap();
        Self {
            told,
            room,
            ann,
            bob,
            service,
        }
    }

    fn send(&self, args: &str, id: Option<u64>) -> Handled {
        let packet = ClientPacket {
            args,
            attachments: Vec::new(),
            id,
        };
        self.service.client_event(&self.ann.0, packet)
    }

    /// Ann sends an event whose payload may name the room `ROOM`; the acknowledgement she gets, and `error`.
    async fn ask(&self, name: &str, payload: &str) -> (Value, Option<Value>) {
        let payload = payload.replace("ROOM", &self.room.info.id);
        self.send(&format!("[\"{name}\",{payload}]"), Some(3)).unwrap();
        let (mut ack, mut error) = (None, None);
        for packet in self.received(&self.ann.1).await {
            let args: Value = serde_json::from_str(packet.args()).unwrap();
            match packet.kind() {
                PacketKind::Ack(3) => ack = Some(args[0].clone()),
                PacketKind::Event(None) if args[0] == "error" => error = Some(args[1].clone()),
                _ => {}
            }
        }
        (ack.unwrap(), error)
    }

    async fn received(&self, inbox: &Inbox) -> Vec<Packet> {
        self.service.fanout().flushed().await;
        std::mem::take(&mut *inbox.0.lock())
    }
}

fn config() -> Config {
    Config {
        worker_threads: 2,
        ..Config::default()
    }
}

#[tokio::test]
async fn bad_payloads_are_refused_by_code() {
    let stage = Stage::set(config());
    stage.service.join(&stage.ann.0, &stage.room).unwrap();
    let invalid = "ERR_INVALID_ARGUMENT";
    for (event, payload, code) in [
        ("room:join", "null", invalid),
        ("room:join", "\"ROOM\"", invalid),
        ("room:join", "[\"ROOM\"]", invalid),
        ("room:join", "{}", invalid),
        ("room:join", "{\"roomId\":5}", invalid),
        ("room:join", "{\"roomId\":\"none\"}", "ERR_NOT_FOUND"),
        ("room:leave", "{\"roomId\":null}", invalid),
        ("message", "{\"content\":\"x\"}", invalid),
        ("message", "{\"roomId\":\"none\",\"content\":\"x\"}", "ERR_NOT_FOUND"),
        ("message", "{\"roomId\":\"ROOM\"}", invalid),
        ("message", "{\"roomId\":\"ROOM\",\"content\":1}", invalid),
        ("message", "{\"roomId\":\"ROOM\",\"content\":{}}", invalid),
        (
            "message",
            "{\"roomId\":\"ROOM\",\"content\":\"x\",\"type\":\"video\"}",
            invalid,
        ),
        ("message", "{\"roomId\":\"ROOM\",\"content\":\"x\",\"type\":1}", invalid),
        (
            "message",
            "{\"roomId\":\"ROOM\",\"content\":\"x\",\"metadata\":[]}",
            invalid,
        ),
        (
            "message",
            "{\"roomId\":\"ROOM\",\"content\":\"x\",\"metadata\":\"m\"}",
            invalid,
        ),
        ("typing", "{\"roomId\":\"ROOM\"}", invalid),
        ("typing", "{\"roomId\":\"ROOM\",\"isTyping\":\"true\"}", invalid),
        ("typing", "{\"roomId\":\"none\",\"isTyping\":true}", "ERR_NOT_FOUND"),
        ("document:edit", "{\"content\":1}", invalid),
        ("document:edit", "{\"roomId\":\"none\"}", "ERR_NOT_FOUND"),
    ] {
        let (ack, error) = stage.ask(event, payload).await;
        assert_eq!(ack["ok"], false, "{event} {payload}");
        assert_eq!(ack["error"]["code"], code, "{event} {payload}");
        let error = error.unwrap_or_else(|| panic!("no error for {event} {payload}"));
        assert_eq!((&error["code"], &error["event"]), (&json!(code), &json!(event)));
    }
    assert_eq!(stage.room.state().history.len(), 0);
    assert_eq!(stage.room.state().members.len(), 2);
}

#[tokio::test]
async fn nothing_is_asked_about_a_room_that_has_just_been_deleted() {
    let stage = Stage::set(config());
    stage.service.delete_room(&stage.room.info.id);
    let args = format!("[\"room:join\",{{\"roomId\":\"{}\"}}]", stage.room.info.id);
    let mut packet = ClientPacket {
        args: &args,
        attachments: Vec::new(),
        id: Some(3),
    };
    // It was found before.
    stage
        .service
        .ask(&stage.ann.0, events::Verb::Join, stage.room.clone(), &mut packet);
    assert!(stage.told.0.lock().is_empty());
    let received = stage.received(&stage.ann.1).await;
    let ack = received
        .iter()
        .find(|packet| packet.kind() == PacketKind::Ack(3))
        .unwrap();
    assert!(ack.args().contains("ERR_NOT_FOUND"), "{}", ack.args());
    assert!(stage.ann.0.next_deferred().is_none() && !stage.ann.0.defer(|| unreachable!("nothing waits")));
}

#[tokio::test]
async fn good_events_are_acknowledged() {
    let stage = Stage::set(config());
    let id = stage.room.info.id.to_string();
    for (event, payload) in [
        ("room:join", "{\"roomId\":\"ROOM\"}"),
        ("room:join", "{\"roomId\":\"ROOM\"}"),
        ("typing", "{\"roomId\":\"ROOM\",\"isTyping\":true}"),
        ("document:edit", "{\"roomId\":\"ROOM\"}"),
        ("room:leave", "{\"roomId\":\"ROOM\"}"),
        ("room:leave", "{\"roomId\":\"ROOM\"}"),
    ] {
        let (ack, error) = stage.ask(event, payload).await;
        assert_eq!((ack, error), (json!({ "ok": true, "roomId": id }), None), "{event}");
    }
}

#[tokio::test]
async fn a_message_keeps_its_text_and_names_its_author() {
    let stage = Stage::set(config());
    stage.service.join(&stage.ann.0, &stage.room).unwrap();
    let payload =
        r#"{"userId":"bob","id":"mine","roomId":"ROOM","content":"\ud800 \"q\"","type":null,"metadata":{"a":[1]}}"#;
    let payload = payload.replace("ROOM", &stage.room.info.id);
    stage.send(&format!("[\"message\",{payload}]"), None).unwrap();
    let received = stage.received(&stage.bob.1).await;
    let text = received.last().unwrap().args();
    assert!(
        text.contains(r#""userId":"ann","username":"ANN","content":"\ud800 \"q\"","type":"text","metadata":{"a":[1]}"#),
        "{text}"
    );
    assert!(!text.contains("mine") && !text.contains("\"bob\""), "{text}");
    assert_eq!(stage.received(&stage.ann.1).await.last().unwrap().args(), text);
}

#[tokio::test]
async fn strangers_may_send_only_where_membership_is_not_required() {
    for (required, code) in [(true, json!("ERR_NOT_A_MEMBER")), (false, Value::Null)] {
        let stage = Stage::set(Config {
            require_membership: required,
            ..config()
        });
        for (event, payload) in [
            ("message", "{\"roomId\":\"ROOM\",\"content\":\"x\"}"),
            ("typing", "{\"roomId\":\"ROOM\",\"isTyping\":true}"),
            ("document:edit", "{\"roomId\":\"ROOM\"}"),
        ] {
            let (ack, _) = stage.ask(event, payload).await;
            assert_eq!(ack["error"]["code"], code, "{event}");
            let received = stage.received(&stage.bob.1).await;
            assert_eq!(received.len(), usize::from(!required), "{event}");
        }
    }
}

#[tokio::test]
async fn a_relay_names_the_true_sender_and_reaches_the_others_only() {
    let stage = Stage::set(config());
    stage.service.join(&stage.ann.0, &stage.room).unwrap();
    stage.received(&stage.bob.1).await;
    let payload = r#"{"userId":"root","roomId":"ROOM","username":"Root","user\u0049d":"again","edit":1e400},[2],"x""#;
    let payload = payload.replace("ROOM", &stage.room.info.id);
    stage.send(&format!("[\"document:edit\",{payload}]"), None).unwrap();
    let received = stage.received(&stage.bob.1).await;
    let expected = r#"["document:edit",{"roomId":"ROOM","edit":1e400,"userId":"ann","username":"ANN"},[2],"x"]"#;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].args(), expected.replace("ROOM", &stage.room.info.id));
    assert!(stage.received(&stage.ann.1).await.is_empty());
}

#[tokio::test]
async fn names_that_the_server_owns_and_rubbish_are_malformed() {
    let stage = Stage::set(config());
    for name in RESERVED_EVENTS {
        assert_eq!(
            stage.send(&format!("[\"{name}\"]"), None),
            Err(DisconnectReason::ParseError),
            "{name}"
        );
    }
    for args in [
        "[\"dis\\u0063onnect\"]",
        "[]",
        "{}",
        "[null]",
        "[{}]",
        "[true]",
        "[\"x\"",
        "[\"x\"]]",
        "\"x\"",
    ] {
        assert_eq!(stage.send(args, None), Err(DisconnectReason::ParseError), "{args}");
    }
    for args in ["[\"disconnected\"]", "[5]", "[\"x\",{\"deep\":[1]}]", ""] {
        assert_eq!(stage.send(args, None), Ok(()), "{args}");
    }
    // Nobody listens to those.
    assert!(stage.told.0.lock().is_empty());
}

#[tokio::test]
async fn own_events_go_to_listeners_with_their_acknowledgement() {
    let stage = Stage::set(config());
    stage.ann.0.set_interest(|interest| {
        interest.names.insert("own".into());
    });
    stage.send("[\"own\",1]", Some(9)).unwrap();
    stage.send("[\"other\",1]", Some(10)).unwrap();
    let told = stage.told.0.lock();
    let [ServiceEvent::Client { args, ack, .. }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((&args[..], *ack), (&b"[\"own\",1]"[..], Some(9)));
}

#[tokio::test]
async fn a_socket_that_is_gone_is_not_heard() {
    let stage = Stage::set(config());
    stage.service.join(&stage.ann.0, &stage.room).unwrap();
    stage.ann.0.set_interest(|interest| interest.any = true);
    assert!(stage.service.unregister(&stage.ann.0, "gone".into()));
    assert!(!stage.service.unregister(&stage.ann.0, "gone".into()));
    let message = format!(
        "[\"message\",{{\"roomId\":\"{}\",\"content\":\"x\"}}]",
        stage.room.info.id
    );
    stage.send(&message, None).unwrap();
    assert_eq!(stage.room.state().history.len(), 0);
    assert!(stage.told.0.lock().is_empty());
}

#[tokio::test]
async fn a_member_that_leaves_while_typing_stops_typing() {
    let stage = Stage::set(config());
    stage.service.join(&stage.ann.0, &stage.room).unwrap();
    stage.ask("typing", "{\"roomId\":\"ROOM\",\"isTyping\":true}").await;
    stage.received(&stage.bob.1).await;
    stage.service.unregister(&stage.ann.0, "gone".into());
    let received = stage.received(&stage.bob.1).await;
    let events: Vec<Value> = received
        .iter()
        .map(|packet| serde_json::from_str(packet.args()).unwrap())
        .collect();
    assert_eq!(
        (&events[0][0], &events[0][1]["isTyping"]),
        (&json!("typing"), &json!(false))
    );
    assert_eq!(events[1][0], "user:left");
    assert_eq!(events.len(), 2);
}

#[tokio::test]
async fn an_acknowledgement_nobody_awaits_is_ignored() {
    let stage = Stage::set(config());
    let ack = |id, args| {
        let packet = ClientPacket {
            args,
            attachments: Vec::new(),
            id,
        };
        stage.service.client_ack(&stage.ann.0, packet)
    };
    stage.ann.0.await_ack(1);
    assert_eq!(ack(Some(2), "[]"), Ok(()));
    assert_eq!(ack(Some(1), "[5]"), Ok(()));
    assert_eq!(ack(Some(1), "[6]"), Ok(()));
    assert_eq!(ack(None, "[]"), Ok(()));
    assert_eq!(ack(Some(1), "{}"), Err(DisconnectReason::ParseError));
    assert!(matches!(&stage.told.0.lock()[..], [ServiceEvent::Ack { id: 1, .. }]));
}

//! Clients over real connections: handshake, events, acknowledgements, attachments, admission.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use native_websocket_service::{
    ports::{EventKind, ServiceEvent},
    service::Refusal,
    wire::packet::{Packet, PacketKind},
};
use serde_json::{Value, json};
use support::{Admissions, Client, Polling, TestServer, Ws, config, event, until, within};

#[tokio::test]
async fn a_handshake_succeeds_over_every_transport() {
    let server = TestServer::start(config());
    for (client, id) in Client::each(server.address).await {
        assert_eq!(id.len(), 20);
        assert_eq!(server.socket(&id).user_id(), id);
        client.close().await;
        assert_eq!(server.recorder.disconnected(&id).await, "transport close");
    }
    server.end().await;
}

#[tokio::test]
async fn messages_reach_every_member_in_the_order_of_history() {
    let server = TestServer::start(config());
    let room = server.service().create_room("room", "default");
    let id = room.info.id.to_string();
    let mut clients = Client::each(server.address).await;
    for (client, _) in &mut clients {
        let answer = client.ask(0, &format!("[\"room:join\",{{\"roomId\":\"{id}\"}}]")).await;
        assert_eq!(answer, json!({ "ok": true, "roomId": id }));
    }
    for (turn, (client, _)) in clients.iter_mut().enumerate() {
        for number in 0..20 {
            let content = format!("{turn}-{number}");
            client
                .send(&format!(
                    "42[\"message\",{{\"roomId\":\"{id}\",\"content\":\"{content}\"}}]"
                ))
                .await;
        }
        // Over WebSocket nothing else tells that the server has read them.
        until("twenty messages", || room.state().history.len() == (turn + 1) * 20).await;
    }
    let history: Vec<Value> = server
        .service()
        .messages(&id, 0..=u64::MAX)
        .1
        .iter()
        .rev()
        .map(|message| serde_json::from_str(message.json()).unwrap())
        .collect();
    let contents: Vec<_> = history
        .iter()
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    let sent: Vec<_> = (0..60).map(|index| format!("{}-{}", index / 20, index % 20)).collect();
    assert_eq!(contents, sent);
    for (mut client, socket) in clients {
        let mut received = Vec::new();
        while received.len() < history.len() {
            let packet = client.packet().await.unwrap();
            let [name, data] = serde_json::from_str::<[Value; 2]>(packet.strip_prefix("42").unwrap()).unwrap();
            match name.as_str().unwrap() {
                "message" => received.push(data),
                "user:joined" => assert_ne!(data["socketId"], socket.as_str()),
                other => panic!("{other}"),
            }
        }
        assert_eq!(received, history);
        client.close().await;
    }
    server.end().await;
}

#[tokio::test]
async fn a_failed_event_is_answered_with_error_and_acknowledgement() {
    let server = TestServer::start(config());
    for (mut client, _) in Client::each(server.address).await {
        client
            .send("427[\"message\",{\"roomId\":\"none\",\"content\":\"x\"}]")
            .await;
        assert_eq!(
            client.event("error").await,
            json!({ "message": "Failed to send message", "code": "ERR_NOT_FOUND", "event": "message", "roomId": "none" })
        );
        assert_eq!(
            client.packet().await.unwrap(),
            r#"437[{"ok":false,"error":{"code":"ERR_NOT_FOUND","message":"Room not found"}}]"#
        );
        client.close().await;
    }
    server.end().await;
}

#[tokio::test]
async fn an_acknowledgement_that_is_awaited_reaches_the_service_once() {
    let server = TestServer::start(config());
    for (mut client, id) in Client::each(server.address).await {
        let socket = server.socket(&id);
        socket.await_ack(5);
        let question = Packet::new(PacketKind::Event(Some(5)), "[\"q\"]", Vec::new());
        server.service().send_to(&socket, question, false);
        assert_eq!(client.packet().await.unwrap(), "425[\"q\"]");
        for answer in ["435[1]", "435[2]", "436[3]"] {
            client.send(answer).await;
        }
        // Comes after them, so that all of them have been handled.
        client.ask(1, "[\"room:leave\",{\"roomId\":\"x\"}]").await;
        let answers = server.recorder.events().into_iter().filter_map(|event| match event {
            ServiceEvent::Ack {
                socket, id: ack, args, ..
            } if socket.id() == id => Some((ack, args)),
            _ => None,
        });
        assert_eq!(answers.collect::<Vec<_>>(), [(5, Bytes::from_static(b"[1]"))]);
        client.close().await;
    }
    server.end().await;
}

const BINARY_EVENT: &str = r#"["document:edit",{"roomId":"ID","data":{"_placeholder":true,"num":0}}]"#;

#[tokio::test]
async fn attachments_pass_between_transports() {
    let server = TestServer::start(config());
    let room = server.service().create_room("room", "default");
    let args = BINARY_EVENT.replace("ID", &room.info.id);
    let mut ws = Ws::handshake(server.address).await;
    ws.send("40").await;
    let mut polling = Polling::handshake(server.address).await;
    polling.send("40").await;
    let (ws_id, polling_id) = (socket_id(&ws.packet().await), socket_id(&polling.packet().await));
    server.service().join_room(&ws_id, &room.info.id).unwrap();
    server.service().join_room(&polling_id, &room.info.id).unwrap();
    assert!(ws.packet().await.unwrap().starts_with("42[\"user:joined\""));

    ws.send(format!("451-{args}")).await;
    ws.send_binary(&[0, 1, 254, 255]).await;
    let text = polling.packet().await.unwrap();
    assert!(text.starts_with("451-[\"document:edit\""), "{text}");
    assert_eq!(polling.packet().await.unwrap(), "bAAH+/w==");

    polling.send(&format!("451-{args}\u{1e}bAAH+/w==")).await;
    let text = ws.packet().await.unwrap();
    assert!(text.starts_with("451-[\"document:edit\""), "{text}");
    assert_eq!(ws.message().await.unwrap().into_data()[..], [0, 1, 254, 255]);

    drop(ws);
    polling.send("1").await;
    server.end().await;
}

fn socket_id(answer: &Option<String>) -> String {
    let body = answer
        .as_deref()
        .and_then(|answer| answer.strip_prefix("40"))
        .expect("a CONNECT answer");
    serde_json::from_str::<Value>(body).unwrap()["sid"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn events_of_the_application_come_in_order_with_their_attachments() {
    let server = TestServer::start(config());
    for (mut client, id) in Client::each(server.address).await {
        server.socket(&id).set_interest(|interest| interest.any = true);
        for number in 0..50 {
            client.send(&format!("42[\"own\",{number}]")).await;
        }
        client.ask(1, "[\"room:leave\",{\"roomId\":\"x\"}]").await;
        let events = server.recorder.events();
        let heard = events.iter().filter_map(|event| match event {
            ServiceEvent::Client { socket, args, .. } if socket.id() == id => {
                Some(String::from_utf8(args.to_vec()).unwrap())
            }
            _ => None,
        });
        let heard: Vec<_> = heard.filter(|args| args.starts_with("[\"own\"")).collect();
        assert_eq!(
            heard,
            (0..50).map(|number| format!("[\"own\",{number}]")).collect::<Vec<_>>()
        );
        client.close().await;
    }
    server.end().await;
}

#[tokio::test]
async fn broken_packets_end_the_connection_with_a_parse_error() {
    let server = TestServer::start(config());
    for broken in [
        "42{\"not\":\"an array\"}",
        "42[\"disconnect\"]",
        "42[{}]",
        "451-[\"x\"]\u{1e}42[\"y\"]",
        "45x-[]",
    ] {
        for (mut client, id) in Client::each(server.address).await {
            for packet in broken.split('\u{1e}') {
                client.send(packet).await;
            }
            assert_eq!(server.recorder.disconnected(&id).await, "parse error", "{broken}");
            assert_eq!(client.packet().await, None, "{broken}");
        }
    }
    server.end().await;
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_connection() {
    let mut config = config();
    config.max_http_buffer_size = 10_000;
    let server = TestServer::start(config);
    let fitting = format!("42[\"x\",\"{}\"]", "a".repeat(9_000));
    let oversized = format!("42[\"x\",\"{}\"]", "a".repeat(10_000));
    for (mut client, id) in Client::each(server.address).await {
        client.send(&fitting).await;
        client.ask(1, "[\"room:leave\",{\"roomId\":\"x\"}]").await;
        match &mut client {
            Client::Polling(polling) => assert_eq!(polling.post(&oversized).await.0, 413),
            Client::Ws(ws) => ws.send(oversized.as_str()).await,
        }
        assert_eq!(server.recorder.disconnected(&id).await, "transport error");
        assert_eq!(client.packet().await, None);
    }
    server.end().await;
}

#[tokio::test]
async fn a_name_that_the_query_gives_twice_is_none() {
    let server = TestServer::start(config());
    for (parameters, name) in [
        ("&username=a", Some("a")),
        ("&username=a&username=b", None),
        ("&username=a&%75sername=a", None),
        ("", None),
    ] {
        let mut client = Client::Ws(Box::new(Ws::asking(server.address, parameters).await));
        let socket = server.socket(&client.connect().await);
        assert_eq!(socket.identity().username.as_deref(), name, "{parameters}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_refused_client_gets_message_and_data() {
    let server = TestServer::start(config());
    server.service().set_admits(true);
    *server.recorder.admissions.lock() = Admissions::Refuse(Refusal {
        message: "no \"entry\"".to_owned(),
        data: Some("{\"code\":7}".to_owned()),
    });
    for mut client in [
        Client::Ws(Box::new(Ws::handshake(server.address).await)),
        Client::Polling(Polling::handshake(server.address).await),
    ] {
        client.send("40{\"token\":1}").await;
        assert_eq!(
            client.packet().await.unwrap(),
            r#"44{"message":"no \"entry\"","data":{"code":7}}"#
        );
        client.close().await;
    }
    let asked = server.recorder.admission().await;
    let handshake: Value = serde_json::from_str(&asked.handshake()).unwrap();
    assert_eq!(handshake["auth"], json!({ "token": 1 }));
    server.end().await;
}

#[tokio::test]
async fn a_client_that_nobody_admits_is_refused_in_time() {
    let mut config = config();
    config.connect_timeout = std::time::Duration::from_millis(50);
    let server = TestServer::start(config);
    server.service().set_admits(true);
    *server.recorder.admissions.lock() = Admissions::Ignore;
    let mut ws = Ws::handshake(server.address).await;
    ws.send("40").await;
    assert_eq!(
        ws.packet().await.unwrap(),
        r#"44{"message":"Connection was not accepted in time"}"#
    );
    drop(ws);
    server.end().await;
}

#[tokio::test]
async fn a_client_that_vanishes_during_admission_leaves_nothing_behind() {
    for bridged in [false, true] {
        let server = TestServer::start(config());
        server.service().set_admits(true);
        *server.recorder.admissions.lock() = Admissions::Ignore;
        let mut ws = match bridged {
            true => Ws::bridged(server.address).await,
            false => Ws::handshake(server.address).await,
        };
        ws.send("40").await;
        let asked = server.recorder.admission().await;
        asked.touch();
        drop(ws);
        server
            .recorder
            .wait("the end of the admission", |event| {
                matches!(event, ServiceEvent::Abandoned(socket) if socket.key() == asked.key()).then_some(())
            })
            .await;
        // Too late.
        server.service().decide(&asked, Ok(Default::default()));
        within("the end of the session", server.transport().quiet()).await;
        assert!(server.service().hub.socket(asked.id()).is_none());
        server.end().await;
    }
}

#[tokio::test]
async fn a_polling_client_that_leaves_during_admission_leaves_nothing_behind() {
    let server = TestServer::start(config());
    server.service().set_admits(true);
    *server.recorder.admissions.lock() = Admissions::Ignore;
    let polling = Polling::handshake(server.address).await;
    polling.send("40").await;
    let asked = server.recorder.admission().await;
    polling.send("1").await;
    server.service().decide(&asked, Ok(Default::default()));
    within("the end of the session", server.transport().quiet()).await;
    assert!(!asked.is_connected());
    server.end().await;
}

#[tokio::test]
async fn early_events_wait_for_the_answer_to_connect() {
    let server = TestServer::start(config());
    server.service().set_admits(true);
    *server.recorder.admissions.lock() = Admissions::Ignore;
    let mut ws = Ws::handshake(server.address).await;
    ws.send("40").await;
    for number in 0..10 {
        ws.send(format!("42{number}[\"room:leave\",{{\"roomId\":\"x\"}}]"))
            .await;
    }
    let asked = server.recorder.admission().await;
    server.service().decide(&asked, Ok(Default::default()));
    assert_eq!(socket_id(&ws.packet().await), asked.id());
    for number in 0..10 {
        let answer = ws.packet().await.unwrap();
        assert!(answer.starts_with(&format!("43{number}[{{\"ok\":true")), "{answer}");
    }
    drop(ws);
    server.end().await;
}

#[tokio::test]
async fn a_client_that_left_its_namespace_may_come_back_on_the_same_transport() {
    let server = TestServer::start(config());
    for (mut client, first) in Client::each(server.address).await {
        client.send("41").await;
        assert_eq!(
            server.recorder.disconnected(&first).await,
            "client namespace disconnect"
        );
        let second = client.connect().await;
        assert_ne!(first, second);
        server.service().emit_to_socket(&second, event("[\"hello\"]"), false);
        assert_eq!(client.packet().await.unwrap(), "42[\"hello\"]");
        client.close().await;
    }
    server.end().await;
}

#[tokio::test]
async fn without_listeners_connections_work_and_tell_nothing() {
    let server = TestServer::start(config());
    for kind in [EventKind::Connection, EventKind::Disconnect] {
        server.recorder.ignore(kind);
    }
    for (client, _) in Client::each(server.address).await {
        client.close().await;
    }
    within("the end of all sessions", server.transport().quiet()).await;
    assert!(server.recorder.events().is_empty(), "{:?}", server.recorder.events());
    server.end().await;
}

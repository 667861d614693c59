//! One test for each defect that was found and mended; each failed before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod support;
use bytes::Bytes;
use native_websocket_service::{
    hub::{Identity, Socket, Unreachable},
    link::Ending,
    ports::{EventKind, EventSink, ServiceEvent},
    server::runtime,
    service::{ClientPacket, Service},
    transport::{ByteSink, Caller, Carrier, Incoming},
};
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::{Arc, OnceLock, mpsc};
use std::{thread::JoinHandle, time::Duration};
use support::{
    Admissions, Client, Polling, TestServer, Ws,
    client::{polling, upgrade},
    event, number,
    random::Random,
    threads::Thread,
    until, within,
};
use support::{Recorder, config};
use tokio::net::TcpStream;

fn socket(service: &Service, person: &str) -> Arc<Socket> {
    let key = service.next_key();
    let socket = Arc::new(Socket::new(
        key,
        &format!("socket-{key}"),
        Arc::new(Unreachable),
        "{}".into(),
        0,
    ));
    socket.identify(Identity::new(person, None));
    socket
}

#[test]
fn a_socket_that_is_gone_creates_no_plain_room() {
    let service = Service::new(config(), Arc::new(Recorder::default()), &runtime(4).unwrap());
    let socket = socket(&service, "p");
    service.register(&socket).unwrap();
    service.unregister(&socket, "gone".into());
    assert!(service.socket_join(&socket, "plain").is_err());
    assert!(service.hub.plain_room("plain").is_none());
    assert!(service.hub.is_clean());
}

/// Disconnects the person from another thread while `connection` is being told.
#[derive(Default)]
struct Racing {
    service: OnceLock<Arc<Service>>,
    told: Mutex<Vec<&'static str>>,
    ending: Mutex<Option<JoinHandle<()>>>,
}
impl EventSink for Racing {
    fn wants(&self, _: EventKind) -> bool {
        true
    }
    fn emit(&self, event: ServiceEvent) {
        match event {
            ServiceEvent::Connection(socket) => {
                let service = self.service.get().unwrap().clone();
                let (tell, other) = mpsc::channel();
                let ending = std::thread::spawn(move || {
                    let _ = tell.send(Thread::current());
                    service.disconnect_user(socket.user_id(), &"kicked".into());
                });
                *self.ending.lock() = Some(ending);
                // A service that keeps the order makes the other thread wait; another lets it end.
                other.recv().unwrap().stands_still();
                self.told.lock().push("connection");
            }
            ServiceEvent::Disconnect(..) => self.told.lock().push("disconnect"),
            _ => {}
        }
    }
}

#[test]
fn connection_is_told_before_disconnect() {
    let sink = Arc::new(Racing::default());
    let service = Arc::new(Service::new(config(), sink.clone(), &runtime(4).unwrap()));
    let _ = sink.service.set(service.clone());
    service.register(&socket(&service, "p")).unwrap();
    sink.ending.lock().take().unwrap().join().unwrap();
    assert_eq!(*sink.told.lock(), ["connection", "disconnect"]);
}

#[test]
fn room_leave_is_told_before_disconnect() {
    let recorder = Arc::new(Recorder::default());
    let service = Arc::new(Service::new(config(), recorder.clone(), &runtime(4).unwrap()));
    let socket = socket(&service, "p");
    service.register(&socket).unwrap();
    let room = service.create_room("r", "default");
    service.join_room(socket.id(), &room.info.id).unwrap();
    let state = room.state();
    let (tell, threads) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            tell.send(Thread::current()).unwrap();
            service.leave_room(socket.id(), &room.info.id);
        });
        // It stands before the room's lock: listed no more, or with the socket's lock.
        threads.recv().unwrap().stands_still();
        scope.spawn(|| {
            tell.send(Thread::current()).unwrap();
            service.unregister(&socket, "gone".into());
        });
        threads.recv().unwrap().stands_still();
        drop(state);
    });
    recorder.assert_balanced();
}

#[test]
fn a_typing_event_of_a_departing_socket_is_not_told_after_disconnect() {
    let mut config = config();
    config.require_membership = false;
    let recorder = Arc::new(Recorder::default());
    let service = Arc::new(Service::new(config, recorder.clone(), &runtime(4).unwrap()));
    let socket = socket(&service, "p");
    service.register(&socket).unwrap();
    let room = service.create_room("r", "default");
    let state = room.state();
    let (tell, threads) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            tell.send(Thread::current()).unwrap();
            let args = format!("[\"typing\",{{\"roomId\":\"{}\",\"isTyping\":true}}]", room.info.id);
            let packet = ClientPacket {
                args: &args,
                attachments: vec![],
                id: None,
            };
            service.client_event(&socket, packet).unwrap();
        });
        threads.recv().unwrap().stands_still();
        scope.spawn(|| {
            tell.send(Thread::current()).unwrap();
            service.unregister(&socket, "gone".into());
        });
        threads.recv().unwrap().stands_still();
        drop(state);
    });
    recorder.assert_balanced();
}

#[tokio::test]
async fn packets_for_a_socket_that_left_do_not_reach_its_successor() {
    let server = support::TestServer::start(config());
    for (mut client, first) in support::Client::each(server.address).await {
        let old = server.socket(&first);
        client.send("41").await;
        server.recorder.disconnected(&first).await;
        let second = client.connect().await;
        server.service().send_to(&old, support::event("[\"stale\"]"), false);
        server
            .service()
            .emit_to_socket(&second, support::event("[\"fresh\"]"), false);
        assert_eq!(client.packet().await.unwrap(), "42[\"fresh\"]");
        client.close().await;
    }
    server.end().await;
}

#[tokio::test]
async fn a_listener_of_connection_may_disconnect_the_client() {
    for transport in [false, true] {
        let server = TestServer::start(config());
        *server.recorder.listener.lock() = Some(std::sync::Arc::new(move |service: &_, socket: &_| {
            for number in 0..5 {
                service.send_to(socket, event(&format!("[\"n\",{number}]")), false);
            }
            service.disconnect(socket, "kicked".into(), Ending::kick(transport));
        }));
        let clients = [
            Client::Ws(Box::new(Ws::handshake(server.address).await)),
            Client::Polling(Polling::handshake(server.address).await),
        ];
        for mut client in clients {
            let id = client.connect().await;
            assert_eq!(id.len(), 20, "the session's own id was told");
            for number in 0..5 {
                assert_eq!(support::number(&client.packet().await.unwrap()), number);
            }
            assert_eq!(client.packet().await.unwrap(), "41");
            assert_eq!(server.recorder.disconnected(&id).await, "kicked");
            if transport {
                assert_eq!(client.packet().await, None);
            } else {
                client.close().await;
            }
        }
        server.end().await;
    }
}

#[tokio::test]
async fn an_answer_to_connect_that_comes_during_the_upgrade_finds_its_way() {
    let seed = Random::seed();
    let mut config = config();
    // Far less than what is sent below: bytes that were never taken off the account would end the session.
    config.limits.max_queued_bytes = 20_000;
    let server = TestServer::start(config);
    server.service().set_admits(true);
    *server.recorder.admissions.lock() = Admissions::Ignore;
    for session in 0..200 {
        let mut random = Random::new(seed + session);
        let client = Polling::handshake(server.address).await;
        client.send("40").await;
        let asked = server.recorder.next_admission().await;
        let decide = tokio::task::spawn_blocking({
            let (service, asked) = (server.service().clone(), asked.clone());
            let spins = random.below(2_000) * 500;
            move || {
                for _ in 0..spins {
                    std::hint::spin_loop();
                }
                service.decide(&asked, Ok(Default::default()));
            }
        });
        let mut received = Vec::new();
        let mut ws = upgrade(&client, false, &mut received).await;
        while received.is_empty() {
            received.push(ws.packet().await.expect("an answer to CONNECT"));
        }
        assert!(received[0].contains(asked.id()), "{received:?}");
        decide.await.unwrap();
        until("the socket's registration", || {
            server.service().hub.socket(asked.id()).is_some()
        })
        .await;
        let padding = "x".repeat(1_000);
        for number in 0..50 {
            let packet = event(&format!("[\"n\",{number},\"{padding}\"]"));
            server.service().emit_to_socket(asked.id(), packet, false);
            let packet = ws
                .packet()
                .await
                .unwrap_or_else(|| panic!("closed at {number} of session {session}"));
            let args: Value = serde_json::from_str(packet.strip_prefix("42").unwrap()).unwrap();
            assert_eq!(args[1], number);
        }
        drop(ws);
        server.recorder.disconnected(asked.id()).await;
    }
    server.end().await;
}

fn websocket_url(client: &Polling) -> String {
    format!("/socket.io/?EIO=4&transport=websocket&sid={}", client.sid)
}

const OFFER: &str =
    r#"{"upgrade":"websocket","sec-websocket-key":"dGhlIHNhbXBsZSBub25jZQ==","sec-websocket-version":"13"}"#;

fn caller() -> Caller {
    Caller {
        headers: OFFER.to_owned(),
        ..Caller::default()
    }
}

/// Two ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

#[tokio::test]
async fn a_probe_whose_stream_is_reset_leaves_the_session_polling() {
    let server = TestServer::start(config());
    let (mut client, id) = polling(&server).await;
    let (near, far) = pair().await;
    socket2::SockRef::from(&near).set_linger(Some(Duration::ZERO)).unwrap();
    drop(near);
    far.readable().await.unwrap();
    let upgrade = server
        .transport()
        .upgrade("GET", &websocket_url(&client), &caller())
        .unwrap();
    let far = Arc::new(far);
    let (carrier, source) = (Carrier::Tcp(far.clone().into()), Incoming::Tcp(far));
    server.transport().attach(upgrade, carrier, source, &[]);
    // Accepted only when the attempt before is over.
    drop(Ws::open(server.address, Some(&client.sid), false).await);
    server.count_to(&id, 0..3);
    for expected in 0..3 {
        let packet = tokio::time::timeout(Duration::from_secs(2), client.packet()).await;
        assert_eq!(number(&packet.expect("a packet").unwrap()), expected);
    }
    client.send("1").await;
    server.end().await;
}

struct Stream(tokio::sync::mpsc::UnboundedSender<&'static str>);

impl ByteSink for Stream {
    fn write(&self, _: Bytes) {
        let _ = self.0.send("write");
    }

    fn end(&self) {
        let _ = self.0.send("end");
    }

    fn destroy(&self) {
        let _ = self.0.send("destroy");
    }
}

#[tokio::test]
async fn a_second_stream_for_one_upgrade_is_closed() {
    let server = TestServer::start(config());
    let (client, _) = polling(&server).await;
    let first = Ws::open(server.address, Some(&client.sid), false).await;
    let upgrade = server
        .transport()
        .upgrade("GET", &websocket_url(&client), &caller())
        .unwrap();
    let (calls, mut called) = tokio::sync::mpsc::unbounded_channel();
    let (chunks, incoming) = tokio::sync::mpsc::channel(1);
    let carrier = Carrier::Bridge(Arc::new(Stream(calls)));
    let source = Incoming::Bridge(incoming);
    server.transport().attach(upgrade, carrier, source, &[]);
    // The response to its upgrade, with a close frame.
    for expected in ["write", "write", "end"] {
        assert_eq!(
            within("the end of the second stream", called.recv()).await,
            Some(expected)
        );
    }
    drop(chunks);
    assert_eq!(within("its client's end", called.recv()).await, Some("destroy"));
    drop(first);
    client.send("1").await;
    server.end().await;
}

//! Sockets that wait to be let in: whatever belongs to one is gone when it is refused, or when its client goes.

mod support;

use std::sync::{Arc, Weak};

use native_websocket_service::{
    disconnect::DisconnectReason,
    hub::{Socket, Unreachable},
    ports::ServiceEvent,
};
use support::{Admissions, Client, Polling, TestServer, Ws, config, until, within};

/// A server whose application never answers.
fn start(connect_timeout: Option<std::time::Duration>) -> TestServer {
    let mut config = config();
    config.connect_timeout = connect_timeout.unwrap_or(config.connect_timeout);
    let server = TestServer::start(config);
    server.service().set_admits(true);
    *server.recorder.admissions.lock() = Admissions::Ignore;
    server
}

#[derive(Clone, Copy)]
enum Kind {
    WebSocket,
    Bridged,
    Polling,
}

const KINDS: [Kind; 3] = [Kind::WebSocket, Kind::Bridged, Kind::Polling];

async fn client(server: &TestServer, kind: Kind) -> Client {
    match kind {
        Kind::WebSocket => Client::Ws(Box::new(Ws::handshake(server.address).await)),
        Kind::Bridged => Client::Ws(Box::new(Ws::bridged(server.address).await)),
        Kind::Polling => Client::Polling(Polling::handshake(server.address).await),
    }
}

/// Sends CONNECT and an early event; the socket that then waits.
async fn ask(server: &TestServer, client: &mut Client) -> Weak<Socket> {
    client.send("40").await;
    client.send("42[\"early\",1]").await;
    let socket = server.recorder.next_admission().await;
    assert!(server.service().pending(socket.id()).is_some());
    Arc::downgrade(&socket)
}

/// Waits until JavaScript was told of its end, and nobody has it any more.
async fn gone(server: &TestServer, socket: &Weak<Socket>) {
    server
        .recorder
        .wait("the end of what waited", |event| match event {
            ServiceEvent::Abandoned(told) => Weak::ptr_eq(&Arc::downgrade(told), socket).then_some(()),
            _ => None,
        })
        .await;
    server.recorder.forget();
    until("a socket that nobody has", || socket.strong_count() == 0).await;
    until("an empty account", || server.service().budget().waiting() == 0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_takes_everything_with_it() {
    let server = start(None);
    for kind in KINDS {
        let mut client = client(&server, kind).await;
        let socket = ask(&server, &mut client).await;
        client.close().await;
        gone(&server, &socket).await;
    }
    server.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_its_namespace_while_it_waits_takes_everything_with_it() {
    let server = start(None);
    for kind in KINDS {
        let mut client = client(&server, kind).await;
        let socket = ask(&server, &mut client).await;
        client.send("41").await;
        gone(&server, &socket).await;
        client.close().await;
    }
    server.end().await;
}

#[tokio::test]
async fn of_a_client_that_is_refused_in_time_nothing_stays_while_it_is_connected() {
    let server = start(Some(std::time::Duration::from_millis(50)));
    for kind in KINDS {
        let mut client = client(&server, kind).await;
        let socket = ask(&server, &mut client).await;
        let refusal = client.packet().await.unwrap();
        assert_eq!(refusal, r#"44{"message":"Connection was not accepted in time"}"#);
        gone(&server, &socket).await;
        client.close().await;
    }
    server.end().await;
}

#[tokio::test]
async fn of_a_session_that_the_server_closes_nothing_waits_on() {
    let server = start(None);
    for kind in KINDS {
        let mut client = client(&server, kind).await;
        let socket = ask(&server, &mut client).await;
        server.transport().kill(true);
        within("the end of the session", server.transport().quiet()).await;
        gone(&server, &socket).await;
        drop(client);
    }
    server.end().await;
}

#[tokio::test]
async fn nobody_is_asked_about_a_socket_that_has_gone_already() {
    let server = start(None);
    let service = server.service();
    let socket = Socket::new(service.next_key(), "gone", Arc::new(Unreachable), "{}".into(), 0);
    let socket = Arc::new(socket);
    service.unregister(&socket, DisconnectReason::TransportClose);
    let patience = service.config.connect_timeout;
    assert!(within("an answer", service.admit(&socket, patience)).await.is_err());
    let events = server.recorder.events();
    let asked = events.iter().any(|event| matches!(event, ServiceEvent::Admission(_)));
    assert!(!asked && service.pending(socket.id()).is_none());
    server.end().await;
}

//! Panics of the core itself, which should not happen: the client that caused one is gone, and nobody else notices.

mod support;

use support::{Client, TestServer, config, event, until};

/// What has the handler of a client panic.
const CAUSE: &str = "42[\"panic\"]";

/// A client whose own events are heard.
async fn heard(server: &TestServer, (client, id): (Client, String)) -> (Client, String) {
    server.socket(&id).set_interest(|interest| interest.any = true);
    (client, id)
}

#[tokio::test]
async fn a_panic_in_the_handler_of_a_client_ends_that_client_alone() {
    let server = TestServer::start(config());
    let room = server.service().create_room("room", "default");
    let (mut witness, witness_id) = Client::ws(server.address).await;
    server.service().join_room(&witness_id, &room.info.id).unwrap();
    for client in Client::each(server.address).await {
        let (mut client, id) = heard(&server, client).await;
        server.service().join_room(&id, &room.info.id).unwrap();
        assert_eq!(witness.event("user:joined").await["socketId"], id.as_str());
        match &mut client {
            Client::Ws(ws) => ws.send(CAUSE).await,
            Client::Polling(polling) => assert_eq!(polling.post(CAUSE).await.0, 500),
        }
        let reason = server.recorder.disconnected(&id).await;
        assert!(reason.starts_with("transport "), "{reason}");
        assert_eq!(witness.event("user:left").await["socketId"], id.as_str());
        server.service().emit_to_socket(&witness_id, event("[\"n\",1]"), false);
        assert_eq!(witness.event("n").await, 1);
        drop(client);
    }
    until("one member", || room.state().members.len() == 1).await;
    witness.close().await;
    server.end().await;
}

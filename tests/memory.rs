//! Memory after a storm. In a process of its own, so that nobody else's memory is measured.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use native_websocket_service::backpressure::{Account, Work, charge};
use support::{TestServer, Ws, client::Client, config, event, until, within};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Mutex,
};

const PIECE: usize = 1024;
const PIECES: usize = 64 * 1024;
const MIB: usize = 1 << 20;

/// One test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Bytes of the process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn what_a_storm_took_is_given_back_when_it_is_over() {
    let _alone = ALONE.lock().await;
    let server = TestServer::start(config());
    let calm = resident();
    let mut pieces: Vec<Box<[u8]>> = (0..PIECES).map(|_| vec![1; PIECE].into_boxed_slice()).collect();
    // One of the last pieces stays, so that the allocator cannot simply shorten its heap.
    let kept = pieces.pop();
    pieces.clear();
    pieces.shrink_to_fit();
    assert!(resident() > calm + 48 * MIB, "the allocator gives it back by itself");
    let account = Account::new(server.service().budget());
    let waiting: Vec<_> = account.causes(|| (0..2).filter_map(|_| charge(Work::JavaScript, 16 * MIB)).collect());
    assert_eq!(waiting.len(), 2);
    drop(waiting);
    until("less memory", || resident() < calm + 16 * MIB).await;
    drop(kept);
    server.end().await;
}

/// Connections that get a large message, and send one.
const CONNECTIONS: usize = 120;
/// Those of them that come first.
const WARM_UP: usize = 20;

/// A client that reads into little memory.
async fn connected(server: &TestServer) -> (Ws, String) {
    let mut client = Client::Ws(Box::new(Ws::handshake(server.address).await));
    let id = client.connect().await;
    let Client::Ws(ws) = client else { unreachable!() };
    (*ws, id)
}

#[tokio::test]
async fn a_connection_that_got_and_sent_a_large_message_is_as_small_as_before() {
    let _alone = ALONE.lock().await;
    let server = TestServer::start(config());
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(connected(&server).await);
    }
    let large = "x".repeat(900_000);
    // A frame, masked with zeroes, past the client's own buffers.
    let text = format!("42[\"own\",\"{large}\"]");
    let length = (text.len() as u64).to_be_bytes();
    let sent = [&[0x81, 0xff][..], &length, &[0; 4], text.as_bytes()].concat();
    drop(text);
    let mut buffer = vec![0; 4096];
    let mut before = 0;
    for (index, (ws, id)) in clients.iter_mut().enumerate() {
        if index == WARM_UP {
            // Each thread keeps what it took for the largest message.
            before = resident();
        }
        server
            .service()
            .emit_to_socket(id, event(&format!("[\"large\",\"{large}\"]")), false);
        let mut left = large.len();
        while left > 0 {
            let read = within("bytes", ws.stream.get_mut().read(&mut buffer)).await.unwrap();
            assert!(read > 0);
            left = left.saturating_sub(read);
        }
        within("a write", ws.stream.get_mut().write_all(&sent)).await.unwrap();
    }
    drop(large);
    drop(sent);
    until("as little memory as before", || resident() <= before + MIB).await;
    drop(clients);
    server.end().await;
}

//! Memory after a storm. In a process of its own, so that nobody else's memory is measured.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use native_websocket_service::backpressure::{Account, Work, charge};
use support::{TestServer, config, until};

const PIECE: usize = 1024;
const PIECES: usize = 64 * 1024;
const MIB: usize = 1 << 20;

/// Bytes of the process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn what_a_storm_took_is_given_back_when_it_is_over() {
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

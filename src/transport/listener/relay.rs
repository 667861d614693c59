//! Connections over TLS that are Node.js's: their bytes go to it over a pair of sockets, since TLS stays here.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, split},
    net::UnixStream,
};

/// How long a client may still send when Node.js sends no more. As long as Node.js's servers wait for one that is to close.
const HALF_CLOSED: Duration = Duration::from_secs(30);

/// Passes on what either side sends, until both have ended, or one is gone.
pub(super) async fn relay(client: impl AsyncRead + AsyncWrite, node: UnixStream) {
    let (mut from_client, mut to_client) = split(client);
    let (mut from_node, mut to_node) = node.into_split();
    let inwards = async {
        let copied = copy(&mut from_client, &mut to_node).await;
        let _ = to_node.shutdown().await;
        copied
    };
    let outwards = async {
        let copied = copy(&mut from_node, &mut to_client).await;
        let _ = to_client.shutdown().await;
        copied
    };
    tokio::pin!(inwards, outwards);
    tokio::select! {
        received = &mut inwards => if received.is_ok() {
            let _ = outwards.await;
        },
        sent = &mut outwards => if sent.is_ok() {
            let _ = tokio::time::timeout(HALF_CLOSED, inwards).await;
        },
    }
}

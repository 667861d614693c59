//! Requests of the adapter's kind that no server sends, and that must do no harm.

use super::*;
use crate::adapter::{
    broadcast::{Flags, Outgoing},
    request,
};

#[tokio::test]
async fn a_request_with_endless_patience_is_answered_like_any_other() {
    let broker = Broker::new();
    let [node] = acquainted_on(&broker, ["aaaaaa"]).await;
    let outsider = Outsider::start(&broker).await;
    let (_, inbox) = node.connect("ann");
    let packet = Outgoing {
        uid: "node01",
        args: "[\"question\"]",
        attachments: &[],
        rooms: &[],
        except: &[],
        flags: Flags {
            timeout: Some(u64::MAX),
            ..Flags::default()
        },
    };
    let payload = request::broadcast(&packet, "req001").unwrap();
    outsider.publish("socket.io-request#/#", payload).await;
    settle(&[&node]).await;
    assert_eq!(
        outsider.heard_on("socket.io-response#/#node01#"),
        [&b"{\"type\":8,\"requestId\":\"req001\",\"clientCount\":1}"[..]]
    );
    node.service().fanout().flushed().await;
    assert_eq!(*inbox.0.lock(), ["[\"question\"]"]);
}

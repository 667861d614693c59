//! What socketioxide calls when a client connects and goes, and its reasons in our words.

use std::{future::Future, pin::Pin, sync::Arc};

use socketioxide::{
    adapter::Adapter,
    handler::{ConnectHandler, DisconnectHandler},
    socket::{DisconnectReason as LibraryReason, Socket},
};
use socketioxide_core::{Str, Value};

use super::session::Session;
use crate::disconnect::DisconnectReason;

/// Decides about clients that send CONNECT, and registers those that got their answer.
#[derive(Debug, Clone)]
pub(super) struct Accept;

/// Marks the handlers as ours among those that the library generates for closures.
pub(super) struct Ours;

type Verdict = Result<(), Box<dyn std::fmt::Display + Send>>;

impl<A: Adapter> ConnectHandler<A, Ours> for Accept {
    fn call(&self, socket: Arc<Socket<A>>, _: Option<Value>) {
        if let Some(session) = session_of(&socket) {
            session.connected();
        }
    }

    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket<A>>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>> {
        Box::pin(async move {
            let Some(session) = session_of(&socket) else {
                return Err(Box::new("Unknown session") as _);
            };
            session.identify(socket.id);
            socket.on_disconnect(Departure);
            let auth = auth.as_ref().and_then(Value::as_str).map_or("{}", Str::as_str);
            match session.ask(auth).await {
                Ok(()) => Ok(()),
                Err(payload) => Err(Box::new(payload) as _),
            }
        })
    }
}

/// Called once when a socket leaves its namespace or its transport ends; of a client that has moved to WebSocket, when
/// the library is to forget it.
struct Departure;

impl<A: Adapter> DisconnectHandler<A, Ours> for Departure {
    fn call_with_defer(&self, socket: Arc<Socket<A>>, reason: LibraryReason, defer: fn(Arc<Socket<A>>)) {
        // A client's own goodbye was taken where it came in.
        let session = session_of(&socket).filter(|_| reason != LibraryReason::ClientNSDisconnect);
        if let Some(session) = session.filter(|session| !session.phase().is_on_websocket()) {
            session.departed(reason_of(reason));
        }
        defer(socket);
    }
}

fn session_of<A: Adapter>(socket: &Socket<A>) -> Option<Arc<Session>> {
    socket.req_parts().extensions.get::<Arc<Session>>().cloned()
}

fn reason_of(reason: LibraryReason) -> DisconnectReason {
    match reason {
        LibraryReason::TransportClose | LibraryReason::TransportError => DisconnectReason::TransportClose,
        LibraryReason::MultipleHttpPollingError => DisconnectReason::TransportError,
        LibraryReason::PacketParsingError => DisconnectReason::ParseError,
        LibraryReason::HeartbeatTimeout => DisconnectReason::PingTimeout,
        LibraryReason::ClientNSDisconnect => DisconnectReason::ClientLeft,
        LibraryReason::ServerNSDisconnect => DisconnectReason::ServerLeft,
        LibraryReason::ClosingServer => DisconnectReason::ServerClosing,
    }
}

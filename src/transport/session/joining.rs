//! CONNECT: the socket that waits to be let in, its answer, and what came early.

use std::{sync::Arc, time::Duration};

use super::{Answer, Early, Pending, Session, Standing, incoming::dispatch};
use crate::{
    disconnect::DisconnectReason,
    error::Error,
    hub::{Identity, Socket, SocketId},
    service::Refusal,
};

impl Session {
    /// Decides about the client's CONNECT. What waits meanwhile goes with this, and this ends with the session.
    pub(in crate::transport) async fn connect(self: &Arc<Self>, auth: &str) -> Result<(), Refusal> {
        let socket = self.new_socket(auth)?;
        {
            let mut inner = self.inner.lock();
            match &mut inner.standing {
                Standing::Connecting(pending) => pending.socket = Some(socket.clone()),
                standing => {
                    *standing = Standing::Connecting(Pending {
                        socket: Some(socket.clone()),
                        early: Vec::new(),
                    });
                }
            }
            inner.answer = Answer::Accepted(socket.id().into());
        }
        let outcome = tokio::select! {
            biased;
            // Perhaps before there was a socket to be told of.
            () = self.connection.over() => Err(Error::Closed.into()),
            outcome = self.let_in(&socket) => outcome,
        };
        if let Err(refusal) = &outcome {
            self.refuse(&socket, refusal);
        }
        outcome
    }

    async fn let_in(&self, socket: &Arc<Socket>) -> Result<(), Refusal> {
        let service = &self.sessions.service;
        let admitted = service.admit(socket, self.patience()).await?;
        socket.identify(admitted.identity.unwrap_or_else(|| identity_of(socket)));
        // Refused only at shutdown, which `connected` sees as well.
        let _ = service.introduce(socket, self.patience()).await;
        Ok(())
    }

    /// How long may still be waited.
    fn patience(&self) -> Duration {
        let patience = self.sessions.service.config.connect_timeout;
        patience.saturating_sub(self.opened.elapsed())
    }

    fn refuse(&self, socket: &Arc<Socket>, refusal: &Refusal) {
        let service = &self.sessions.service;
        if service.is_closed() {
            self.connection.close(DisconnectReason::ServerClosing);
        }
        let mut inner = self.inner.lock();
        let waits = match &inner.standing {
            Standing::Connecting(pending) => pending.socket.as_ref().is_some_and(|own| Arc::ptr_eq(own, socket)),
            _ => false,
        };
        if waits {
            inner.answer = Answer::Refused(refusal.clone());
            drop(inner);
            self.departed(DisconnectReason::ServerLeft);
        } else {
            // The client has left the namespace, and may be back already.
            inner.answer = Answer::Withdrawn;
        }
    }

    /// The CONNECT answer is on its way: registers the socket and handles what came early.
    pub(in crate::transport) fn connected(&self) {
        let service = &self.sessions.service;
        let mut inner = self.inner.lock();
        let Standing::Connecting(Pending {
            socket: Some(socket),
            early,
        }) = &mut inner.standing
        else {
            return;
        };
        let (socket, early) = (socket.clone(), std::mem::take(early));
        if !socket.is_connected() {
            // Disconnected by the server before the answer could leave: the answer, what was sent, then goodbye.
            inner.standing = Standing::Left;
            drop(inner);
            return self.connection.connected();
        }
        // An overridden `handleConnection` has registered it already.
        if service.hub.socket(socket.id()).is_none() && service.register(&socket).is_err() {
            drop(inner);
            return self.connection.close(DisconnectReason::ServerClosing);
        }
        inner.standing = Standing::Connected(socket.clone());
        self.connection.connected();
        // Under the lock, so that later packets do not overtake early ones.
        let is_malformed = |packet: Early| {
            self.account()
                .causes(|| dispatch(service, &socket, &packet.text, packet.attachments))
                .is_err()
        };
        if early.into_iter().any(is_malformed) {
            drop(inner);
            self.connection.close(DisconnectReason::ParseError);
        }
    }

    fn new_socket(&self, auth: &str) -> Result<Arc<Socket>, Refusal> {
        let service = &self.sessions.service;
        let id = match self.connection.queue().sid().filter(|_| self.is_eio3()) {
            // Old clients take the session id for the socket's.
            Some(sid) => sid.as_str().to_owned(),
            None => SocketId::random()
                .map(|id| id.as_str().to_owned())
                .ok_or_else(|| Refusal {
                    message: "No random bytes".to_owned(),
                    data: None,
                })?,
        };
        let now = service.clock.now();
        let link = self.connection.link();
        let handshake = self.head.handshake(auth);
        Ok(Arc::new(Socket::new(service.next_key(), &id, link, handshake, now)))
    }
}

/// The identity that the handshake's query gives.
fn identity_of(socket: &Socket) -> Identity {
    Identity::new(socket.id(), socket.query("username").as_deref())
}

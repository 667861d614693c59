//! CONNECT: the socket that waits to be let in, its answer, and what came early.
//!
//! A decision belongs to the session. Whoever asked, the library for a client that polls, waits for it; when the client moves
//! to WebSocket meanwhile, nobody does, and the answer goes straight to it.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use super::{Early, Session, Standing, incoming::dispatch};
use crate::{
    disconnect::DisconnectReason,
    hub::{Claim, Identity, Recovery, Socket, SocketId},
    service::{Refusal, TakenOver},
};

/// Why the library gets no answer: the client has left, or has moved to WebSocket.
#[derive(Debug)]
pub(in crate::transport) struct Withdrawn;

impl Withdrawn {
    /// Where they leave the library, the refusal is taken for what it is.
    pub(super) const WORDS: &'static str = "\u{0}withdrawn";
}

impl std::fmt::Display for Withdrawn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(Self::WORDS)
    }
}

impl Session {
    /// Decides about a CONNECT that the library passes on: the payload of a refusal is the error.
    pub(in crate::transport) async fn ask(self: &Arc<Self>, auth: &str) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        {
            let mut inner = self.inner.lock();
            inner.awaits_library = true;
            if let Standing::Opened = inner.standing {
                // In Engine.IO 3 the library begins by itself.
                inner.standing = Standing::Connecting(Box::default());
            }
            match &mut inner.standing {
                // The client may have moved while this was on its way.
                Standing::Connecting(pending) if !self.phase().is_on_websocket() => pending.library = Some(answer),
                Standing::Connecting(_) => drop(answer),
                _ => return Err(Withdrawn.to_string()),
            }
        }
        self.decide(auth);
        match answered.await {
            Ok(outcome) => outcome,
            Err(_) => Err(Withdrawn.to_string()),
        }
    }

    /// Decides about the client's CONNECT, at once when nobody has to be asked.
    pub(in crate::transport) fn decide(self: &Arc<Self>, auth: &str) {
        let (session, auth) = (self.clone(), auth.to_owned());
        let mut deciding = Box::pin(async move { session.connect(&auth).await });
        if (&mut deciding).now_or_never().is_none() {
            self.sessions.common.runtime.spawn(deciding);
        }
    }

    /// Begins as if the client had sent CONNECT: in Engine.IO 3 nobody does.
    pub(in crate::transport) fn begin(self: &Arc<Self>) {
        self.inner.lock().standing = Standing::Connecting(Box::default());
        self.decide("");
    }

    /// The client has moved to WebSocket: the library need not wait for a decision any more.
    pub(in crate::transport) fn take_over(&self) {
        if let Standing::Connecting(pending) = &mut self.inner.lock().standing {
            pending.library = None;
        }
    }

    /// Resolves when no answer to CONNECT is still to come out of the library, or the session is over.
    pub(in crate::transport) async fn library_has_answered(&self) {
        let is_reached = || !self.inner.lock().awaits_library || self.phase().is_over();
        self.connection.until(is_reached).await;
    }

    /// What waits meanwhile goes with this, and this ends with the session.
    async fn connect(self: &Arc<Self>, auth: &str) {
        let claim = self.claim(auth);
        let skips = self.sessions.service.recovers() == Some(true);
        if let Some(claim) = claim.as_ref().filter(|_| skips)
            && self.come_back(claim, None, auth).await
        {
            return;
        }
        let Some(socket) = self.new_socket(auth) else {
            return self.connection.close(DisconnectReason::ServerClosing);
        };
        let generation = match &mut self.inner.lock().standing {
            Standing::Connecting(pending) if pending.socket.is_none() => {
                pending.socket = Some(socket.clone());
                self.connection.generation()
            }
            // It has left again.
            _ => return,
        };
        // Perhaps before there was a socket to be told of.
        if self.phase().is_over() {
            return self.departed(DisconnectReason::TransportClose);
        }
        let outcome = tokio::select! {
            biased;
            outcome = self.admit(&socket) => outcome,
            () = self.connection.over() => return self.departed(DisconnectReason::TransportClose),
        };
        if let Some(claim) = claim.filter(|_| !skips && outcome.is_ok())
            && self.come_back(&claim, Some(&socket), auth).await
        {
            return;
        }
        if outcome.is_ok() {
            // Refused only at shutdown, which `connected` sees as well.
            let introduced = self.sessions.service.introduce(&socket, self.patience());
            tokio::select! {
                biased;
                _ = introduced => {}
                () = self.connection.over() => return self.departed(DisconnectReason::TransportClose),
            }
        }
        self.answer(&socket, generation, outcome);
    }

    async fn admit(&self, socket: &Arc<Socket>) -> Result<(), Refusal> {
        let admitted = self.sessions.service.admit(socket, self.patience()).await?;
        socket.identify(admitted.identity.unwrap_or_else(|| identity_of(socket)));
        Ok(())
    }

    /// What a client says that was here before, where such may come back.
    fn claim(&self, auth: &str) -> Option<Claim> {
        self.sessions.service.recovers()?;
        if self.is_eio3() || !auth.contains("pid") {
            return None;
        }
        let Auth { pid, offset } = serde_json::from_str(auth).ok()?;
        Some(Claim { secret: pid?, offset })
    }

    /// Puts a client that was here before on this connection, if it is one and has missed nothing that is not kept. True
    /// when nothing more is to be decided.
    async fn come_back(self: &Arc<Self>, claim: &Claim, asked: Option<&Socket>, auth: &str) -> bool {
        let service = &self.sessions.service;
        let link = self.connection.link();
        service.brought(claim).await;
        let back = service.come_back(claim, asked, &link, self.head.handshake(auth));
        let back = match back {
            Some((socket, number)) => TakenOver::Socket(socket, number),
            None => {
                let handshake = self.head.handshake(auth);
                service.take_over(claim, asked, &link, handshake).await
            }
        };
        let (socket, number) = match back {
            TakenOver::Socket(socket, number) => (socket, number),
            TakenOver::Not => return false,
            TakenOver::Broken => {
                self.connection.close(DisconnectReason::TransportClose);
                return true;
            }
        };
        let (asked, generation) = {
            let mut inner = self.inner.lock();
            let Standing::Connecting(pending) = &mut inner.standing else {
                drop(inner);
                // The client has left again, or its connection has ended.
                let reason = match self.phase().is_over() {
                    true => DisconnectReason::TransportClose,
                    false => DisconnectReason::ClientLeft,
                };
                service.part(&socket, number, reason);
                return true;
            };
            pending.is_back = true;
            let asked = pending.socket.replace(socket.clone());
            inner.connection_number = number;
            (asked, self.connection.generation())
        };
        // In whose place somebody was asked.
        if let Some(asked) = asked {
            service.unregister(&asked, DisconnectReason::ServerLeft);
        }
        if self.phase().is_over() {
            self.departed(DisconnectReason::TransportClose);
        } else {
            self.answer(&socket, generation, Ok(()));
        }
        true
    }

    /// How long may still be waited.
    fn patience(&self) -> Duration {
        let patience = self.sessions.service.config.connect_timeout;
        patience.saturating_sub(self.sessions.common.now().saturating_sub(self.opened))
    }

    /// Answers the client, or the library that asked in its place. Nobody is answered who has left the namespace, and may
    /// be back already.
    fn answer(self: &Arc<Self>, socket: &Arc<Socket>, generation: u32, outcome: Result<(), Refusal>) {
        if outcome.is_err() && self.sessions.service.is_closed() {
            self.connection.close(DisconnectReason::ServerClosing);
        }
        let outcome = outcome.map_err(|refusal| payload_of(&refusal, self.is_eio3()));
        let mut inner = self.inner.lock();
        let Standing::Connecting(pending) = &mut inner.standing else {
            return;
        };
        if !pending.socket.as_ref().is_some_and(|own| Arc::ptr_eq(own, socket)) {
            return;
        }
        let library = pending.library.take();
        if library.is_some() {
            inner.accepted = Some(self.accepted(socket).into());
        }
        drop(inner);
        let refusal = outcome.clone().err();
        if refusal.is_some() {
            self.departed(DisconnectReason::ServerLeft);
        }
        match (library, refusal) {
            (Some(library), _) => drop(library.send(outcome)),
            (None, Some(payload)) => self.connection.write_text(&format!("44{payload}")),
            // Registered first: the answer reaches the client at once, and so may a broadcast.
            (None, None) if self.connected() => {
                self.connection.answer_connect(&self.accepted(socket), generation);
            }
            (None, None) => {}
        }
    }

    /// The answer of a client that is let in.
    fn accepted(&self, socket: &Socket) -> String {
        if self.is_eio3() {
            return "40".to_owned();
        }
        let id = serde_json::Value::from(socket.id());
        match socket.recovery().map(Recovery::secret) {
            Some(secret) => format!("40{{\"sid\":{id},\"pid\":\"{secret}\"}}"),
            None => format!("40{{\"sid\":{id}}}"),
        }
    }

    /// The CONNECT answer is on its way: registers the socket and handles what came early. False when there is to be no
    /// answer.
    pub(in crate::transport) fn connected(&self) -> bool {
        let service = &self.sessions.service;
        let mut inner = self.inner.lock();
        let Standing::Connecting(pending) = &mut inner.standing else {
            return false;
        };
        let Some(socket) = pending.socket.clone() else {
            return false;
        };
        let early = std::mem::take(&mut pending.early);
        inner.has_connected = true;
        if !socket.is_connected() {
            // Disconnected by the server before the answer could leave: the answer, what was sent, then goodbye.
            inner.standing = Standing::Left;
            return true;
        }
        // An overridden `handleConnection` has registered it already.
        if service.hub.socket(socket.id()).is_none() && service.register(&socket).is_err() {
            drop(inner);
            self.connection.close(DisconnectReason::ServerClosing);
            return false;
        }
        inner.standing = Standing::Connected(socket.clone());
        // Under the lock, so that later packets do not overtake early ones.
        let handle = |packet: Early| {
            self.account()
                .causes(|| dispatch(service, &socket, &packet.text, packet.attachments))
        };
        if let Err(reason) = early.into_iter().try_for_each(handle) {
            drop(inner);
            self.connection.close(reason);
            return false;
        }
        true
    }

    /// `None` when the system has no random bytes.
    fn new_socket(&self, auth: &str) -> Option<Arc<Socket>> {
        let service = &self.sessions.service;
        let id = match self.sid.get().filter(|_| self.is_eio3()) {
            // Old clients take the session id for the socket's.
            Some(sid) => sid.as_str().to_owned(),
            None => SocketId::random().map(|id| id.as_str().to_owned())?,
        };
        let now = service.clock.now();
        let link = self.connection.link();
        let handshake = self.head.handshake(auth);
        let socket = Socket::new(service.next_key(), &id, link, handshake, now);
        if service.recovers().is_some() && !self.is_eio3() {
            socket.set_recovery(Recovery::new()?);
        }
        Some(Arc::new(socket))
    }
}

/// What a client that was here before says in CONNECT.
#[derive(serde::Deserialize)]
struct Auth {
    pid: Option<String>,
    offset: Option<String>,
}

/// The payload of CONNECT_ERROR; in Engine.IO 3 the data alone, or the message.
fn payload_of(refusal: &Refusal, eio3: bool) -> String {
    let message = serde_json::Value::from(refusal.message.as_str());
    match &refusal.data {
        Some(data) if eio3 => data.clone(),
        None if eio3 => message.to_string(),
        Some(data) => format!("{{\"message\":{message},\"data\":{data}}}"),
        None => format!("{{\"message\":{message}}}"),
    }
}

/// The identity that the handshake's query gives.
fn identity_of(socket: &Socket) -> Identity {
    Identity::new(socket.id(), socket.query("username").as_deref())
}

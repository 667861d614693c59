//! Streams that are handed over for WebSocket: of new sessions, and of those that polled before.
//!
//! The upgrade of a polling session is answered here: a probe that fails inside socketioxide leaves its session upgrading
//! for ever. The stream gets there once the client has completed its part.

use std::sync::Arc;

use super::{
    carrier::Carrier,
    connection::Connection,
    gateway::{Target, Transport},
    head::{Head, Offer},
    reply::{Reply, TEXT},
    session::Session,
    stream::{Bytestream, Source},
};

/// An upgrade that has passed the checks.
#[derive(Debug)]
pub struct Upgrade {
    target: Target,
    response: String,
}

impl Transport {
    /// Checks a WebSocket upgrade; `headers` is a JSON object as Node.js gives it.
    pub fn upgrade(&self, method: &str, url: &str, headers: &str) -> Result<Upgrade, Reply> {
        let target = self.target(method, url, true).map_err(Reply::error)?;
        let accepted = Offer::parse(headers).accept();
        let response = accepted.map_err(|message| Reply::new(400, TEXT, message))?;
        if self.sessions.service.is_closed() && matches!(target, Target::Handshake { .. }) {
            return Err(Reply::new(503, TEXT, "Server is shutting down"));
        }
        Ok(Upgrade { target, response })
    }

    /// Takes over the stream of an upgrade; `received` was read from it already. Must be called in the runtime.
    pub fn attach(
        &self,
        upgrade: Upgrade,
        head: Head,
        carrier: Carrier,
        source: Source,
        received: &[u8],
    ) -> Arc<Connection> {
        let by_node = matches!(carrier, Carrier::Bridge(_));
        match upgrade.target {
            Target::Handshake { eio3 } => {
                let session = Session::new(&self.sessions, head, eio3, true);
                let connection = session.connection().clone();
                connection.seat().pass_through_node(by_node);
                connection.carry(carrier);
                // Leaves together with the open packet: a client that got one without the other would wait for ever.
                connection.stage_raw(upgrade.response.into());
                let stream = Bytestream::new(session.clone(), source, received);
                session.serve(stream);
                connection
            }
            Target::Session(session) => {
                let connection = session.connection().clone();
                if !connection.begin_upgrade() {
                    carrier.close();
                    return connection;
                }
                connection.carry(carrier);
                connection.write_raw(upgrade.response.into());
                let stream = Bytestream::probing(session.clone(), source, received);
                self.sessions.runtime.spawn(session.probe(stream, by_node));
                connection
            }
        }
    }
}

impl Session {
    /// Waits for the client to complete its upgrade; if it does not, the session goes on polling.
    async fn probe(self: Arc<Self>, mut stream: Bytestream, by_node: bool) {
        let patience = self.sessions().service.config.upgrade_timeout;
        let completed = tokio::time::timeout(patience, stream.probed()).await;
        let connection = self.connection().clone();
        if matches!(completed, Ok(Ok(()))) && connection.upgrade() {
            connection.seat().pass_through_node(by_node);
            self.serve(stream);
        } else {
            connection.fail_upgrade();
        }
    }

    /// Gives a stream to socketioxide.
    fn serve(self: Arc<Self>, stream: Bytestream) {
        let queue = self.connection().queue();
        let (eio3, sid) = (queue.is_eio3(), queue.sid());
        self.sessions().engine.clone().serve(stream, eio3, sid, self);
    }
}

//! Who is connected, admission, and the end of connections.

use std::{collections::HashMap, sync::Arc};

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

use super::{
    binding::{NativeService, bytes_of, index},
    field::{Field, Fields},
    local::JsSocket,
    protocol::{Failure, Figures},
};
use crate::{
    error::Error,
    hub::{Identity, Socket},
    link::Ending,
    service::{Admitted, ClientPacket, Refusal},
};

fn describe(socket: &Socket, profile: Option<String>) {
    if let Some(profile) = profile {
        socket.describe(&profile);
    }
}

/// What a socket has of the instance that its client was connected to before.
#[napi(object)]
#[derive(Debug)]
pub struct Inherited {
    /// `socket.data` as JSON.
    pub data: Option<String>,
    /// When it is to be closed, in milliseconds since the epoch.
    pub expires_at: Option<f64>,
}

#[napi]
impl NativeService {
    fn end(&self, socket_id: &str, reason: &str, ending: Ending) -> bool {
        let socket = self.socket(socket_id);
        socket.is_some_and(|socket| self.server.service().disconnect(&socket, reason.into(), ending))
    }

    pub(super) fn socket(&self, socket_id: &str) -> Option<Arc<Socket>> {
        let service = self.server.service();
        let pending = || service.pending(socket_id);
        service.hub.socket(socket_id).or_else(pending)
    }

    /// The socket that JavaScript was asked about under this number, while it waits.
    fn pending(&self, key: f64, socket_id: &str) -> Option<Arc<Socket>> {
        let socket = self.server.service().pending(socket_id);
        socket.filter(|socket| socket.key() == index(key))
    }

    /// The record of a user connected to any instance; empty when there is none. JavaScript will hear of its end.
    #[napi(catch_unwind)]
    pub fn user(&self, socket_id: String) -> Vec<Field> {
        let _rest = self.server.service().at_rest();
        let mut fields = Fields::default();
        if let Some(socket) = self.server.service().hub.anyone(&socket_id) {
            // One that is just leaving might not be told of any more.
            socket.with_rooms(|_| {
                fields.record(&socket);
            });
        }
        fields.into_vec()
    }

    /// Whether a socket is registered on any instance, of which JavaScript has the record. If so, JavaScript will hear
    /// of its end.
    #[napi(catch_unwind)]
    pub fn watch(&self, socket_id: String) -> bool {
        let _rest = self.server.service().at_rest();
        let socket = self.server.service().hub.anyone(&socket_id);
        socket.is_some_and(|socket| socket.with_rooms(|_| socket.touch()).is_some())
    }

    /// Whether a socket is registered on this instance.
    #[napi(catch_unwind)]
    pub fn is_connected(&self, socket_id: String) -> bool {
        let _rest = self.server.service().at_rest();
        self.server.service().hub.socket(&socket_id).is_some()
    }

    /// Whether the client of a socket of this instance has lost its connection, and may come back.
    #[napi(catch_unwind)]
    pub fn is_away(&self, socket_id: String) -> bool {
        let _rest = self.server.service().at_rest();
        let socket = self.server.service().hub.socket(&socket_id);
        socket.is_some_and(|socket| socket.is_away())
    }

    /// Whether the client of a socket of this instance has lost its connection and come back.
    #[napi(catch_unwind)]
    pub fn has_returned(&self, socket_id: String) -> bool {
        let _rest = self.server.service().at_rest();
        let socket = self.server.service().hub.socket(&socket_id);
        socket.is_some_and(|socket| socket.has_returned())
    }

    /// What a socket has of the instance that its client was connected to before: `socket.data` as JSON, and when it is to be
    /// closed, in milliseconds since the epoch.
    #[napi(catch_unwind)]
    pub fn inherited(&self, socket_id: String) -> Inherited {
        let socket = self.server.service().hub.socket(&socket_id);
        let inherited = socket.as_ref().filter(|socket| socket.is_inherited());
        Inherited {
            data: inherited
                .and_then(|socket| socket.told_data())
                .map(|data| data.to_string()),
            expires_at: socket.and_then(|socket| socket.expires_at()).map(|at| at as f64),
        }
    }

    /// When a socket last sent an event, in milliseconds since the epoch; -1 when it is not registered.
    #[napi(catch_unwind)]
    pub fn last_activity(&self, socket_id: String) -> f64 {
        let _rest = self.server.service().at_rest();
        let socket = self.server.service().hub.anyone(&socket_id);
        socket.map_or(-1.0, |socket| socket.last_activity() as f64)
    }

    /// Whether this instance has a socket.
    #[napi(catch_unwind)]
    pub fn has_sockets(&self) -> bool {
        self.server.service().hub.socket_count() > 0
    }

    /// Ids of all sockets of all instances, in the order in which they came here.
    #[napi(catch_unwind)]
    pub fn users(&self) -> Vec<String> {
        let sockets = {
            let _rest = self.server.service().at_rest();
            self.server.service().hub.everyone_anywhere()
        };
        sockets.iter().map(|socket| socket.id().to_owned()).collect()
    }

    /// A socket of a user: one of whose end JavaScript will hear, or an empty id. Null when the user has no socket.
    #[napi(catch_unwind)]
    pub fn online_socket(&self, user_id: String) -> Option<String> {
        let _rest = self.server.service().at_rest();
        let sockets = self.server.service().hub.sockets_anywhere(&user_id);
        let told = sockets
            .iter()
            .find(|socket| socket.is_touched() && socket.is_connected());
        let id = told.map_or("", |socket| socket.id());
        (!sockets.is_empty()).then(|| id.to_owned())
    }

    /// Ids of a user's sockets on all instances, those on this one first.
    #[napi(catch_unwind)]
    pub fn sockets_of(&self, user_id: String) -> Vec<String> {
        let _rest = self.server.service().at_rest();
        let sockets = self.server.service().hub.sockets_anywhere(&user_id);
        sockets.iter().map(|socket| socket.id().to_owned()).collect()
    }

    /// JavaScript lets a connection in, with the identity it gives it, and the profile that other instances are told.
    #[napi(catch_unwind)]
    pub fn accept(
        &self,
        key: f64,
        socket_id: String,
        user_id: Option<String>,
        username: Option<String>,
        profile: Option<String>,
    ) {
        if let Some(socket) = self.pending(key, &socket_id) {
            describe(&socket, profile);
            let identity = user_id.map(|user_id| Identity::new(&user_id, username.as_deref()));
            self.server.service().decide(&socket, Ok(Admitted { identity }));
        }
    }

    /// JavaScript refuses a connection.
    #[napi(catch_unwind)]
    pub fn refuse(&self, key: f64, socket_id: String, message: String, data: Option<String>) {
        if let Some(socket) = self.pending(key, &socket_id) {
            self.server.service().decide(&socket, Err(Refusal { message, data }));
        }
    }

    /// Registers a socket that is being admitted, before its answer is sent.
    #[napi(catch_unwind)]
    pub fn register(
        &self,
        socket_id: String,
        user_id: String,
        username: Option<String>,
        profile: Option<String>,
    ) -> Option<Failure> {
        let Some(socket) = self.server.service().pending(&socket_id) else {
            return Some(Error::UserNotFound.into());
        };
        socket.identify(Identity::new(&user_id, username.as_deref()));
        describe(&socket, profile);
        self.server.service().register(&socket).err().map(Failure::from)
    }

    /// Registers a socket object of JavaScript's own.
    #[napi(catch_unwind)]
    pub fn register_local(
        &self,
        socket_id: String,
        user_id: String,
        username: Option<String>,
        handshake: String,
        profile: Option<String>,
    ) -> Option<Failure> {
        let link = Arc::new(JsSocket::new(self.queue.clone()));
        let service = self.server.service();
        let socket = Socket::new(
            service.next_key(),
            &socket_id,
            link.clone(),
            handshake.as_str().into(),
            service.clock.called(),
        );
        let socket = Arc::new(socket);
        link.belongs_to(&socket);
        socket.identify(Identity::new(&user_id, username.as_deref()));
        describe(&socket, profile);
        service.register(&socket).err().map(Failure::from)
    }

    /// A client event of a socket object of JavaScript's own.
    #[napi(catch_unwind)]
    pub fn local_event(&self, socket_id: String, args: String, attachments: Vec<Buffer>, ack: Option<f64>) {
        if let Some(socket) = self.server.service().hub.socket(&socket_id) {
            let packet = ClientPacket {
                args: &args,
                attachments: bytes_of(attachments),
                id: ack.map(index),
            };
            // The arguments were encoded by Socket.IO's own parser.
            let _ = self.server.service().client_event(&socket, packet);
        }
    }

    /// The listeners of a connection are about to run: broadcasts reach it from now on.
    #[napi(catch_unwind)]
    pub fn publish(&self, socket_id: String) {
        if let Some(socket) = self.socket(&socket_id) {
            self.server.service().hub.publish(&socket);
        }
    }

    /// JavaScript has heard of a connection.
    #[napi(catch_unwind)]
    pub fn settle(&self, socket_id: String) {
        if let Some(socket) = self.socket(&socket_id) {
            self.server.service().introduced(&socket);
        }
    }

    /// Adds or removes interest in a client's event; in every event without a name.
    #[napi(catch_unwind)]
    pub fn hear(&self, socket_id: String, event: Option<String>, wanted: bool) {
        if let Some(socket) = self.socket(&socket_id) {
            socket.set_interest(|interest| match event {
                Some(event) if wanted => {
                    interest.names.insert(event.into());
                }
                Some(event) => {
                    interest.names.remove(&*event);
                }
                None => interest.any = wanted,
            });
        }
    }

    /// The application's decision about what a client wants to do; a text refuses it.
    #[napi(catch_unwind)]
    pub fn decide(&self, socket_id: String, number: f64, refusal: Option<String>) {
        let service = self.server.service();
        if let Some(socket) = service.hub.socket(&socket_id) {
            service.decided(&socket, index(number), refusal.map_or(Ok(()), Err));
        }
    }

    /// Says when a socket is to be closed, in milliseconds since the epoch; null for never.
    #[napi(catch_unwind)]
    pub fn expire_at(&self, socket_id: String, at: Option<f64>) {
        if let Some(socket) = self.socket(&socket_id) {
            self.server.service().expire_at(&socket, at.map(index));
        }
    }

    /// Disconnects a socket for this reason, its transport as well if so asked. False when it is not registered.
    #[napi(catch_unwind)]
    pub fn disconnect(&self, socket_id: String, reason: String, transport: bool) -> bool {
        self.end(&socket_id, &reason, Ending::kick(transport))
    }

    /// Closes the transport of a socket for this reason. False when it is not registered.
    #[napi(catch_unwind)]
    pub fn close(&self, socket_id: String, reason: String) -> bool {
        self.end(&socket_id, &reason, Ending::Close)
    }

    /// Disconnects every socket of a user on this instance. Returns how many.
    #[napi(catch_unwind)]
    pub fn disconnect_user(&self, user_id: String, reason: String) -> f64 {
        self.server.service().disconnect_user(&user_id, &reason.as_str().into()) as f64
    }

    /// Disconnects sockets that have been idle for so many milliseconds. Returns how many.
    #[napi(catch_unwind)]
    pub fn cleanup(&self, idle_ms: f64) -> f64 {
        self.server.service().cleanup(index(idle_ms)) as f64
    }

    /// Figures of this instance.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> Figures {
        let _rest = self.server.service().at_rest();
        self.server.service().stats().into()
    }

    /// How often clients went beyond a bound, by the names of those that they did.
    #[napi(catch_unwind)]
    pub fn exceeded(&self) -> HashMap<String, f64> {
        let exceeded = self.server.service().hub.metrics.exceeded.counts();
        exceeded
            .map(|(limit, count)| (limit.name().to_owned(), count as f64))
            .collect()
    }
}

//! The class that `lib/` drives. Each method converts, calls the service and converts back.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use dashmap::DashMap;
use napi::{
    Env,
    bindgen_prelude::{Buffer, Error, Function, Result, Status},
};
use napi_derive::napi;
use serde::Deserialize;
use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    bridge::{Bridge, CHUNKS, JsStream},
    field::{Field, Fields},
    local::JsSocket,
    queue::{Item, Queue},
};
use crate::{
    clock,
    config::Config,
    hub::{Change, Identity, User},
    packet::{Packet, PacketKind},
    server::Server,
    service::{Admitted, ClientPacket, Filter, MessageType, NewMessage, Refusal},
    transport::{Carrier, Head, Reply, Source, Upgrade},
};

/// The native side of one `WebSocketService`.
#[napi]
pub struct NativeService {
    server: Arc<Server>,
    queue: Arc<Queue>,
    requests: Arc<DashMap<u64, AbortHandle>>,
    bridges: DashMap<u64, Bridge>,
    next_bridge: AtomicU64,
}

/// A request line and what belongs to it.
#[napi(object)]
pub struct RequestHead {
    /// HTTP method.
    pub method: String,
    /// As in the request line.
    pub url: String,
    /// `JSON.stringify(req.headers)`.
    pub headers: String,
    /// The client's address.
    pub address: String,
    /// Whether the connection is encrypted.
    pub secure: bool,
    /// `Sec-WebSocket-Key`.
    pub key: Option<String>,
    /// `Sec-WebSocket-Version`.
    pub version: Option<String>,
    /// `Sec-WebSocket-Protocol`.
    pub protocols: Option<String>,
}

impl RequestHead {
    fn head(&self) -> Head {
        Head::new(&self.url, &self.headers, &self.address, self.secure)
    }
}

/// An HTTP response.
#[napi(object)]
pub struct ErrorReply {
    /// Status code.
    pub status: u32,
    /// `Content-Type`.
    pub content_type: String,
    /// Body.
    pub body: String,
}

impl From<Reply> for ErrorReply {
    fn from(reply: Reply) -> Self {
        Self {
            status: reply.status.into(),
            content_type: reply.content_type.to_owned(),
            body: String::from_utf8_lossy(&reply.body).into_owned(),
        }
    }
}

/// `BroadcastOptions`, as JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FilterJson {
    except: Vec<String>,
    users: Option<Vec<String>>,
    room: Option<String>,
    namespace: Option<String>,
}

fn filter(json: Option<&str>) -> Result<Filter> {
    let json: FilterJson = match json {
        Some(text) => serde_json::from_str(text).map_err(invalid)?,
        None => FilterJson::default(),
    };
    Ok(Filter {
        except: json.except,
        users: json.users,
        room: json.room,
        label: json.namespace,
    })
}

fn invalid(error: impl std::fmt::Display) -> Error {
    Error::new(Status::InvalidArg, error.to_string())
}

fn event(args: &str, attachments: Vec<Buffer>) -> Packet {
    Packet::new(PacketKind::Event(None), args, bytes_of(attachments))
}

fn bytes_of(buffers: Vec<Buffer>) -> Vec<Bytes> {
    buffers
        .into_iter()
        .map(|buffer| Bytes::copy_from_slice(&buffer))
        .collect()
}

fn index(number: f64) -> u64 {
    number as u64
}

#[napi]
impl NativeService {
    /// `config`: the checked options as JSON; `wake` is called when there is something to take.
    #[napi(constructor)]
    pub fn new(env: Env, config: String, wake: Function<'_, (), ()>) -> Result<Self> {
        let config: Config = serde_json::from_str(&config).map_err(invalid)?;
        let wake = wake
            .build_threadsafe_function()
            .weak::<true>()
            .max_queue_size::<1>()
            .build()?;
        let queue = Arc::new(Queue::new(wake));
        let server = Arc::new(Server::new(config, queue.clone()).map_err(invalid)?);
        // A worker thread that is terminated, or a process that exits, takes its connections with it.
        env.add_env_cleanup_hook((Arc::downgrade(&server), queue.clone()), |(server, queue)| {
            queue.close();
            if let Some(server) = server.upgrade() {
                server.abandon();
            }
        })?;
        Ok(Self {
            server,
            queue,
            requests: Arc::default(),
            bridges: DashMap::new(),
            next_bridge: AtomicU64::new(0),
        })
    }

    /// Says which events have listeners.
    #[napi]
    pub fn listen(&self, kinds: u32) {
        self.queue.listen(kinds);
    }

    /// Says whether connections are asked about.
    #[napi]
    pub fn set_admits(&self, admits: bool) {
        self.server.service().set_admits(admits);
    }

    /// Takes what waits for JavaScript.
    #[napi]
    pub fn take(&self) -> Vec<Field> {
        self.queue.take().into_vec()
    }

    // --- requests and upgrades -----------------------------------------------------------------------------------

    /// Engine.IO's checks: true for a handshake, false for a request of a session, or the error to answer with.
    #[napi]
    pub fn check(&self, head: RequestHead, upgrade: bool) -> napi::Either<bool, ErrorReply> {
        match self.server.transport().check(&head.method, &head.head(), upgrade) {
            Ok(handshake) => napi::Either::A(handshake),
            Err(reply) => napi::Either::B(reply.into()),
        }
    }

    /// Answers a long-polling request under this number, unless it is cancelled.
    #[napi]
    pub fn respond(&self, id: f64, head: RequestHead, content_type: Option<String>, body: Option<Buffer>) {
        let transport = self.server.transport().clone();
        let body = body.map_or_else(Bytes::new, |body| Bytes::copy_from_slice(&body));
        let (queue, requests) = (self.queue.clone(), self.requests.clone());
        let number = index(id);
        let task = self.server.runtime().spawn(async move {
            let reply = transport.respond(&head.method, head.head(), content_type, body).await;
            requests.remove(&number);
            queue.push(Item::Reply(id, reply));
        });
        self.requests.insert(number, task.abort_handle());
        if task.is_finished() {
            self.requests.remove(&number);
        }
    }

    /// The client of a request went away.
    #[napi]
    pub fn cancel(&self, id: f64) {
        if let Some((_, task)) = self.requests.remove(&index(id)) {
            task.abort();
        }
    }

    /// A request's body is larger than allowed: its session ends.
    #[napi]
    pub fn refuse_oversized(&self, head: RequestHead) {
        self.server.transport().refuse_oversized(&head.method, &head.head());
    }

    fn checked_upgrade(&self, head: &RequestHead) -> std::result::Result<Upgrade, ErrorReply> {
        self.server
            .transport()
            .upgrade(
                &head.method,
                &head.head(),
                head.key.as_deref(),
                head.version.as_deref(),
                head.protocols.as_deref(),
            )
            .map_err(ErrorReply::from)
    }

    /// Takes over the connection behind a descriptor, or says what to answer. `received`: bytes read from it already.
    #[napi]
    pub fn take_over(&self, head: RequestHead, fd: i32, received: Buffer) -> Result<Option<ErrorReply>> {
        #[cfg(unix)]
        {
            let upgrade = match self.checked_upgrade(&head) {
                Ok(upgrade) => upgrade,
                Err(reply) => return Ok(Some(reply)),
            };
            let _runtime = self.server.runtime().enter();
            let stream = Arc::new(crate::transport::handover::duplicate(fd).map_err(invalid)?);
            self.server.transport().attach(
                upgrade,
                head.head(),
                Carrier::Tcp(stream.clone()),
                Source::Tcp(stream),
                &received,
            );
            Ok(None)
        }
        #[cfg(not(unix))]
        {
            let _ = (head, fd, received);
            Err(invalid("connections are handed over on Unix only"))
        }
    }

    /// Serves a stream that JavaScript reads and writes: its number, or what to answer.
    #[napi]
    pub fn bridge(&self, head: RequestHead, received: Buffer) -> napi::Either<f64, ErrorReply> {
        let upgrade = match self.checked_upgrade(&head) {
            Ok(upgrade) => upgrade,
            Err(reply) => return napi::Either::B(reply),
        };
        let _runtime = self.server.runtime().enter();
        let number = self.next_bridge.fetch_add(1, Ordering::Relaxed);
        let id = number as f64;
        let sink = Arc::new(JsStream {
            id,
            queue: self.queue.clone(),
        });
        let (incoming, chunks) = mpsc::channel(CHUNKS * 4);
        let connection = self.server.transport().attach(
            upgrade,
            head.head(),
            Carrier::Bridge(sink),
            Source::Bridge(chunks),
            &received,
        );
        self.bridges.insert(number, Bridge { incoming, connection });
        napi::Either::A(id)
    }

    /// Bytes that a bridged stream received. False when it should pause for a moment.
    #[napi]
    pub fn bridge_data(&self, id: f64, bytes: Buffer) -> bool {
        let Some(bridge) = self.bridges.get(&index(id)) else {
            return true;
        };
        if bridge.incoming.try_send(Bytes::copy_from_slice(&bytes)).is_err() {
            drop(bridge);
            self.bridges.remove(&index(id));
            self.queue.push(Item::BridgeEnd(id, true));
            return true;
        }
        bridge.incoming.capacity() > CHUNKS
    }

    /// A bridged stream has ended.
    #[napi]
    pub fn bridge_closed(&self, id: f64) {
        self.bridges.remove(&index(id));
    }

    /// A bridged stream has written bytes.
    #[napi]
    pub fn bridge_written(&self, id: f64, bytes: f64) {
        if let Some(bridge) = self.bridges.get(&index(id)) {
            bridge.connection.written(usize::try_from(index(bytes)).unwrap_or(0));
        }
    }

    // --- connections ---------------------------------------------------------------------------------------------

    fn socket(&self, socket_id: &str) -> Option<Arc<User>> {
        let admitted = || self.queue.admissions.get(socket_id).map(|entry| entry.value().clone());
        self.server.service().hub.user(socket_id).or_else(admitted)
    }

    /// The record of a connected user; empty when there is none.
    #[napi]
    pub fn user(&self, socket_id: String) -> Vec<Field> {
        let mut fields = Fields::default();
        if let Some(user) = self.server.service().hub.user(&socket_id) {
            fields.record(&user);
        }
        fields.into_vec()
    }

    /// Whether a socket is registered.
    #[napi]
    pub fn is_connected(&self, socket_id: String) -> bool {
        self.server.service().hub.user(&socket_id).is_some()
    }

    /// When a socket last sent an event, in milliseconds since the epoch; -1 when it is not registered.
    #[napi]
    pub fn last_activity(&self, socket_id: String) -> f64 {
        let user = self.server.service().hub.user(&socket_id);
        user.map_or(-1.0, |user| user.last_activity() as f64)
    }

    /// Ids of all sockets, in the order in which they came.
    #[napi]
    pub fn users(&self) -> Vec<String> {
        self.server
            .service()
            .hub
            .users()
            .iter()
            .map(|user| user.id().to_owned())
            .collect()
    }

    /// Whether a user has a socket.
    #[napi]
    pub fn is_online(&self, user_id: String) -> bool {
        self.server.service().hub.is_online(&user_id)
    }

    /// Ids of a user's sockets.
    #[napi]
    pub fn sockets_of(&self, user_id: String) -> Vec<String> {
        let sockets = self.server.service().hub.sockets_of(&user_id);
        sockets.iter().map(|user| user.id().to_owned()).collect()
    }

    /// JavaScript lets a connection in, with the identity it gives it.
    #[napi]
    pub fn accept(&self, key: f64, socket_id: String, user_id: Option<String>, username: Option<String>) {
        self.queue.admissions.remove(&*socket_id);
        let identity = user_id.map(|user_id| Identity::new(&user_id, username.as_deref()));
        self.server.service().decide(index(key), Ok(Admitted { identity }));
    }

    /// JavaScript refuses a connection.
    #[napi]
    pub fn refuse(&self, key: f64, socket_id: String, message: String, data: Option<String>) {
        self.queue.admissions.remove(&*socket_id);
        self.server.service().decide(index(key), Err(Refusal { message, data }));
    }

    /// Registers a socket that is being admitted, before its answer is sent. False when it is gone.
    #[napi]
    pub fn register(&self, socket_id: String, user_id: String, username: Option<String>) -> bool {
        let Some(user) = self
            .queue
            .admissions
            .get(&*socket_id)
            .map(|entry| entry.value().clone())
        else {
            return false;
        };
        user.identify(Identity::new(&user_id, username.as_deref()));
        self.server.service().register(&user).is_ok()
    }

    /// Registers a socket object of JavaScript's own. False when its id is taken.
    #[napi]
    pub fn register_local(
        &self,
        socket_id: String,
        user_id: String,
        username: Option<String>,
        handshake: String,
    ) -> bool {
        let link = Arc::new(JsSocket::new(self.queue.clone()));
        let service = self.server.service();
        let user = User::new(
            service.next_key(),
            &socket_id,
            link.clone(),
            handshake.into(),
            clock::now_ms(),
        );
        let user = Arc::new(user);
        link.belongs_to(&user);
        user.identify(Identity::new(&user_id, username.as_deref()));
        service.register(&user).is_ok()
    }

    /// A client event of a socket object of JavaScript's own.
    #[napi]
    pub fn local_event(&self, socket_id: String, args: String, attachments: Vec<Buffer>, ack: Option<f64>) {
        if let Some(user) = self.server.service().hub.user(&socket_id) {
            let packet = ClientPacket {
                args: &args,
                attachments: bytes_of(attachments),
                id: ack.map(index),
            };
            // The arguments were encoded by Socket.IO's own parser.
            let _ = self.server.service().client_event(&user, packet);
        }
    }

    /// JavaScript has heard of a connection.
    #[napi]
    pub fn settle(&self, socket_id: String) {
        if let Some(user) = self.socket(&socket_id) {
            self.server.service().introduced(&user);
        }
    }

    /// Adds or removes interest in a client's event; in every event without a name.
    #[napi]
    pub fn hear(&self, socket_id: String, event: Option<String>, wanted: bool) {
        if let Some(user) = self.socket(&socket_id) {
            user.set_interest(|interest| match event {
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

    /// Disconnects a socket for this reason. False when it is not registered.
    #[napi]
    pub fn disconnect(&self, socket_id: String, reason: String, transport: bool) -> bool {
        match self.socket(&socket_id) {
            Some(user) => self.server.service().disconnect(&user, &reason, transport),
            None => false,
        }
    }

    /// Disconnects every socket of a user. Returns how many.
    #[napi]
    pub fn disconnect_user(&self, user_id: String, reason: String) -> f64 {
        self.server.service().disconnect_user(&user_id, &reason) as f64
    }

    /// Disconnects sockets that have been idle for so many milliseconds. Returns how many.
    #[napi]
    pub fn cleanup(&self, idle_ms: f64) -> f64 {
        self.server.service().cleanup(index(idle_ms)) as f64
    }

    /// Total and active connections, rooms, messages and bytes of the last minute, mean latency in milliseconds.
    #[napi]
    pub fn stats(&self) -> Vec<f64> {
        let stats = self.server.service().stats();
        vec![
            stats.total_connections as f64,
            stats.active_connections as f64,
            stats.total_rooms as f64,
            stats.rates.messages as f64,
            stats.rates.bytes as f64,
            stats.avg_latency_ms,
        ]
    }

    // --- rooms ---------------------------------------------------------------------------------------------------

    /// Creates a room: its id and creation time.
    #[napi]
    pub fn create_room(&self, name: String, label: String) -> Vec<Field> {
        let room = self.server.service().create_room(&name, &label);
        let mut fields = Fields::default();
        fields.text(&*room.info.id).integer(room.info.created_at);
        fields.into_vec()
    }

    /// Joins a room; returns an error's message when there is no such socket or room.
    #[napi]
    pub fn join_room(&self, socket_id: String, room_id: String) -> Option<String> {
        let outcome = self.server.service().join_room(&socket_id, &room_id);
        outcome.err().map(|error| error.to_string())
    }

    /// Leaves a room.
    #[napi]
    pub fn leave_room(&self, socket_id: String, room_id: String) {
        self.server.service().leave_room(&socket_id, &room_id);
    }

    /// Deletes a room. False when there was none.
    #[napi]
    pub fn delete_room(&self, room_id: String) -> bool {
        self.server.service().delete_room(&room_id).is_some()
    }

    /// Ids of a room's members, in the order in which they joined.
    #[napi]
    pub fn room_members(&self, room_id: String) -> Vec<String> {
        let room = self.server.service().hub.room(&room_id);
        let members = room.map_or_else(Vec::new, |room| room.state().members.in_order());
        members.iter().map(|user| user.id().to_owned()).collect()
    }

    /// Changes of a room's members since the last call: `+id` joined, `-id` left; after `*`, all members anew.
    #[napi]
    pub fn member_changes(&self, room_id: String) -> Vec<String> {
        let Some(room) = self.server.service().hub.room(&room_id) else {
            return vec!["*".to_owned()];
        };
        let (anew, changes) = room.state().members.take_changes();
        let changes = changes.iter().map(|change| match change {
            Change::Joined(user) => format!("+{}", user.id()),
            Change::Left(user) => format!("-{}", user.id()),
        });
        anew.then(|| "*".to_owned()).into_iter().chain(changes).collect()
    }

    /// Members, messages, creation and last activity; empty for an unknown room.
    #[napi]
    pub fn room_stats(&self, room_id: String) -> Vec<f64> {
        let stats = self.server.service().room_stats(&room_id);
        stats.map_or_else(Vec::new, |stats| {
            vec![
                stats.members as f64,
                stats.messages as f64,
                stats.created_at as f64,
                stats.last_activity as f64,
            ]
        })
    }

    /// A socket joins a registered or plain room.
    #[napi]
    pub fn socket_join(&self, socket_id: String, room: String) -> bool {
        let service = self.server.service();
        self.socket(&socket_id)
            .is_some_and(|user| service.socket_join(&user, &room).is_ok())
    }

    /// A socket leaves a registered or plain room.
    #[napi]
    pub fn socket_leave(&self, socket_id: String, room: String) {
        if let Some(user) = self.socket(&socket_id) {
            self.server.service().socket_leave(&user, &room);
        }
    }

    /// The rooms of a socket, its own id among them.
    #[napi]
    pub fn socket_rooms(&self, socket_id: String) -> Vec<String> {
        let user = self.socket(&socket_id);
        user.map_or_else(Vec::new, |user| self.server.service().socket_rooms(&user))
    }

    // --- messages ------------------------------------------------------------------------------------------------

    /// Stores and sends a message: its position, JSON and attachments; empty for an unknown room.
    #[napi]
    pub fn send_message(
        &self,
        room_id: String,
        user_id: String,
        content: String,
        kind: String,
        metadata: Option<String>,
        attachments: Vec<Buffer>,
    ) -> Vec<Field> {
        let service = self.server.service();
        let message = NewMessage {
            author: &service.author(&user_id),
            content: &content,
            kind: MessageType::parse(&kind).unwrap_or_default(),
            metadata: metadata.as_deref(),
            attachments: bytes_of(attachments),
        };
        let mut fields = Fields::default();
        if let Ok(stored) = service.send_message(&room_id, message) {
            fields.message(&stored);
        }
        fields.into_vec()
    }

    /// A page of history, newest first, behind the position of the oldest kept message.
    #[napi]
    pub fn messages(&self, room_id: String, limit: f64, offset: f64) -> Vec<Field> {
        let service = self.server.service();
        let size = |number: f64| usize::try_from(index(number)).unwrap_or(usize::MAX);
        let page = service.messages(&room_id, size(limit), size(offset));
        let first = service
            .hub
            .room(&room_id)
            .map_or(0, |room| room.state().history.first_seq());
        let mut fields = Fields::default();
        fields.integer(first);
        for message in page {
            fields.message(&message);
        }
        fields.into_vec()
    }

    // --- packets -------------------------------------------------------------------------------------------------

    /// Sends an event to a room. False for an unknown room.
    #[napi]
    pub fn broadcast_to_room(
        &self,
        room_id: String,
        args: String,
        attachments: Vec<Buffer>,
        options: Option<String>,
    ) -> Result<bool> {
        let filter = filter(options.as_deref())?;
        let packet = event(&args, attachments);
        Ok(self
            .server
            .service()
            .broadcast_to_room(&room_id, &packet, &filter)
            .is_ok())
    }

    /// Sends an event to every socket of some users.
    #[napi]
    pub fn broadcast_to_users(&self, user_ids: Vec<String>, args: String, attachments: Vec<Buffer>) {
        let users = user_ids.iter().map(String::as_str);
        self.server
            .service()
            .broadcast_to_users(users, &event(&args, attachments));
    }

    /// Sends an event to everyone.
    #[napi]
    pub fn broadcast_to_all(&self, args: String, attachments: Vec<Buffer>, options: Option<String>) -> Result<()> {
        let filter = filter(options.as_deref())?;
        self.server
            .service()
            .broadcast_to_all(&event(&args, attachments), &filter);
        Ok(())
    }

    /// Sends an event to one socket; with an id, its acknowledgement is awaited. False when it cannot be sent.
    #[napi]
    pub fn emit(
        &self,
        socket_id: String,
        args: String,
        attachments: Vec<Buffer>,
        ack: Option<f64>,
        volatile: bool,
    ) -> bool {
        let Some(user) = self.socket(&socket_id) else {
            return false;
        };
        let ack = ack.map(index);
        if ack.is_some_and(|id| !user.await_ack(id)) {
            return false;
        }
        let packet = Packet::new(PacketKind::Event(ack), &args, bytes_of(attachments));
        self.server.service().send_to(&user, packet, volatile);
        true
    }

    /// Forgets an awaited acknowledgement.
    #[napi]
    pub fn forget_ack(&self, socket_id: String, id: f64) {
        if let Some(user) = self.socket(&socket_id) {
            user.take_ack(index(id));
        }
    }

    /// Acknowledges a client's event.
    #[napi]
    pub fn acknowledge(&self, socket_id: String, id: f64, args: String, attachments: Vec<Buffer>) {
        if let Some(user) = self.socket(&socket_id) {
            let packet = Packet::new(PacketKind::Ack(index(id)), &args, bytes_of(attachments));
            self.server.service().send_to(&user, packet, false);
        }
    }

    /// Sends an event of one socket to the others of some rooms, once to each.
    #[napi]
    pub fn emit_to_rooms(&self, socket_id: String, rooms: Vec<String>, args: String, attachments: Vec<Buffer>) {
        if let Some(user) = self.socket(&socket_id) {
            self.server
                .service()
                .emit_to_rooms(&user, &rooms, &event(&args, attachments));
        }
    }

    /// Whether callers should wait for [`NativeService::flush`] before they send more.
    #[napi]
    pub fn is_congested(&self) -> bool {
        self.server.service().fanout().is_congested()
    }

    /// Reports under this number when everything sent before has been written.
    #[napi]
    pub fn flush(&self, id: f64) {
        let (service, queue) = (self.server.service().clone(), self.queue.clone());
        self.server.runtime().spawn(async move {
            service.fanout().flushed().await;
            queue.push(Item::Done(id));
        });
    }

    /// Shuts down and reports under this number when it is done.
    #[napi]
    pub fn shutdown(&self, id: f64) {
        let (service, queue) = (self.server.service().clone(), self.queue.clone());
        let transport = self.server.opened_transport();
        self.server.runtime().spawn(async move {
            Server::shutdown(service, transport).await;
            queue.push(Item::Done(id));
        });
    }
}

//! The wiring of socketioxide: its service, our adapter, and what it calls when a client connects and goes.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use dashmap::DashMap;
use engineioxide::service::NotFoundService;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use socketioxide::{
    SocketIo, TransportType,
    adapter::{Adapter, Emitter},
    handler::{ConnectHandler, DisconnectHandler},
    service::SocketIoService,
    socket::{DisconnectReason as LibraryReason, Socket},
};
use socketioxide_core::{
    Str, Value,
    adapter::{BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, SocketEmitter},
    packet::{Packet as SocketPacket, PacketData},
};
use tokio::{sync::Notify, task::AbortHandle};
use tower_service::Service as _;

use super::{
    connection::SessionId,
    heartbeat::{self, Hearing},
    session::Session,
};
use crate::{
    disconnect::DisconnectReason,
    link::Ending,
    ports::ServiceEvent,
    service::Service,
    wire::packet::{MAX_ATTACHMENTS, Packet, PacketKind},
};

/// Packets that may wait in a polling client's queue; the byte limit comes first.
const QUEUE_PACKETS: usize = 1 << 20;
/// The library's own bound on CONNECT follows ours after this, so that ours can still answer.
const CONNECT_GRACE: Duration = Duration::from_millis(100);
/// Bytes that the WebSocket layer behind our stream reads at once; it sees only what we pass on.
const READ_BUFFER: usize = 128;
/// Event name of the marker that shows a queue has drained. Not a name that leaves the process.
pub(super) const DRAINED: &str = "\u{0}drained";
/// As [`DRAINED`], of the marker behind which the session ends.
pub(super) const LAST: &str = "\u{0}last";

type Io = SocketIoService<NotFoundService, LocalRooms>;

/// The network side of one service.
pub struct Transport {
    pub(super) service: Arc<Service>,
    pub(super) io: Io,
    pub(super) local: OnceLock<Arc<CoreLocalAdapter<Emitter>>>,
    pub(super) runtime: tokio::runtime::Handle,
    /// Sessions by their secret id.
    pub(super) by_sid: DashMap<SessionId, Weak<Session>>,
    /// All sessions, by their number.
    pub(super) sessions: DashMap<u64, Weak<Session>>,
    pub(super) live: Live,
    /// How many sessions send and receive by way of Node.js.
    pub(super) through_node: AtomicUsize,
    pub(super) hearing: Hearing,
    heartbeats: AbortHandle,
    _handle: SocketIo<LocalRooms>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Transport")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// How many sessions are alive, for shutdown to wait for.
#[derive(Debug, Default)]
pub(super) struct Live {
    count: AtomicUsize,
    changed: Notify,
}

impl Live {
    pub(super) fn enter(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn leave(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    async fn none(&self) {
        loop {
            let changed = self.changed.notified();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }
}

impl Transport {
    /// Builds the network side of a service.
    pub fn new(service: Arc<Service>, runtime: tokio::runtime::Handle) -> Arc<Self> {
        let config = &service.config;
        let slot = AdapterSlot::default();
        let payload = config.max_http_buffer_size;
        let mut builder = SocketIo::builder()
            .req_path(config.path.clone())
            .ping_interval(config.ping_interval)
            .ping_timeout(config.ping_timeout)
            .upgrade_timeout(config.upgrade_timeout)
            .connect_timeout(config.connect_timeout + CONNECT_GRACE)
            .max_buffer_size(QUEUE_PACKETS)
            .max_payload(payload as u64)
            .ws_read_buffer_size(READ_BUFFER)
            .ws_max_message_size(payload)
            .ws_max_frame_size(payload)
            .with_parser(
                socketioxide::ParserConfig::common()
                    .max_incoming_binaries(MAX_ATTACHMENTS)
                    .max_incoming_binary_buf_size(payload),
            );
        if !config.websocket {
            builder = builder.transports([TransportType::Polling]);
        }
        // A polling session may only come to WebSocket by its upgrade, which the gateway decides about.
        let (io, handle) = builder.with_adapter::<LocalRooms>(slot.clone()).build_svc();
        let accept = Accept {
            service: service.clone(),
        };
        handle.ns("/", accept);
        let (ping_interval, ping_timeout) = (config.ping_interval, config.ping_timeout);
        Arc::new_cyclic(|transport| Self {
            heartbeats: runtime
                .spawn(heartbeat::watch(transport.clone(), ping_interval, ping_timeout))
                .abort_handle(),
            service,
            io,
            local: slot.0.get().cloned().map_or_else(OnceLock::new, OnceLock::from),
            runtime,
            by_sid: DashMap::new(),
            sessions: DashMap::new(),
            live: Live::default(),
            through_node: AtomicUsize::new(0),
            hearing: Hearing::default(),
            _handle: handle,
        })
    }

    /// The service behind it.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Resolves when no session is left.
    pub async fn quiet(&self) {
        self.live.none().await;
    }

    /// Closes the sessions without a socket, or all that still live, without ceremony.
    pub fn kill(&self, all: bool) {
        let sessions: Vec<_> = self
            .sessions
            .iter()
            .filter_map(|entry| entry.value().upgrade())
            .collect();
        for session in sessions.into_iter().filter(|session| all || !session.is_leaving()) {
            session.close(DisconnectReason::ServerClosing);
        }
    }

    /// Sends a request to socketioxide, in process.
    pub(super) fn call(&self, request: Request<Full<Bytes>>) -> impl Future<Output = Response<Bytes>> + Send + 'static {
        let response = self.io.clone().call(request);
        async move {
            match response.await {
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    Response::from_parts(parts, bytes)
                }
                Err(error) => {
                    let _: Infallible = error;
                    Response::new(Bytes::new())
                }
            }
        }
    }

    /// A request for the session's long-polling endpoint.
    pub(super) fn poll_request(
        &self,
        method: Method,
        session: &Session,
        body: Bytes,
        content_type: Option<&str>,
    ) -> Option<Request<Full<Bytes>>> {
        let sid = session.sid()?;
        let mut request = Request::builder().method(method).uri(format!(
            "{}/?EIO={}&transport=polling&sid={}",
            self.service.config.path,
            session.protocol_number(),
            sid.as_str()
        ));
        if let Some(content_type) = content_type {
            request = request.header(http::header::CONTENT_TYPE, content_type);
        }
        request.body(Full::new(body)).ok()
    }

    /// Posts packets to socketioxide as if the client had.
    pub(super) async fn post(&self, session: &Session, packets: &str) {
        let body = if session.is_eio3() {
            format!("{}:{packets}", packets.encode_utf16().count())
        } else {
            packets.to_owned()
        };
        if let Some(request) = self.poll_request(Method::POST, session, body.into(), None) {
            self.call(request).await;
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.heartbeats.abort();
    }
}

/// Where the adapter leaves its core for [`PollQueue`].
#[derive(Clone, Default)]
pub(super) struct AdapterSlot(Arc<OnceLock<Arc<CoreLocalAdapter<Emitter>>>>);

/// An adapter whose core is within reach, so that raw packets can be queued synchronously. Its rooms are not used.
pub(super) struct LocalRooms(Arc<CoreLocalAdapter<Emitter>>);

impl CoreAdapter<Emitter> for LocalRooms {
    type Error = Infallible;
    type State = AdapterSlot;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = ();

    fn new(slot: &AdapterSlot, local: CoreLocalAdapter<Emitter>) -> Self {
        let local = Arc::new(local);
        let _ = slot.0.set(local.clone());
        Self(local)
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) -> Self::InitRes {
        on_success();
    }

    async fn broadcast_with_ack(
        &self,
        packet: SocketPacket,
        options: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Self::Error> {
        Ok(self.0.broadcast_with_ack(packet, options, timeout).0)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.0
    }
}

impl DefinedAdapter for LocalRooms {}

/// The queue that socketioxide keeps for one client.
#[derive(Clone)]
pub(super) struct PollQueue {
    transport: Weak<Transport>,
    session: Weak<Session>,
}

impl std::fmt::Debug for PollQueue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PollQueue")
    }
}

impl PollQueue {
    pub(super) fn new(transport: &Arc<Transport>, session: Weak<Session>) -> Self {
        Self {
            transport: Arc::downgrade(transport),
            session,
        }
    }

    /// Queues a packet. False when the session is gone.
    pub(super) fn push(&self, packet: &Packet) -> bool {
        let attachments = (!packet.attachments().is_empty()).then(|| packet.attachments().iter().cloned().collect());
        let args = Value::Str(Str::copy_from_slice(packet.args()), attachments);
        let binary = !packet.attachments().is_empty();
        let inner = match packet.kind() {
            PacketKind::Event(id) if binary => PacketData::BinaryEvent(args, ack_id(id)),
            PacketKind::Event(id) => PacketData::Event(args, ack_id(id)),
            PacketKind::Ack(id) if binary => PacketData::BinaryAck(args, ack_id(Some(id)).unwrap_or(0)),
            PacketKind::Ack(id) => PacketData::EventAck(args, ack_id(Some(id)).unwrap_or(0)),
        };
        self.queue(SocketPacket { inner, ns: "/".into() })
    }

    /// Queues a marker, which [`Session::outgoing`] recognises.
    pub(super) fn push_marker(&self, name: &str) {
        let args = Value::Str(format!("[\"{name}\"]").into(), None);
        self.queue(SocketPacket {
            inner: PacketData::Event(args, None),
            ns: "/".into(),
        });
    }

    /// Ends the socket, or the session, once what is queued has left.
    pub(super) fn end(&self, ending: Ending) {
        let (Some(owner), Some(session)) = (self.transport.upgrade(), self.session.upgrade()) else {
            return;
        };
        if ending != Ending::Leave {
            session.close_after_farewell();
        }
        if ending == Ending::Close {
            self.push_marker(LAST);
        } else if let (Some(local), Some(sid)) = (owner.local.get(), session.sid()) {
            let _ = local.disconnect_socket(BroadcastOptions::new(sid));
        }
    }

    /// Closes the session at once.
    pub(super) fn close(&self) {
        if let Some(session) = self.session.upgrade() {
            session.close_engine();
        }
    }

    /// Tells the application's logger.
    pub(super) fn warn(&self, text: String) {
        if let Some(owner) = self.transport.upgrade() {
            owner.service.sink().emit(ServiceEvent::Warning(text));
        }
    }

    fn queue(&self, packet: SocketPacket) -> bool {
        let (Some(owner), Some(session)) = (self.transport.upgrade(), self.session.upgrade()) else {
            return false;
        };
        match (owner.local.get(), session.sid()) {
            (Some(local), Some(sid)) => local.broadcast(packet, BroadcastOptions::new(sid)).is_ok(),
            _ => false,
        }
    }
}

fn ack_id(id: Option<u64>) -> Option<i64> {
    id.and_then(|id| i64::try_from(id).ok())
}

/// Decides about clients that send CONNECT, and registers those that got their answer.
#[derive(Debug, Clone)]
struct Accept {
    service: Arc<Service>,
}

/// Marks the handlers as ours among those that the library generates for closures.
struct Ours;

type Verdict = Result<(), Box<dyn std::fmt::Display + Send>>;

impl<A: Adapter> ConnectHandler<A, Ours> for Accept {
    fn call(&self, socket: Arc<Socket<A>>, _: Option<Value>) {
        if let Some(session) = session_of(&socket) {
            session.connected(socket.transport_type() == TransportType::Polling);
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
            match session.connect(&self.service, auth).await {
                Ok(()) => Ok(()),
                Err(refusal) => Err(Box::new(refusal) as _),
            }
        })
    }
}

/// Called once when a socket leaves its namespace or its transport ends.
struct Departure;

impl<A: Adapter> DisconnectHandler<A, Ours> for Departure {
    fn call_with_defer(&self, socket: Arc<Socket<A>>, reason: LibraryReason, defer: fn(Arc<Socket<A>>)) {
        // A client's own goodbye was taken where it came in.
        if let Some(session) = session_of(&socket).filter(|_| reason != LibraryReason::ClientNSDisconnect) {
            session.departed(reason_of(reason));
        }
        defer(socket);
    }
}

fn session_of<A: Adapter>(socket: &Socket<A>) -> Option<Arc<Session>> {
    socket.req_parts().extensions.get::<Arc<Session>>().cloned()
}

/// The library's reasons in our words.
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

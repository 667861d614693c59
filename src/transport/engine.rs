//! socketioxide: its service, our adapter, and the requests that we make of it in process. Knows nothing else of ours but
//! the options.

use std::{
    convert::Infallible,
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use engineioxide::service::NotFoundService;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use socketioxide::{SocketIo, TransportType, adapter::Emitter, handler::ConnectHandler, service::SocketIoService};
use socketioxide_core::{
    adapter::{BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, SocketEmitter},
    packet::Packet as SocketPacket,
};
use tower_service::Service as _;

use crate::{config::Config, wire::packet::MAX_ATTACHMENTS};

/// Answers that may wait for a polling client; the byte limit comes first.
const QUEUE_PACKETS: usize = 1 << 20;
/// The library's own bound on CONNECT follows ours after this, so that ours can still answer.
pub(super) const CONNECT_GRACE: Duration = Duration::from_millis(100);
/// Identity of a session in the library, told to no one but its own client's transport.
pub(super) type SessionId = socketioxide::socket::Sid;

/// The library with its sessions, queues and namespaces.
pub(super) struct Engine {
    io: SocketIoService<NotFoundService, LocalRooms>,
    local: Option<Arc<CoreLocalAdapter<Emitter>>>,
    path: String,
    _handle: SocketIo<LocalRooms>,
}

impl Engine {
    /// Builds the library; `accept` decides about clients that send CONNECT to the default namespace.
    pub(super) fn new<C, T>(config: &Config, accept: C) -> Arc<Self>
    where
        C: ConnectHandler<LocalRooms, T>,
        T: Send + Sync + 'static,
    {
        let slot = AdapterSlot::default();
        let payload = config.max_http_buffer_size;
        let mut builder = SocketIo::builder()
            .req_path(config.path.clone())
            .ping_interval(config.ping_interval)
            .ping_timeout(config.ping_timeout)
            .connect_timeout(config.connect_timeout + CONNECT_GRACE)
            .max_buffer_size(QUEUE_PACKETS)
            .max_payload(payload as u64)
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
        handle.ns("/", accept);
        Arc::new(Self {
            io,
            local: slot.0.get().cloned(),
            path: config.path.clone(),
            _handle: handle,
        })
    }

    /// Opens a polling session, whose sockets will know `session`. Returns the body of the answer.
    pub(super) async fn open<S: Clone + Send + Sync + 'static>(&self, eio3: bool, session: S) -> String {
        // Payloads of text, whatever the client can read.
        let b64 = if eio3 { "&b64=1" } else { "" };
        let uri = format!("{}/?EIO={}&transport=polling{b64}", self.path, protocol(eio3));
        match Request::builder().uri(uri).extension(session).body(Full::default()) {
            Ok(request) => String::from_utf8_lossy(self.call(request).await.body()).into_owned(),
            Err(_) => String::new(),
        }
    }

    /// Waits in a polling client's place for what there is for it.
    pub(super) fn poll(
        &self,
        sid: SessionId,
        eio3: bool,
    ) -> Option<impl Future<Output = Response<Bytes>> + Send + 'static> {
        Some(self.call(self.polling_request(Method::GET, sid, eio3, Bytes::new())?))
    }

    /// Posts packets as if a polling client had.
    pub(super) async fn post(&self, sid: SessionId, eio3: bool, packets: &str) {
        let body = if eio3 {
            format!("{}:{packets}", packets.encode_utf16().count())
        } else {
            packets.to_owned()
        };
        if let Some(request) = self.polling_request(Method::POST, sid, eio3, body.into()) {
            self.call(request).await;
        }
    }

    /// Has a client leave its namespace, and told so.
    pub(super) fn disconnect(&self, sid: SessionId) {
        if let Some(local) = &self.local {
            let _ = local.disconnect_socket(BroadcastOptions::new(sid));
        }
    }

    fn polling_request(&self, method: Method, sid: SessionId, eio3: bool, body: Bytes) -> Option<Request<Full<Bytes>>> {
        let uri = format!(
            "{}/?EIO={}&transport=polling&sid={}",
            self.path,
            protocol(eio3),
            sid.as_str()
        );
        Request::builder().method(method).uri(uri).body(Full::new(body)).ok()
    }

    fn call(&self, request: Request<Full<Bytes>>) -> impl Future<Output = Response<Bytes>> + Send + 'static {
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
}

/// The `EIO` parameter.
fn protocol(eio3: bool) -> u8 {
    if eio3 { 3 } else { 4 }
}

/// Where the adapter leaves its core.
#[derive(Clone, Default)]
pub(super) struct AdapterSlot(Arc<OnceLock<Arc<CoreLocalAdapter<Emitter>>>>);

/// An adapter whose core is within reach, so that a socket can be disconnected synchronously. Its rooms are not used.
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

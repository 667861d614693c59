//! A door of our own: a port or a Unix socket on which the service listens beside, or without, an HTTP server of Node.js.
//!
//! HTTP is hyper's. Where a request asks for WebSocket, its connection is taken back from hyper with what was read of it, so
//! that the response leaves with the open packet in one write. Requests for other paths are Node.js's: their connection
//! is handed to it, with the bytes of the request.
//!
//! | part | owns |
//! |---|---|
//! | `listener` | accepting, and the requests of a connection |
//! | `gate` | what of a connection HTTP may see |
//! | `stream` | a connection, bare or over TLS |
//! | `relay` | what goes to Node.js though TLS stays here |

mod gate;
mod relay;
mod stream;

use std::{
    convert::Infallible,
    future::{Future as _, pending, poll_fn},
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming as Body, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
};

use self::{
    gate::{Gate, Gated},
    stream::Stream,
};
use super::{
    cors::Cors,
    gateway::Transport,
    head::{Head, headers_json, text_of},
    reply::{Reply, TEXT},
    tls::{ContextError, Tls, TlsOptions},
    upgrade::Upgrade,
};

/// How long a client may take to shake hands.
const HANDSHAKE_TIME: Duration = Duration::from_secs(60);
/// How long a client may take for the head of a request, and for its body; Node.js's own.
const HEAD_TIME: Duration = Duration::from_secs(60);
const BODY_TIME: Duration = Duration::from_secs(300);
/// Bytes that the head of a request may have, and headers.
const HEAD_BYTES: usize = 32 << 10;
const HEADERS: usize = 512;
/// How long the door waits when the system has no more descriptors.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// How long requests may take to end when the door is closed.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// What the door is to do.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DoorConfig {
    /// An address to listen on, or
    pub address: Option<SocketAddr>,
    /// the path of a Unix socket.
    pub unix: Option<PathBuf>,
    /// Connections that may wait to be accepted.
    pub backlog: i32,
    /// Whether other processes may listen on the same port.
    pub reuse_port: bool,
    /// TLS, if it is to be used.
    tls: Option<TlsOptions>,
    /// What browsers are told about other origins; without it Node.js is asked, which gets every connection.
    cors: Option<Cors>,
    /// Whether Node.js takes connections with requests for other paths; they get 404 otherwise.
    hands_over: bool,
    /// Whether Node.js serves the client's bundle.
    serves_client: bool,
    /// What the session cookie is made of: before the id, and after it.
    cookie: Option<(String, String)>,
}

/// Takes connections that are Node.js's.
pub type HandOver = Arc<dyn Fn(Foreign) + Send + Sync>;

/// A connection that is Node.js's.
#[derive(Debug)]
pub struct Foreign {
    /// It, or one over which its bytes go on.
    pub stream: std::net::TcpStream,
    /// What was read of it.
    pub received: Bytes,
    /// Where its client is.
    pub client: Option<SocketAddr>,
    /// Whether it is over TLS.
    pub is_secure: bool,
}

/// Why a door was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system's reason: the address is in use, or not ours.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The options of TLS are of no use.
    #[error(transparent)]
    Tls(#[from] ContextError),
}

/// Where a door listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A port.
    Ip(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// An open door. Closed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    /// What new connections shake hands by, when they are over TLS.
    tls: Option<Arc<RwLock<Arc<ServerConfig>>>>,
    /// Held by every connection; `true` when the door is closed.
    closing: watch::Sender<bool>,
}

impl Listener {
    /// Opens a door to a transport. Must be called in the runtime.
    ///
    /// # Errors
    ///
    /// Those of the system: the address is in use, or not ours; and those of TLS.
    pub fn open(transport: &Arc<Transport>, config: DoorConfig, hand_over: HandOver) -> Result<Self, OpenError> {
        let (closing, closed) = watch::channel(false);
        let tls = config.tls.as_ref().map(TlsOptions::context).transpose()?;
        let tls = tls.map(|context| Arc::new(RwLock::new(context)));
        let (socket, address) = bind(&config)?;
        let door = Arc::new(Door {
            transport: transport.clone(),
            prefix: format!("{}/", transport.sessions.service.config.path),
            config,
            hand_over,
            tls: tls.clone(),
        });
        tokio::spawn(accept(socket, door, closed));
        Ok(Self { address, tls, closing })
    }

    /// Connections that are accepted from now on shake hands by these options. False when there is no TLS.
    ///
    /// # Errors
    ///
    /// When the options are of no use; the earlier ones stay.
    pub fn set_secure_context(&self, options: &TlsOptions) -> Result<bool, ContextError> {
        let Some(tls) = &self.tls else { return Ok(false) };
        *tls.write() = options.context()?;
        Ok(true)
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Accepts nobody any more, and resolves when the requests that are under way have been answered.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        self.closing.closed().await;
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What accepts connections.
enum Socket {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

fn bind(config: &DoorConfig) -> io::Result<(Socket, Address)> {
    #[cfg(unix)]
    if let Some(path) = &config.unix {
        let listener = tokio::net::UnixListener::bind(path)?;
        return Ok((Socket::Unix(listener), Address::Unix(path.clone())));
    }
    let address = config.address.ok_or(io::ErrorKind::InvalidInput)?;
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    if address.is_ipv6() {
        // As Node.js has it: "::" is every address.
        socket.set_only_v6(false)?;
    }
    #[cfg(unix)]
    {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(config.reuse_port)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(config.backlog)?;
    let listener = tokio::net::TcpListener::from_std(socket.into())?;
    let address = Address::Ip(listener.local_addr()?);
    Ok((Socket::Tcp(listener), address))
}

impl Socket {
    /// The next connection, and the address of its client.
    async fn accept(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                // Fails when the client has gone already.
                let _ = stream.set_nodelay(true);
                Ok((stream, Some(client)))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let descriptor = std::os::fd::OwnedFd::from(stream.into_std()?);
                // Reading, writing and shutting down are the same for both.
                Ok((TcpStream::from_std(descriptor.into())?, None))
            }
        }
    }
}

/// Accepts connections until the door is closed, then gives those that carry requests a while.
async fn accept(socket: Socket, door: Arc<Door>, mut closed: watch::Receiver<bool>) {
    let mut serving = JoinSet::new();
    let following = closed.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => break,
            Some(_) = serving.join_next() => continue,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                serving.spawn(serve(door.clone(), stream, client, following.clone()));
            }
            // Of a client that is gone already there is nothing to say.
            Err(error) if is_of_the_client(&error) => {}
            // Of descriptors there may be more soon.
            Err(error) => {
                tracing::warn!("no connection can be accepted: {error}");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
    drop(socket);
    let ending = async { while serving.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_REQUESTS, ending).await;
}

/// Whether an error is that of one connection that was about to be accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    let of_the_client = [libc::ECONNABORTED, libc::ECONNRESET, libc::EINTR, libc::EPROTO];
    error.raw_os_error().is_some_and(|code| of_the_client.contains(&code))
}

/// What all connections of a door use.
struct Door {
    transport: Arc<Transport>,
    /// The path of the service, with the slash behind it.
    prefix: String,
    config: DoorConfig,
    hand_over: HandOver,
    tls: Option<Arc<RwLock<Arc<ServerConfig>>>>,
}

impl Door {
    /// Shakes hands with a client, where that is to be done.
    async fn secure(&self, stream: TcpStream) -> io::Result<Stream> {
        let Some(tls) = &self.tls else {
            return Ok(Stream::Bare(stream));
        };
        let context = tls.read().clone();
        let shaking = Tls::accept(stream, context);
        let tls = tokio::time::timeout(HANDSHAKE_TIME, shaking).await??;
        Ok(Stream::over_tls(tls))
    }
}

/// What a connection turns out to be for, other than requests of ours.
enum Taken {
    /// WebSocket.
    Upgrade(Upgrade, Head),
    /// Node.js's: the head of the request.
    Foreign(Bytes),
}

/// One connection, while it carries requests.
struct Connection {
    door: Arc<Door>,
    client: Option<SocketAddr>,
    is_secure: bool,
    gate: Gate,
    taken: Mutex<Option<Taken>>,
    is_taken: AtomicBool,
    /// The body of the request has been read to its end.
    has_read: AtomicBool,
}

type Answer = Response<Full<Bytes>>;

async fn serve(door: Arc<Door>, stream: TcpStream, client: Option<SocketAddr>, mut closed: watch::Receiver<bool>) {
    let secured = tokio::select! {
        secured = door.secure(stream) => secured,
        _ = closed.wait_for(|closed| *closed) => return,
    };
    let stream = match secured {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!("a client could not shake hands: {error}"),
    };
    let is_secure = stream.is_secure();
    let (stream, gate) = Gated::new(stream);
    let connection = Arc::new(Connection {
        door,
        client,
        is_secure,
        gate,
        taken: Mutex::default(),
        is_taken: AtomicBool::new(false),
        has_read: AtomicBool::new(false),
    });
    let service = service_fn({
        let connection = connection.clone();
        move |request| {
            let connection = connection.clone();
            Box::pin(async move { Ok::<_, Infallible>(connection.answer(request).await) })
        }
    });
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut closing = Box::pin(async move { drop(closed.wait_for(|closed| *closed).await) });
    let mut is_closing = false;
    let is_over = poll_fn(|context| {
        if !is_closing && closing.as_mut().poll(context).is_ready() {
            is_closing = true;
            Pin::new(&mut http).graceful_shutdown();
        }
        // Everything is written when it is over.
        let is_over = Pin::new(&mut http).poll(context).is_ready();
        match connection.is_taken.load(Ordering::Acquire) {
            true => Poll::Ready(false),
            false if is_over => Poll::Ready(true),
            false => Poll::Pending,
        }
    })
    .await;
    drop(closing);
    let (stream, ahead) = http.into_parts().io.into_inner().into_parts();
    let taken = connection.taken.lock().take();
    match taken {
        Some(Taken::Upgrade(upgrade, head)) if !is_over => {
            let (carrier, incoming) = stream.into_carrier();
            let transport = &connection.door.transport;
            transport.attach(upgrade, head, carrier, incoming, &ahead);
        }
        Some(Taken::Foreign(head)) if !is_over => {
            if let Ok(stream) = stream.into_descriptor() {
                (connection.door.hand_over)(Foreign {
                    stream,
                    received: [head, ahead.freeze()].concat().into(),
                    client,
                    is_secure,
                });
            }
        }
        // Boxed: every connection would keep room for its buffer.
        _ => Box::pin(close(stream)).await,
    }
}

/// Closes a connection whose last answer is on its way: a client that still sends would otherwise lose it.
async fn close(mut stream: Stream) {
    let drained = async {
        let mut left = [0; 4096];
        if stream.shutdown().await.is_ok() {
            while stream.read(&mut left).await.is_ok_and(|length| length > 0) {}
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), drained).await;
}

impl Connection {
    async fn answer(self: Arc<Self>, request: Request<Body>) -> Answer {
        let headers = request.headers();
        let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
        let has_body = is_chunked || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
        let mut answer = self.answer_one(request).await;
        let has_read = self.has_read.swap(false, Ordering::AcqRel);
        if is_chunked || (has_body && !has_read) {
            // What follows is still the body, or has passed with it, and nobody has looked at its head.
            answer
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        } else {
            self.gate.next();
        }
        answer
    }

    async fn answer_one(&self, request: Request<Body>) -> Answer {
        let door = &self.door;
        // Without an end as HTTP has it, hyper has taken something else for one.
        let Some(head) = self.gate.head().filter(|head| is_fit(&request, head)) else {
            return closing(StatusCode::BAD_REQUEST, String::new());
        };
        let is_ours = request.uri().path().starts_with(&door.prefix);
        let bundles = door.config.serves_client && request.uri().path().contains("/socket.io.");
        let Some(cors) = door.config.cors.as_ref().filter(|_| is_ours && !bundles) else {
            if is_ours || door.config.hands_over {
                return self.take(Taken::Foreign(head)).await;
            }
            return plain(StatusCode::NOT_FOUND, "");
        };
        if door.transport.sessions.service.config.websocket && asks_for_websocket(&request) {
            return match self.upgrade(cors, &request) {
                Ok(taken) => self.take(taken).await,
                Err(message) => closing(StatusCode::BAD_REQUEST, message),
            };
        }
        let (status, headers) = match *request.method() {
            Method::OPTIONS => cors.preflight(request.headers()),
            _ => (None, cors.headers(request.headers())),
        };
        if let Some(status) = status {
            let mut answer = plain(StatusCode::from_u16(status).unwrap_or(StatusCode::NO_CONTENT), "");
            *answer.headers_mut() = headers;
            return answer;
        }
        drop(head);
        let mut answer = self.respond(request).await;
        answer.headers_mut().extend(headers);
        answer
    }

    /// Gives up the connection: hyper is not asked for anything any more.
    async fn take(&self, taken: Taken) -> Answer {
        *self.taken.lock() = Some(taken);
        self.is_taken.store(true, Ordering::Release);
        pending().await
    }

    fn upgrade(&self, cors: &Cors, request: &Request<Body>) -> Result<Taken, String> {
        if !cors.admits_upgrade(request.headers(), self.is_secure) {
            return Err("Forbidden".to_owned());
        }
        let (url, headers) = (url_of(request), headers_json(request.headers()));
        let upgrade = self.door.transport.upgrade(request.method().as_str(), &url, &headers);
        let upgrade = upgrade.map_err(|reply| reply.message())?;
        Ok(Taken::Upgrade(upgrade, self.head(&url, &headers)))
    }

    fn head(&self, url: &str, headers: &str) -> Head {
        let address = self.client.map_or_else(String::new, |client| client.ip().to_string());
        Head::new(url, headers, &address, self.is_secure)
    }

    /// Answers a request of a client that polls.
    async fn respond(&self, request: Request<Body>) -> Answer {
        let transport = &self.door.transport;
        let (method, url) = (request.method().as_str().to_owned(), url_of(&request));
        let is_handshake = match transport.check(&method, &url, false) {
            Ok(is_handshake) => is_handshake,
            Err(reply) => return self.put(reply),
        };
        let head = is_handshake.then(|| self.head(&url, &headers_json(request.headers())));
        let content_type = request.headers().get(header::CONTENT_TYPE).map(text_of);
        let length = length_of(request.headers());
        // The head goes, and with it the buffer that it is in: a poll may be open for long.
        let body = request.into_body();
        // A client that goes away takes its request with it.
        let abandons = Abandons(transport, &method, &url);
        let mut bytes = Bytes::new();
        if method == "POST" {
            self.gate.open(length);
            let limit = transport.sessions.service.config.max_http_buffer_size;
            // Boxed: a poll has none, and would keep room for it.
            let reading = Box::pin(tokio::time::timeout(BODY_TIME, read(body, limit)));
            bytes = match reading.await {
                Ok(Ok(bytes)) => bytes,
                Ok(Err(Unread::TooLarge)) => {
                    std::mem::forget(abandons);
                    transport.refuse_oversized(&method, &url);
                    return closing(StatusCode::PAYLOAD_TOO_LARGE, String::new());
                }
                Ok(Err(Unread::Broken)) => return closing(StatusCode::BAD_REQUEST, String::new()),
                Err(_) => return closing(StatusCode::REQUEST_TIMEOUT, String::new()),
            };
            self.has_read.store(true, Ordering::Release);
        } else {
            drop(body);
        }
        let body = bytes;
        let reply = transport.clone().respond(&method, &url, head, content_type, body).await;
        std::mem::forget(abandons);
        self.put(reply)
    }

    fn put(&self, reply: Reply) -> Answer {
        let mut answer = plain(StatusCode::from_u16(reply.status).unwrap_or_default(), reply.body);
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
        if reply.status == 200 {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if let (Some(sid), Some((before, after))) = (reply.sid, &self.door.config.cookie)
            && let Ok(cookie) = HeaderValue::from_str(&format!("{before}{sid}{after}"))
        {
            headers.insert(header::SET_COOKIE, cookie);
        }
        answer
    }
}

/// The bytes of a body that is not in chunks.
fn length_of(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    let length = headers.get(header::CONTENT_LENGTH);
    Some(
        length
            .and_then(|length| length.to_str().ok()?.parse().ok())
            .unwrap_or(0),
    )
}

/// Why a body was not read.
enum Unread {
    TooLarge,
    Broken,
}

/// Reads a body. Copied together: each piece, however small, keeps a whole buffer of hyper's.
async fn read(mut body: Body, limit: usize) -> Result<Bytes, Unread> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
            continue;
        };
        if data.len() > limit - bytes.len() {
            return Err(Unread::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// Tells the transport that a request was given up, unless it is forgotten.
struct Abandons<'a>(&'a Arc<Transport>, &'a str, &'a str);

impl Drop for Abandons<'_> {
    fn drop(&mut self) {
        self.0.abandon(self.1, self.2);
    }
}

/// Whether a request is one that Node.js takes: hyper takes some without `Host`, and those whose length is said in two ways;
/// nor is a request to another server for us.
fn is_fit(request: &Request<Body>, head: &[u8]) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let has_host = match request.version() {
        Version::HTTP_11 => hosts == 1,
        Version::HTTP_10 => hosts <= 1,
        _ => false,
    };
    let names_server = request.uri().scheme().is_some() || request.method() == Method::CONNECT;
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    // Of two lengths, hyper has dropped one.
    has_host && !names_server && !(is_chunked && says_length(head))
}

/// Whether a head says how long its body is.
fn says_length(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n').any(|line| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        name.trim_ascii()
            .eq_ignore_ascii_case(header::CONTENT_LENGTH.as_str().as_bytes())
    })
}

/// Whether a request is to become a WebSocket (RFC 6455, section 4.2.1).
fn asks_for_websocket(request: &Request<Body>) -> bool {
    let lists = |name: header::HeaderName, token: &str| {
        let values = request.headers().get_all(name);
        let mut tokens = values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        tokens.any(|each| each.trim().eq_ignore_ascii_case(token))
    };
    lists(header::CONNECTION, "upgrade") && lists(header::UPGRADE, "websocket")
}

/// The target of a request as it was sent.
fn url_of(request: &Request<Body>) -> String {
    request
        .uri()
        .path_and_query()
        .map_or_else(|| request.uri().path().to_owned(), |target| target.as_str().to_owned())
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
}

/// An answer after which the connection is closed.
fn closing(status: StatusCode, message: String) -> Answer {
    let mut answer = plain(status, message);
    let headers: &mut HeaderMap = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    answer
}

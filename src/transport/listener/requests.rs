//! The requests of a connection, and their answers: what a client that polls wants, and what the connection is for otherwise.

use std::{
    convert::Infallible,
    future::{Future as _, pending, poll_fn},
    net::SocketAddr,
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
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
};

use super::{
    door::{Door, Foreign},
    gate::{Gate, Gated},
    stream::Stream,
};
use crate::{
    config::{Limit, LimitsConfig},
    transport::{
        cors::Cors,
        entrance::Caller,
        gateway::Transport,
        head::{headers_json, text_of},
        reply::{Reply, TEXT},
        upgrade::Upgrade,
    },
};

/// Headers that a request may have.
const HEADERS: usize = 512;
/// What hyper reads into needs so many bytes at least.
const LEAST_HEAD: usize = 8 << 10;
/// What balancers ask for, behind the path of the service.
const HEALTH: &str = "health";
/// Seconds after which one who was refused may come again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// What a connection turns out to be for, other than requests of ours.
enum Taken {
    /// WebSocket.
    Upgrade(Upgrade),
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

/// Serves a connection until it ends, or is found to be for something else.
pub(super) async fn serve(
    door: Arc<Door>,
    stream: TcpStream,
    client: Option<SocketAddr>,
    mut closed: watch::Receiver<bool>,
) {
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
    let limits = connection.limits();
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers_timeout)
        .max_buf_size(limits.max_header_bytes.max(LEAST_HEAD))
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
        Some(Taken::Upgrade(upgrade)) if !is_over => {
            let (carrier, incoming) = stream.into_carrier();
            let transport = &connection.door.transport;
            transport.attach(upgrade, carrier, incoming, &ahead);
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
        if is_ours && self.asks_for_health(&request) {
            return self.put(door.transport.health());
        }
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
                Err((status, message)) => closing(StatusCode::from_u16(status).unwrap_or_default(), message),
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

    fn asks_for_health(&self, request: &Request<Body>) -> bool {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        is_read && request.uri().path().strip_prefix(&self.door.prefix) == Some(HEALTH)
    }

    /// Gives up the connection: hyper is not asked for anything any more.
    async fn take(&self, taken: Taken) -> Answer {
        *self.taken.lock() = Some(taken);
        self.is_taken.store(true, Ordering::Release);
        pending().await
    }

    /// An error is the status and the text of an answer.
    fn upgrade(&self, cors: &Cors, request: &Request<Body>) -> Result<Taken, (u16, String)> {
        if !cors.admits_upgrade(request.headers(), self.is_secure) {
            return Err((400, "Forbidden".to_owned()));
        }
        let (method, caller) = (request.method().as_str(), self.caller(request));
        let upgrade = self.door.transport.upgrade(method, &url_of(request), &caller);
        upgrade
            .map(Taken::Upgrade)
            .map_err(|reply| (reply.refused_upgrade(), reply.message()))
    }

    fn caller(&self, request: &Request<Body>) -> Caller {
        Caller {
            headers: headers_json(request.headers()),
            address: self.client.map_or_else(String::new, |client| client.ip().to_string()),
            is_secure: self.is_secure,
            is_counted: false,
        }
    }

    fn limits(&self) -> &LimitsConfig {
        &self.door.transport.sessions.service.config.limits
    }

    /// Answers a request of a client that polls.
    async fn respond(&self, request: Request<Body>) -> Answer {
        let transport = &self.door.transport;
        let (method, url) = (request.method().as_str().to_owned(), url_of(&request));
        let is_handshake = match transport.check(&method, &url, false) {
            Ok(is_handshake) => is_handshake,
            Err(reply) => return self.put(reply),
        };
        let caller = is_handshake.then(|| self.caller(&request));
        let content_type = request.headers().get(header::CONTENT_TYPE).map(text_of);
        let length = length_of(request.headers());
        // The head goes, and with it the buffer that it is in: a poll may be open for long.
        let body = request.into_body();
        // A client that goes away takes its request with it.
        let abandons = Abandons(transport, &method, &url);
        let mut bytes = Bytes::new();
        if method == "POST" {
            if let Err(reply) = transport.begin_post(&url) {
                std::mem::forget(abandons);
                return self.put(reply);
            }
            self.gate.open(length);
            let limit = transport.sessions.service.config.max_http_buffer_size;
            // Boxed: a poll has none, and would keep room for it.
            let reading = Box::pin(tokio::time::timeout(self.limits().body_timeout, read(body, limit)));
            bytes = match reading.await {
                Ok(Ok(bytes)) => bytes,
                Ok(Err(Unread::TooLarge)) => {
                    std::mem::forget(abandons);
                    transport.refuse_oversized(&method, &url);
                    return closing(StatusCode::PAYLOAD_TOO_LARGE, String::new());
                }
                Ok(Err(Unread::Broken)) => return closing(StatusCode::BAD_REQUEST, String::new()),
                Err(_) => {
                    transport.exceeded(Limit::BodyTimeoutMs);
                    return closing(StatusCode::REQUEST_TIMEOUT, String::new());
                }
            };
            self.has_read.store(true, Ordering::Release);
        } else {
            drop(body);
        }
        let body = bytes;
        let reply = transport
            .clone()
            .respond(&method, &url, caller, content_type, body)
            .await;
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
        may_come_again(&mut answer);
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
    let has_two_lengths = is_chunked && says_length(head);
    has_host && !(names_server || has_two_lengths || has_bare_line_feed(head))
}

/// Whether a line of a head ends as HTTP does not have it: hyper takes it for an end, and what follows for another request.
fn has_bare_line_feed(head: &[u8]) -> bool {
    let mut feeds = memchr::memchr_iter(b'\n', head);
    feeds.any(|at| at.checked_sub(1).and_then(|before| head.get(before)) != Some(&b'\r'))
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
    may_come_again(&mut answer);
    answer
}

/// Says when one who was refused because there are too many may come again.
fn may_come_again(answer: &mut Answer) {
    if matches!(
        answer.status(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        answer.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
}

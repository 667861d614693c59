//! The HTTP side that Node.js has in production: requests go to the gateway, upgrades hand their stream over.

use std::{
    io,
    sync::{Arc, OnceLock, Weak},
};

use bytes::{Buf as _, Bytes, BytesMut};
use native_websocket_service::transport::{ByteSink, Caller, Carrier, Connection, Incoming, Reply, Transport, Upgrade};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Asks the front to read and write the stream itself, as for TLS.
pub const BRIDGE: &str = "x-bridge";
/// Chunks that may wait for the reader of a bridged stream.
const CHUNKS: usize = 256;

struct Request {
    method: String,
    url: String,
    headers: serde_json::Map<String, serde_json::Value>,
    body: Bytes,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(serde_json::Value::as_str)
    }

    fn headers_json(&self) -> String {
        serde_json::Value::from(self.headers.clone()).to_string()
    }

    fn caller(&self) -> Caller {
        Caller {
            headers: self.headers_json(),
            address: "127.0.0.1".to_owned(),
            ..Caller::default()
        }
    }
}

pub async fn accept(listener: std::net::TcpListener, transport: Arc<Transport>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        tokio::spawn(serve(stream, transport.clone()));
    }
}

async fn serve(mut stream: TcpStream, transport: Arc<Transport>) -> io::Result<()> {
    let mut received = BytesMut::new();
    while let Some(request) = read_request(&mut stream, &mut received).await? {
        if request.header("upgrade").is_some() {
            match check(&transport, &request) {
                Ok(upgrade) => hand_over(&transport, upgrade, &request, stream, &received),
                Err(reply) => write_reply(&mut stream, reply).await?,
            }
            return Ok(());
        }
        let content_type = request.header("content-type").map(str::to_owned);
        if request.method == "POST"
            && let Err(reply) = transport.begin_post(&request.url)
        {
            write_reply(&mut stream, reply).await?;
            continue;
        }
        let (caller, body) = (Some(request.caller()), request.body.clone());
        let respond = transport
            .clone()
            .respond(&request.method, &request.url, caller, content_type, body);
        let reply = tokio::select! {
            reply = respond => reply,
            // A client that goes away drops its request.
            () = gone(&stream) => return Ok(()),
        };
        write_reply(&mut stream, reply).await?;
    }
    Ok(())
}

async fn gone(stream: &TcpStream) {
    match stream.peek(&mut [0]).await {
        Ok(0) | Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
}

async fn read_request(stream: &mut TcpStream, received: &mut BytesMut) -> io::Result<Option<Request>> {
    loop {
        if let Some((mut request, length)) = parse(received) {
            let body = request
                .header("content-length")
                .map_or(0, |length| length.parse().unwrap());
            if received.len() >= length + body {
                received.advance(length);
                request.body = received.split_to(body).freeze();
                return Ok(Some(request));
            }
        }
        if stream.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
}

fn parse(received: &[u8]) -> Option<(Request, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(received).unwrap() else {
        return None;
    };
    let headers = parsed.headers.iter().map(|header| {
        let value = String::from_utf8_lossy(header.value).into_owned();
        (header.name.to_ascii_lowercase(), value.into())
    });
    let request = Request {
        headers: headers.collect(),
        method: parsed.method.unwrap().to_owned(),
        url: parsed.path.unwrap().to_owned(),
        body: Bytes::new(),
    };
    Some((request, length))
}

async fn write_reply(stream: &mut TcpStream, reply: Reply) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {} Status\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        reply.status,
        reply.content_type,
        reply.body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&reply.body).await
}

fn check(transport: &Transport, request: &Request) -> Result<Upgrade, Reply> {
    transport.upgrade(&request.method, &request.url, &request.caller())
}

fn hand_over(transport: &Arc<Transport>, upgrade: Upgrade, request: &Request, stream: TcpStream, received: &[u8]) {
    if request.header(BRIDGE).is_some() {
        return bridge(transport, upgrade, stream, received);
    }
    let stream = Arc::new(stream);
    let (carrier, source) = (Carrier::Tcp(stream.clone().into()), Incoming::Tcp(stream));
    transport.attach(upgrade, carrier, source, received);
}

enum Command {
    Write(Bytes),
    End,
    Destroy,
}

/// The writing side of a stream that the test reads and writes, as JavaScript does for TLS.
struct Bridged(mpsc::UnboundedSender<Command>);

impl ByteSink for Bridged {
    fn write(&self, bytes: Bytes) {
        let _ = self.0.send(Command::Write(bytes));
    }

    fn end(&self) {
        let _ = self.0.send(Command::End);
    }

    fn destroy(&self) {
        let _ = self.0.send(Command::Destroy);
    }
}

fn bridge(transport: &Arc<Transport>, upgrade: Upgrade, stream: TcpStream, received: &[u8]) {
    let (commands, mut todo) = mpsc::unbounded_channel();
    let (chunks, incoming) = mpsc::channel(CHUNKS);
    let owner: Arc<OnceLock<Weak<Connection>>> = Arc::default();
    let (mut reader, mut writer) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut chunk = vec![0; 4096];
        while let Ok(length @ 1..) = reader.read(&mut chunk).await {
            if chunks.send(Bytes::copy_from_slice(&chunk[..length])).await.is_err() {
                return;
            }
        }
    });
    let written = owner.clone();
    tokio::spawn(async move {
        while let Some(command) = todo.recv().await {
            let outcome = match command {
                Command::Write(bytes) => {
                    let outcome = writer.write_all(&bytes).await;
                    if let Some(connection) = written.get().and_then(Weak::upgrade) {
                        connection.written(bytes.len());
                    }
                    outcome
                }
                Command::End => writer.shutdown().await,
                Command::Destroy => break,
            };
            if outcome.is_err() {
                break;
            }
        }
        reading.abort();
    });
    let carrier = Carrier::Bridge(Arc::new(Bridged(commands)));
    let connection = transport.attach(upgrade, carrier, Incoming::Bridge(incoming), received);
    let _ = owner.set(Arc::downgrade(&connection));
}

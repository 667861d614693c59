//! One long-polling connection: handshake, CONNECT and join by requests, then one GET after the other. As in a browser,
//! GET and POST have a kept-alive HTTP connection each, opened again when the server has closed it. Counts nothing itself.

use crate::{
    chat::{self, Packet},
    heartbeat::{Handshake, Heartbeat},
};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, header::CONTENT_TYPE};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{cell::Cell, time::Duration};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// Separates the packets of a payload (Engine.IO 4, "HTTP long-polling").
const SEPARATOR: char = '\x1e';

/// Packets that one POST takes at most.
const PACKETS_PER_POST: usize = 64;

/// How long a connection is kept without a request. Node.js closes after 5 s and tells so; its agents stay a second
/// below.
const IDLE_LIMIT: Duration = Duration::from_secs(4);

/// The sending half.
pub struct Sender {
    outbox: UnboundedSender<String>,
    pub heartbeat: Heartbeat,
}

impl Sender {
    /// Hands the packet to the next POST.
    pub fn send(&self, packet: &str) -> Result<()> {
        self.outbox.send(packet.to_owned()).context("the POST failed")
    }

    fn pong(&self) -> Result<()> {
        self.heartbeat.beat();
        self.send(chat::PONG)
    }
}

/// The receiving half.
pub struct Receiver {
    http: Http,
}

/// Connects to the server's default namespace and joins `room`; resolves when the server has acknowledged it all.
pub async fn open(port: u16, username: &str, room: Option<&str>) -> Result<(Sender, Receiver)> {
    let mut http = Http::new(format!(
        "http://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling&username={username}"
    ));
    let payload = http.get().await?;
    let Packet::Open(data) = Packet::parse(&payload) else {
        bail!("no handshake: {}", String::from_utf8_lossy(&payload))
    };
    let handshake = Handshake::parse(data)?;
    http.url = format!("{}&sid={}", http.url, handshake.sid);
    let (outbox, waiting) = mpsc::unbounded_channel();
    let posts = http.clone();
    tokio::task::spawn_local(async move {
        if let Err(error) = post_all(posts, waiting).await {
            eprintln!("POST failed: {error:#}");
        }
    });
    let sender = Sender {
        outbox,
        heartbeat: Heartbeat::default(),
    };
    sender.heartbeat.begin(&handshake);
    let mut receiver = Receiver { http };
    sender.send(chat::CONNECT)?;
    receiver
        .wait_for(&sender, |packet| matches!(packet, Packet::Connected(_)))
        .await?;
    if let Some(room) = room {
        sender.send(&chat::join(room))?;
        receiver
            .wait_for(&sender, |packet| matches!(packet, Packet::Ack(_)))
            .await?;
    }
    Ok((sender, receiver))
}

impl Receiver {
    /// Polls until the connection ends, answers heartbeats and passes on every event.
    pub async fn run(&mut self, sender: &Sender, mut on_event: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        loop {
            self.poll(sender, |packet| match packet {
                Packet::Event(event) => on_event(event),
                _ => Ok(()),
            })
            .await?;
        }
    }

    async fn wait_for(&mut self, sender: &Sender, wanted: impl Fn(&Packet<'_>) -> bool) -> Result<()> {
        let found = Cell::new(false);
        while !found.get() {
            self.poll(sender, |packet| {
                found.set(found.get() || wanted(packet));
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// One GET.
    async fn poll(&mut self, sender: &Sender, mut visit: impl FnMut(&Packet<'_>) -> Result<()>) -> Result<()> {
        let payload = self.http.get().await?;
        for packet in payload.split(|byte| char::from(*byte) == SEPARATOR) {
            match Packet::parse(packet) {
                Packet::Ping => sender.pong()?,
                Packet::Refused => bail!("disconnected by the server: {}", String::from_utf8_lossy(packet)),
                packet => visit(&packet)?,
            }
        }
        Ok(())
    }
}

/// Sends what waits, in order, everything that waits at the same moment in one request.
async fn post_all(http: Http, mut waiting: UnboundedReceiver<String>) -> Result<()> {
    let mut packets = Vec::new();
    while waiting.recv_many(&mut packets, PACKETS_PER_POST).await > 0 {
        let payload = packets.join(SEPARATOR.encode_utf8(&mut [0; 4]));
        packets.clear();
        let answer = http.post(payload).await?;
        ensure!(answer == "ok", "answered {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// Requests of one client, always for the same URL.
#[derive(Clone)]
struct Http {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Http {
    fn new(url: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .build(connector);
        Self { url, client }
    }

    async fn get(&self) -> Result<Bytes> {
        self.exchange(Request::get(&self.url).body(Full::default())?).await
    }

    async fn post(&self, payload: String) -> Result<Bytes> {
        let request = Request::post(&self.url).header(CONTENT_TYPE, "text/plain;charset=UTF-8");
        self.exchange(request.body(payload.into())?).await
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes> {
        let response = self.client.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status == StatusCode::OK, "{status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

//! Minimal clients of Engine.IO 4 and Socket.IO 5, over raw WebSocket and over long-polling.

use std::{collections::VecDeque, net::SocketAddr};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

use super::{TestServer, front::BRIDGE, within};

/// A client on WebSocket.
pub struct Ws {
    pub stream: WebSocketStream<TcpStream>,
    /// Whether heartbeats are answered.
    pub answers: bool,
    /// Heartbeats received.
    pub pings: usize,
}

impl Ws {
    /// Opens a stream: for a new session, or for the upgrade of one that polls. The server takes one upgrade of a
    /// session at a time and closes another's stream, so this may need several attempts until the one before is over.
    pub async fn open(address: SocketAddr, sid: Option<&str>, bridged: bool) -> Self {
        within("an open stream", async {
            loop {
                let tcp = TcpStream::connect(address).await.unwrap();
                match Self::over(tcp, sid, bridged).await {
                    Ok(ws) => return ws,
                    Err(error) => assert!(sid.is_some(), "{error}"),
                }
            }
        })
        .await
    }

    /// A new session whose request has these parameters as well: `&name=value`.
    pub async fn asking(address: SocketAddr, parameters: &str) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let ws = Self::request(tcp, parameters, false).await;
        Self::handshake_over(ws.unwrap()).await
    }

    async fn over(tcp: TcpStream, sid: Option<&str>, bridged: bool) -> Result<Self, Error> {
        let sid = sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
        Self::request(tcp, &sid, bridged).await
    }

    async fn request(tcp: TcpStream, parameters: &str, bridged: bool) -> Result<Self, Error> {
        tcp.set_nodelay(true).unwrap();
        let url = format!(
            "ws://{}/socket.io/?EIO=4&transport=websocket{parameters}",
            tcp.peer_addr().unwrap()
        );
        let mut request = url.into_client_request().unwrap();
        if bridged {
            request.headers_mut().insert(BRIDGE, "1".parse().unwrap());
        }
        let (stream, _) = client_async(request, tcp).await?;
        Ok(Self {
            stream,
            answers: true,
            pings: 0,
        })
    }

    /// A new session; its open packet has come.
    pub async fn handshake(address: SocketAddr) -> Self {
        Self::handshake_over(Self::open(address, None, false).await).await
    }

    /// A new session whose stream the front reads and writes.
    pub async fn bridged(address: SocketAddr) -> Self {
        Self::handshake_over(Self::open(address, None, true).await).await
    }

    /// A new session of a client that takes few bytes which it does not read.
    pub async fn narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let tcp = within("a connection", socket.connect(address)).await.unwrap();
        Self::handshake_over(Self::over(tcp, None, false).await.unwrap()).await
    }

    async fn handshake_over(mut ws: Self) -> Self {
        let open = ws.packet().await.expect("an open packet");
        assert!(open.starts_with("0{\"sid\":\""), "{open}");
        ws
    }

    pub async fn send(&mut self, text: impl Into<String>) {
        within("a write", self.stream.send(Message::text(text.into())))
            .await
            .unwrap();
    }

    pub async fn send_binary(&mut self, data: &[u8]) {
        within("a write", self.stream.send(Message::binary(data.to_vec())))
            .await
            .unwrap();
    }

    /// The next message; `None` when the server closed the stream. Answers heartbeats.
    pub async fn message(&mut self) -> Option<Message> {
        loop {
            match within("a message", self.stream.next()).await {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => {
                    self.pings += 1;
                    if self.answers {
                        self.send("3").await;
                    }
                }
                Some(Ok(Message::Text(text))) if text.as_str() == "1" => return None,
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => return Some(message),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next text packet; `None` when the server closed the stream.
    pub async fn packet(&mut self) -> Option<String> {
        self.message()
            .await
            .map(|message| message.into_text().unwrap().to_string())
    }

    /// Waits until the server closes the stream; what comes until then.
    pub async fn rest(&mut self) -> Vec<String> {
        let mut packets = Vec::new();
        while let Some(packet) = self.packet().await {
            packets.push(packet);
        }
        packets
    }
}

/// A client on long-polling.
#[derive(Clone)]
pub struct Polling {
    pub address: SocketAddr,
    pub sid: String,
    received: VecDeque<String>,
}

impl Polling {
    /// A new session; its open packet has come.
    pub async fn handshake(address: SocketAddr) -> Self {
        let (status, body) = request(address, "GET", "", "").await;
        assert_eq!(status, 200, "{body}");
        let open: Value = serde_json::from_str(body.strip_prefix('0').unwrap()).unwrap();
        Self {
            address,
            sid: open["sid"].as_str().unwrap().to_owned(),
            received: VecDeque::new(),
        }
    }

    /// One poll: status and body.
    pub async fn get(&self) -> (u16, String) {
        request(self.address, "GET", &self.sid, "").await
    }

    /// A packet that a poll brought together with others.
    pub fn take_received(&mut self) -> Option<String> {
        self.received.pop_front()
    }

    /// Posts packets: status and body.
    pub async fn post(&self, payload: &str) -> (u16, String) {
        request(self.address, "POST", &self.sid, payload).await
    }

    pub async fn send(&self, packet: &str) {
        assert_eq!(self.post(packet).await, (200, "ok".to_owned()));
    }

    /// The next packet; `None` when the session has ended. Answers heartbeats.
    pub async fn packet(&mut self) -> Option<String> {
        loop {
            match self.received.pop_front().as_deref() {
                Some("2") => self.send("3").await,
                Some("6") => {}
                Some("1") => return None,
                Some(packet) => return Some(packet.to_owned()),
                None => {
                    let (status, body) = self.get().await;
                    if status != 200 {
                        return None;
                    }
                    self.received.extend(body.split('\u{1e}').map(str::to_owned));
                }
            }
        }
    }
}

/// Either client, connected to the default namespace.
pub enum Client {
    Ws(Box<Ws>),
    Polling(Polling),
}

impl Client {
    pub async fn ws(address: SocketAddr) -> (Self, String) {
        let mut client = Self::Ws(Box::new(Ws::handshake(address).await));
        let id = client.connect().await;
        (client, id)
    }

    pub async fn bridged(address: SocketAddr) -> (Self, String) {
        let mut client = Self::Ws(Box::new(Ws::bridged(address).await));
        let id = client.connect().await;
        (client, id)
    }

    pub async fn polling(address: SocketAddr) -> (Self, String) {
        let mut client = Self::Polling(Polling::handshake(address).await);
        let id = client.connect().await;
        (client, id)
    }

    /// One client of each kind.
    pub async fn each(address: SocketAddr) -> [(Self, String); 3] {
        [
            Self::ws(address).await,
            Self::bridged(address).await,
            Self::polling(address).await,
        ]
    }

    /// Sends CONNECT; the socket's id.
    pub async fn connect(&mut self) -> String {
        self.send("40").await;
        let answer = self.packet().await.expect("an answer to CONNECT");
        let body = answer.strip_prefix("40").unwrap_or_else(|| panic!("refused: {answer}"));
        let body: Value = serde_json::from_str(body).unwrap();
        body["sid"].as_str().unwrap().to_owned()
    }

    pub async fn send(&mut self, packet: &str) {
        match self {
            Self::Ws(ws) => ws.send(packet).await,
            Self::Polling(polling) => polling.send(packet).await,
        }
    }

    /// The next packet; `None` when the session has ended.
    pub async fn packet(&mut self) -> Option<String> {
        match self {
            Self::Ws(ws) => ws.packet().await,
            Self::Polling(polling) => polling.packet().await,
        }
    }

    /// The arguments of the next event, which must be of this name.
    pub async fn event(&mut self, name: &str) -> Value {
        let packet = self
            .packet()
            .await
            .unwrap_or_else(|| panic!("closed instead of {name}"));
        let args = packet
            .strip_prefix("42")
            .unwrap_or_else(|| panic!("{packet} instead of {name}"));
        let args: Value = serde_json::from_str(args).unwrap();
        assert_eq!(args[0], name, "{packet}");
        args[1].clone()
    }

    /// Sends an event and waits for its acknowledgement, which must be the next packet of its kind.
    pub async fn ask(&mut self, id: u64, args: &str) -> Value {
        self.send(&format!("42{id}{args}")).await;
        let prefix = format!("43{id}[");
        loop {
            let packet = self.packet().await.expect("an acknowledgement");
            if let Some(body) = packet.strip_prefix(&prefix) {
                return serde_json::from_str(body.strip_suffix(']').unwrap()).unwrap();
            }
        }
    }

    /// Reads `["n", …]` events until the session ends or `42["end"]` comes.
    pub async fn numbers(&mut self) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some(packet) = self.packet().await.filter(|packet| packet != "42[\"end\"]") {
            numbers.push(number(&packet));
        }
        numbers
    }

    /// Goes away: closes its stream, or its session where there is none.
    pub async fn close(self) {
        if let Self::Polling(polling) = self {
            polling.send("1").await;
        }
    }
}

/// The number in `42["n",…]`.
pub fn number(packet: &str) -> u64 {
    let inner = packet.strip_prefix("42[\"n\",").and_then(|rest| rest.strip_suffix(']'));
    let inner = inner.unwrap_or_else(|| panic!("not a number: {packet}"));
    inner.parse().unwrap()
}

/// One HTTP request over a connection of its own: status and body.
async fn request(address: SocketAddr, method: &str, sid: &str, body: &str) -> (u16, String) {
    let sid = if sid.is_empty() {
        String::new()
    } else {
        format!("&sid={sid}")
    };
    let mut stream = within("a connection", TcpStream::connect(address)).await.unwrap();
    let request = format!(
        "{method} /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    within("a write", stream.write_all(request.as_bytes())).await.unwrap();
    let mut received = Vec::new();
    loop {
        let read = within("a response", stream.read_buf(&mut received)).await.unwrap();
        assert!(read > 0, "the connection ended within a response");
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(start) = response.parse(&received).unwrap() else {
            continue;
        };
        let length = response
            .headers
            .iter()
            .find(|header| header.name == "Content-Length")
            .unwrap();
        let length: usize = std::str::from_utf8(length.value).unwrap().parse().unwrap();
        if received.len() >= start + length {
            let status = response.code.unwrap();
            let body = String::from_utf8(received[start..start + length].to_vec()).unwrap();
            return (status, body);
        }
    }
}

/// A connected WebSocket client that reads only when told, with little room in its kernel.
pub async fn narrow(server: &TestServer) -> (Ws, String) {
    let mut client = Client::Ws(Box::new(Ws::narrow(server.address).await));
    let id = client.connect().await;
    let Client::Ws(ws) = client else { unreachable!() };
    (*ws, id)
}

/// A polling session in the default namespace, and its socket's id.
pub async fn polling(server: &TestServer) -> (Polling, String) {
    let (Client::Polling(polling), id) = Client::polling(server.address).await else {
        unreachable!()
    };
    (polling, id)
}

/// Upgrades as `engine.io-client` does: probes while it polls, lets the last poll end, then switches.
pub async fn upgrade(polling: &Polling, bridged: bool, received: &mut Vec<String>) -> Ws {
    let open_poll = tokio::spawn({
        let polling = polling.clone();
        async move { polling.get().await }
    });
    let mut ws = Ws::open(polling.address, Some(&polling.sid), bridged).await;
    ws.send("2probe").await;
    assert_eq!(ws.packet().await.unwrap(), "3probe");
    let (status, body) = within("the end of the last poll", open_poll).await.unwrap();
    assert_eq!(status, 200, "{body}");
    received.extend(body.split('\u{1e}').filter(|packet| *packet != "6").map(str::to_owned));
    ws.send("5").await;
    ws
}

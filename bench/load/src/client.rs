//! One WebSocket connection: upgrade, CONNECT, join, then reading for as long as the run lasts. Counts nothing itself.

use crate::{
    chat::{self, Packet},
    heartbeat::{Handshake, Heartbeat},
    wire::{Inbox, client_frame, upgrade_request},
};
use anyhow::{Result, bail, ensure};
use nix::sys::socket;
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::Ipv4Addr,
    os::fd::AsRawFd,
    pin::Pin,
    rc::Rc,
    task::Poll,
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Bytes that one read may take.
const SCRATCH_BYTES: usize = 256 * 1024;

/// The buffer that all connections of the thread read into: it stays in the CPU's cache, and an idle connection holds
/// no memory.
pub struct Scratch(RefCell<Box<[u8]>>);

impl Default for Scratch {
    fn default() -> Self {
        Self(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()))
    }
}

/// The sending half.
pub struct Sender {
    stream: OwnedWriteHalf,
    pub heartbeat: Heartbeat,
}

impl Sender {
    /// Sends a packet at once; a full send buffer is an error, for the server has then stopped reading.
    pub fn send(&self, packet: &str) -> Result<()> {
        self.write(&client_frame(packet)?)
    }

    /// Ends the connection at once, for both halves.
    pub fn shut_down(&self) {
        // A connection that has ended already needs no more.
        let _ = socket::shutdown(self.stream.as_ref().as_raw_fd(), socket::Shutdown::Both);
    }

    fn pong(&self) -> Result<()> {
        self.heartbeat.beat();
        self.send(chat::PONG)
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        ensure!(self.stream.try_write(bytes)? == bytes.len(), "the server does not read");
        Ok(())
    }
}

/// The receiving half.
pub struct Receiver {
    stream: OwnedReadHalf,
    inbox: Inbox,
    scratch: Rc<Scratch>,
}

/// Connects to the server's default namespace and joins `room`; resolves when the server has acknowledged it all.
pub async fn open(port: u16, username: &str, room: Option<&str>, scratch: Rc<Scratch>) -> Result<(Sender, Receiver)> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let sender = Sender {
        stream: write,
        heartbeat: Heartbeat::default(),
    };
    let mut receiver = Receiver {
        stream: read,
        inbox: Inbox::default(),
        scratch,
    };
    sender.write(upgrade_request(port, username).as_bytes())?;
    receiver.upgraded().await?;
    receiver
        .wait_for(&sender, |packet| matches!(packet, Packet::Open(_)))
        .await?;
    sender.send(chat::CONNECT)?;
    receiver
        .wait_for(&sender, |packet| *packet == Packet::Connected)
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
    /// Reads until the connection ends, answers heartbeats and passes on every event.
    pub async fn run(&mut self, sender: &Sender, mut on_event: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        loop {
            self.read(|payload| match Packet::parse(payload) {
                Packet::Event(event) => on_event(event),
                Packet::Ping => sender.pong(),
                Packet::Refused => bail!("disconnected by the server"),
                _ => Ok(()),
            })
            .await?;
        }
    }

    async fn upgraded(&mut self) -> Result<()> {
        let scratch = Rc::clone(&self.scratch);
        loop {
            let inbox = &mut self.inbox;
            if let Some(head) = fill(&mut self.stream, &scratch, |fresh| Ok(inbox.feed_head(fresh))).await? {
                let accepted = head.starts_with(b"HTTP/1.1 101 ");
                ensure!(accepted, "upgrade refused: {}", String::from_utf8_lossy(&head));
                return Ok(());
            }
        }
    }

    async fn wait_for(&mut self, sender: &Sender, wanted: impl Fn(&Packet<'_>) -> bool) -> Result<()> {
        let found = Cell::new(false);
        let visit = |payload: &[u8]| {
            let packet = Packet::parse(payload);
            if wanted(&packet) {
                found.set(true);
            }
            match packet {
                Packet::Open(handshake) => sender.heartbeat.begin(&Handshake::parse(handshake)?),
                Packet::Ping => sender.pong()?,
                Packet::Refused => bail!("refused: {}", String::from_utf8_lossy(payload)),
                _ => {}
            }
            Ok(())
        };
        // What came in one read with the end of the step before.
        self.inbox.feed(&mut [], visit)?;
        while !found.get() {
            self.read(visit).await?;
        }
        Ok(())
    }

    async fn read(&mut self, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let inbox = &mut self.inbox;
        fill(&mut self.stream, &self.scratch, |fresh| inbox.feed(fresh, &mut visit)).await
    }
}

/// One read into the shared buffer; `consume` takes the bytes before anybody else can read into it.
async fn fill<T>(
    stream: &mut OwnedReadHalf,
    scratch: &Scratch,
    mut consume: impl FnMut(&mut [u8]) -> Result<T>,
) -> Result<T> {
    poll_fn(|context| {
        let mut bytes = scratch.0.borrow_mut();
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Err(anyhow::anyhow!("closed"))),
            Poll::Ready(Ok(())) => Poll::Ready(consume(buffer.filled_mut())),
        }
    })
    .await
}

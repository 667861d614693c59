//! One WebSocket connection: upgrade, CONNECT, join, then reading for as long as the run lasts. Counts nothing itself.

use crate::{
    chat::{self, Packet},
    heartbeat::{Handshake, Heartbeat},
    line::{Line, Scratch},
    wire::{Inbox, client_frame, upgrade_request},
};
use anyhow::{Result, bail, ensure};
use std::{cell::Cell, rc::Rc};

/// The sending half.
pub struct Sender {
    line: Rc<Line>,
    pub heartbeat: Heartbeat,
}

impl Sender {
    /// Sends a packet at once; a full send buffer is an error, for the server has then stopped reading.
    pub fn send(&self, packet: &str) -> Result<()> {
        self.line.send(&client_frame(packet)?)
    }

    /// Ends the connection at once, for both halves.
    pub fn shut_down(&self) {
        self.line.shut_down();
    }

    fn pong(&self) -> Result<()> {
        self.heartbeat.beat();
        self.send(chat::PONG)
    }
}

/// The receiving half.
pub struct Receiver {
    line: Rc<Line>,
    inbox: Inbox,
    scratch: Rc<Scratch>,
}

/// Connects to the server's default namespace and joins `room`; resolves when the server has acknowledged it all.
pub async fn open(
    port: u16,
    tls: bool,
    username: &str,
    room: Option<&str>,
    scratch: Rc<Scratch>,
) -> Result<(Sender, Receiver)> {
    let (sender, mut receiver) = connect(port, tls, username, chat::CONNECT, scratch, |_| Ok(())).await?;
    if let Some(room) = room {
        receiver.join(&sender, room, |_| Ok(())).await?;
    }
    Ok((sender, receiver))
}

/// Connects to the server's default namespace with this CONNECT packet; resolves when it is answered. `on_packet` is
/// shown every packet up to the answer, and those that have come with it.
pub async fn connect(
    port: u16,
    tls: bool,
    username: &str,
    connect: &str,
    scratch: Rc<Scratch>,
    mut on_packet: impl FnMut(&Packet<'_>) -> Result<()>,
) -> Result<(Sender, Receiver)> {
    let line = Line::open(port, tls, &scratch).await?;
    let sender = Sender {
        line: Rc::clone(&line),
        heartbeat: Heartbeat::default(),
    };
    let mut receiver = Receiver {
        line,
        inbox: Inbox::default(),
        scratch,
    };
    sender.line.send(upgrade_request(port, username).as_bytes())?;
    receiver.upgraded().await?;
    receiver
        .wait_for(&sender, |packet| {
            on_packet(packet)?;
            Ok(matches!(packet, Packet::Open(_)))
        })
        .await?;
    sender.send(connect)?;
    receiver
        .wait_for(&sender, |packet| {
            on_packet(packet)?;
            Ok(matches!(packet, Packet::Connected(_)))
        })
        .await?;
    Ok((sender, receiver))
}

impl Receiver {
    /// Joins a room; resolves when the server has acknowledged it. Events that come meanwhile are passed on.
    pub async fn join(
        &mut self,
        sender: &Sender,
        room: &str,
        mut on_event: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        sender.send(&chat::join(room))?;
        self.wait_for(sender, |packet| {
            if let Packet::Event(event) = packet {
                on_event(event)?;
            }
            Ok(matches!(packet, Packet::Ack(_)))
        })
        .await
    }

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
        loop {
            let inbox = &mut self.inbox;
            let feed = |fresh: &mut [u8]| Ok(inbox.feed_head(fresh));
            if let Some(head) = self.line.read(&self.scratch, feed).await? {
                let accepted = head.starts_with(b"HTTP/1.1 101 ");
                ensure!(accepted, "upgrade refused: {}", String::from_utf8_lossy(&head));
                return Ok(());
            }
        }
    }

    async fn wait_for(&mut self, sender: &Sender, mut wanted: impl FnMut(&Packet<'_>) -> Result<bool>) -> Result<()> {
        let found = Cell::new(false);
        let mut visit = |payload: &[u8]| {
            let packet = Packet::parse(payload);
            if wanted(&packet)? {
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
        self.inbox.feed(&mut [], &mut visit)?;
        while !found.get() {
            self.read(&mut visit).await?;
        }
        Ok(())
    }

    async fn read(&mut self, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let inbox = &mut self.inbox;
        self.line
            .read(&self.scratch, |fresh| inbox.feed(fresh, &mut visit))
            .await
    }
}

//! The floor: the least a server can do for a chat. One thread, an epoll loop, plain non-blocking writes; the frame of
//! a message is built once and written to every socket of the room. No heartbeat, no registry, no history. Asked to, it
//! delivers many messages with one write, or broadcasts by itself, to show what the load generator takes. With a Redis
//! it shares messages with other floors.

mod broadcast;
mod peer;
mod relay;
mod request;

use self::{broadcast::Broadcast, peer::Peer, relay::Relay, request::Request};
use crate::{
    chat::{self, MESSAGE_EVENT, Packet},
    wire::{server_frame, upgrade_response},
};
use anyhow::{Context, Result, ensure};
use memchr::memmem;
use mio::{Events, Interest, Poll, Token, Waker, net::TcpListener};
use serde_json::json;
use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read},
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::mpsc::Receiver,
};

const LISTENER: Token = Token(usize::MAX);
const REQUESTS: Token = Token(usize::MAX - 1);
const RELAY_IN: Token = Token(usize::MAX - 2);
const RELAY_OUT: Token = Token(usize::MAX - 3);
const EVENTS_PER_POLL: usize = 1_024;
const READ_BYTES: usize = 64 * 1024;

const OPEN: &str =
    r#"0{"sid":"AAAAAAAAAAAAAAAAAAAA","upgrades":[],"pingInterval":25000,"pingTimeout":60000,"maxPayload":1000000}"#;
const CONNECTED: &str = r#"40{"sid":"BBBBBBBBBBBBBBBBBBBB"}"#;
const JOINED: &str = r#"430[{"ok":true}]"#;

#[derive(Default)]
struct Room {
    members: Vec<usize>,
    /// Frames that wait for their batch to be full, and how many they are.
    held: Vec<u8>,
    held_count: usize,
}

struct Floor {
    poll: Poll,
    peers: Vec<Option<Peer>>,
    rooms: HashMap<Vec<u8>, Room>,
    /// Messages of a room that leave in one write.
    batch: usize,
    broadcast: Option<Broadcast>,
    relay: Option<Relay>,
    requests: Receiver<Request>,
    buffer: Box<[u8]>,
}

/// Serves on a free port of 127.0.0.1 until standard input ends; prints `{port, pid, rooms}` first.
pub fn serve(rooms: usize, redis_port: Option<u16>) -> Result<()> {
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut relay = redis_port.map(Relay::connect).transpose()?;
    if let Some(relay) = &mut relay {
        relay.register(poll.registry(), RELAY_IN, RELAY_OUT)?;
    }
    let rooms: Vec<_> = (0..rooms)
        .map(|room| format!("00000000-0000-4000-8000-{room:012}"))
        .collect();
    println!(
        "{}",
        json!({ "port": listener.local_addr()?.port(), "pid": std::process::id(), "rooms": rooms })
    );
    let requests = request::read(Waker::new(poll.registry(), REQUESTS)?);
    let mut floor = Floor {
        poll,
        peers: Vec::new(),
        rooms: HashMap::new(),
        batch: 1,
        broadcast: None,
        relay,
        requests,
        buffer: vec![0; READ_BYTES].into(),
    };
    let mut events = Events::with_capacity(EVENTS_PER_POLL);
    loop {
        floor.poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                floor.accept(&listener)?;
            } else if event.token() == REQUESTS {
                floor.begin_requests()?;
            } else if event.token() == RELAY_IN {
                floor.take_from_others()?;
            } else if event.token() == RELAY_OUT {
                floor.relay.as_mut().map_or(Ok(()), Relay::flush)?;
            } else if let Err(error) = floor.ready(event.token().0) {
                floor.close(event.token().0);
                if error.downcast_ref::<io::Error>().is_none() {
                    eprintln!("connection closed: {error:#}");
                }
            }
        }
        floor.go_on_broadcasting()?;
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut stream, Token(self.peers.len()), both)?;
            self.peers.push(Some(Peer::new(stream)));
        }
    }

    fn close(&mut self, index: usize) {
        if let Some(peer) = self.peers.get_mut(index) {
            *peer = None;
        }
        for room in self.rooms.values_mut() {
            room.members.retain(|member| *member != index);
        }
    }

    /// Writes what waits, then reads until the socket is empty: events are edge-triggered.
    fn ready(&mut self, index: usize) -> Result<()> {
        loop {
            let Some(Some(peer)) = self.peers.get_mut(index) else {
                return Ok(());
            };
            peer.flush()?;
            let read = match peer.stream.read(&mut self.buffer) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let mut packets = Vec::new();
            let fresh = self.buffer.get_mut(..read).unwrap_or_default();
            if peer.upgraded {
                peer.inbox.feed(fresh, |packet| {
                    packets.push(packet.to_vec());
                    Ok(())
                })?;
            } else if let Some(head) = peer.inbox.feed_head(fresh) {
                upgrade(peer, &head)?;
            }
            for packet in packets {
                self.obey(index, &packet)?;
            }
            if read < READ_BYTES {
                return Ok(());
            }
        }
    }

    fn obey(&mut self, index: usize, packet: &[u8]) -> Result<()> {
        match Packet::parse(packet) {
            Packet::Connected(_) => self.reply(index, CONNECTED),
            Packet::Event(event) if event.starts_with(MESSAGE_EVENT) => {
                if let Some(relay) = &mut self.relay {
                    relay.publish(event)?;
                }
                self.deliver(event)
            }
            Packet::Event(_) => {
                let Some(room) = chat::room_id(packet).and_then(until_quote) else {
                    return Ok(());
                };
                self.rooms.entry(room.to_vec()).or_default().members.push(index);
                self.reply(index, JOINED)
            }
            _ => Ok(()),
        }
    }

    /// Delivers what other floors have published.
    fn take_from_others(&mut self) -> Result<()> {
        let Some(relay) = &mut self.relay else {
            return Ok(());
        };
        for event in relay.receive(&mut self.buffer)? {
            self.deliver(&event)?;
        }
        Ok(())
    }

    fn reply(&mut self, index: usize, packet: &str) -> Result<()> {
        if let Some(Some(peer)) = self.peers.get_mut(index) {
            peer.write(&server_frame(packet)?)?;
        }
        Ok(())
    }

    /// Writes a message, as long as the service's, to every member of its room.
    fn deliver(&mut self, event: &[u8]) -> Result<()> {
        let room = chat::room_id(event)
            .and_then(until_quote)
            .context("message without a room")?;
        let content = chat::content(event)
            .and_then(until_quote)
            .context("message without content")?;
        let frame = server_frame(&format!(
            r#"42["message",{{"id":"00000000-0000-4000-8000-000000000000","roomId":"{}","userId":"BBBBBBBBBBBBBBBBBBBB","username":"u000","content":"{}","type":"text","timestamp":"2026-01-01T00:00:00.000Z"}}]"#,
            str::from_utf8(room)?,
            str::from_utf8(content)?,
        ))?;
        let Some(room) = self.rooms.get_mut(room) else {
            return Ok(());
        };
        if self.batch == 1 {
            write_to_members(&mut self.peers, &room.members, &frame);
            return Ok(());
        }
        room.held.extend(frame);
        room.held_count += 1;
        if room.held_count == self.batch {
            room.release(&mut self.peers);
        }
        Ok(())
    }

    /// Takes the requests that have come.
    fn begin_requests(&mut self) -> Result<()> {
        while let Ok(Request { broadcast_all, batch }) = self.requests.try_recv() {
            if let Some(broadcast) = broadcast_all {
                self.broadcast = Some(Broadcast::new(broadcast));
            }
            if let Some(batch) = batch {
                ensure!(batch > 0, "a batch of nothing");
                self.batch = batch;
                for room in self.rooms.values_mut() {
                    room.release(&mut self.peers);
                }
            }
        }
        Ok(())
    }

    /// Writes the next block to everyone, once everyone has the one before; the poll tells who has room again.
    fn go_on_broadcasting(&mut self) -> Result<()> {
        while let Some(broadcast) = self.broadcast.as_mut() {
            if self.peers.iter().flatten().any(Peer::has_block) {
                return Ok(());
            }
            let Some(block) = broadcast.block()? else {
                self.broadcast = None;
                return Ok(());
            };
            for peer in self.peers.iter_mut().flatten().filter(|peer| peer.upgraded) {
                // A peer that is gone is noticed when its socket is read.
                let _ = peer.write_block(Rc::clone(&block));
            }
        }
        Ok(())
    }
}

impl Room {
    /// Writes what is held.
    fn release(&mut self, peers: &mut [Option<Peer>]) {
        if self.held_count > 0 {
            write_to_members(peers, &self.members, &self.held);
            self.held.clear();
            self.held_count = 0;
        }
    }
}

fn write_to_members(peers: &mut [Option<Peer>], members: &[usize], bytes: &[u8]) {
    for member in members {
        if let Some(Some(peer)) = peers.get_mut(*member) {
            // A peer that is gone is noticed when its socket is read.
            let _ = peer.write(bytes);
        }
    }
}

fn upgrade(peer: &mut Peer, head: &[u8]) -> Result<()> {
    let name = b"Sec-WebSocket-Key: ";
    let start = memmem::find(head, name).context("no WebSocket upgrade")? + name.len();
    let rest = head.get(start..).unwrap_or_default();
    let key = rest.split(|byte| *byte == b'\r').next().unwrap_or_default();
    peer.write(upgrade_response(key).as_bytes())?;
    peer.write(&server_frame(OPEN)?)?;
    peer.upgraded = true;
    Ok(())
}

fn until_quote(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..memchr::memchr(b'"', bytes)?)
}

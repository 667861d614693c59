//! The floor's part in a cluster: what its clients send is published on one channel of Redis, what other floors publish
//! there is read. One connection for each direction, plain non-blocking writes.

use super::peer::Peer;
use anyhow::{Context, Result, ensure};
use mio::{Interest, Registry, Token, net::TcpStream};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr},
};

const CHANNEL: &str = "floor";
/// Digits of a process id in front of what a floor publishes: its own comes back.
const NAME_DIGITS: usize = 10;

pub struct Relay {
    subscriber: TcpStream,
    /// What was read and is not a whole message yet.
    unread: Vec<u8>,
    publisher: Peer,
    name: String,
}

impl Relay {
    /// Resolves when Redis has confirmed the channel.
    pub fn connect(port: u16) -> Result<Self> {
        let connect = || -> Result<std::net::TcpStream> {
            let stream = std::net::TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let (mut subscriber, publisher) = (connect()?, connect()?);
        subscriber.write_all(command(&[b"SUBSCRIBE", CHANNEL.as_bytes()]).as_slice())?;
        let mut confirmation = format!("*3\r\n$9\r\nsubscribe\r\n$5\r\n{CHANNEL}\r\n:1\r\n").into_bytes();
        let expected = confirmation.clone();
        subscriber.read_exact(&mut confirmation)?;
        ensure!(confirmation == expected, "Redis does not confirm the subscription");
        for stream in [&subscriber, &publisher] {
            stream.set_nonblocking(true)?;
        }
        Ok(Self {
            subscriber: TcpStream::from_std(subscriber),
            unread: Vec::new(),
            publisher: Peer::new(TcpStream::from_std(publisher)),
            name: format!("{:0NAME_DIGITS$}", std::process::id()),
        })
    }

    pub fn register(&mut self, registry: &Registry, incoming: Token, outgoing: Token) -> io::Result<()> {
        registry.register(&mut self.subscriber, incoming, Interest::READABLE)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut self.publisher.stream, outgoing, both)
    }

    pub fn publish(&mut self, event: &[u8]) -> io::Result<()> {
        let payload = [self.name.as_bytes(), event].concat();
        self.publisher
            .write(&command(&[b"PUBLISH", CHANNEL.as_bytes(), &payload]))
    }

    /// Writes what waits and drops Redis's answers, how many have received each.
    pub fn flush(&mut self) -> Result<()> {
        self.publisher.flush()?;
        let mut answers = [0; 4_096];
        while read_some(&mut self.publisher.stream, &mut answers)? > 0 {}
        Ok(())
    }

    /// Everything that other floors have published since the last time.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Vec<Vec<u8>>> {
        let mut events = Vec::new();
        loop {
            let read = read_some(&mut self.subscriber, buffer)?;
            if read == 0 {
                return Ok(events);
            }
            self.unread.extend(buffer.iter().take(read));
            while let Some((payload, used)) = message(&self.unread)? {
                let (name, event) = payload.split_at_checked(NAME_DIGITS).context("a foreign message")?;
                if name != self.name.as_bytes() {
                    events.push(event.to_vec());
                }
                self.unread.drain(..used);
            }
        }
    }
}

/// A command as Redis reads it.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The payload of the first message and where it ends; `None` while it is not complete.
fn message(bytes: &[u8]) -> Result<Option<(&[u8], usize)>> {
    let head = format!("*3\r\n$7\r\nmessage\r\n${}\r\n{CHANNEL}\r\n$", CHANNEL.len());
    let Some((begin, rest)) = bytes.split_at_checked(head.len()) else {
        return Ok(None);
    };
    ensure!(begin == head.as_bytes(), "Redis sends something else than a message");
    let Some(digits) = memchr::memchr(b'\r', rest) else {
        return Ok(None);
    };
    let length: usize = str::from_utf8(rest.get(..digits).unwrap_or_default())?.parse()?;
    let start = digits + 2;
    let whole = rest.get(..start + length + 2);
    let payload = whole.and_then(|whole| whole.get(start..start + length));
    Ok(payload.map(|payload| (payload, head.len() + start + length + 2)))
}

/// What there is to read, 0 if nothing is.
fn read_some(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer) {
        Ok(0) => Err(io::Error::from(ErrorKind::UnexpectedEof)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_when_it_is_whole() -> Result<()> {
        let bytes = command(&[b"message", CHANNEL.as_bytes(), b"0000000001[]"]);
        for cut in 0..bytes.len() {
            assert_eq!(message(bytes.get(..cut).unwrap_or_default())?, None);
        }
        let more = [bytes.as_slice(), b"*3"].concat();
        assert_eq!(message(&more)?, Some((&b"0000000001[]"[..], bytes.len())));
        Ok(())
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        assert!(message(format!("-ERR {}", "x".repeat(60)).as_bytes()).is_err());
    }
}

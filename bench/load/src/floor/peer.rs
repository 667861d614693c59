//! One connection of the floor: what is written at once, what waits for the kernel, and in which order.

use crate::wire::Inbox;
use mio::net::TcpStream;
use std::{
    io::{self, ErrorKind, Write},
    rc::Rc,
};

pub struct Peer {
    pub stream: TcpStream,
    pub inbox: Inbox,
    pub upgraded: bool,
    /// What the kernel had no room for.
    unsent: Vec<u8>,
    /// A block of a broadcast that follows `unsent`, and how much of it is written.
    block: Option<(Rc<[u8]>, usize)>,
}

impl Peer {
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            inbox: Inbox::default(),
            upgraded: false,
            unsent: Vec::new(),
            block: None,
        }
    }

    /// Writes now what the kernel takes, and the rest before anything else.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some((block, written)) = self.block.take() {
            self.unsent.extend(block.iter().skip(written));
        }
        let written = if self.unsent.is_empty() {
            write_some(&mut self.stream, bytes)?
        } else {
            0
        };
        self.unsent.extend(bytes.iter().skip(written));
        Ok(())
    }

    /// As `write`, without a copy for what has to wait.
    pub fn write_block(&mut self, block: Rc<[u8]>) -> io::Result<()> {
        self.block = Some((block, 0));
        self.flush()
    }

    /// Whether some of the last block is not written.
    pub fn has_block(&self) -> bool {
        self.block.is_some()
    }

    /// Writes what waits, as far as the kernel takes it.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.unsent.is_empty() {
            let written = write_some(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..written);
        }
        let Some((block, written)) = self.block.as_mut().filter(|_| self.unsent.is_empty()) else {
            return Ok(());
        };
        while let Some(rest) = block.get(*written..).filter(|rest| !rest.is_empty()) {
            match write_some(&mut self.stream, rest)? {
                0 => return Ok(()),
                count => *written += count,
            }
        }
        self.block = None;
        Ok(())
    }
}

/// Writes what the kernel takes now.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}

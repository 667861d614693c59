//! Packets that go to the same clients one after the other, as one piece of memory.

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};

use super::packet::Packet;

/// Packets that go to the same clients one after the other.
#[derive(Debug)]
pub struct Series {
    packets: Vec<Packet>,
    v4: OnceLock<Bytes>,
    v3: OnceLock<Bytes>,
}

impl Series {
    /// The packets, in their order.
    pub fn new(packets: Vec<Packet>) -> Self {
        Self {
            packets,
            v4: OnceLock::new(),
            v3: OnceLock::new(),
        }
    }

    /// Each of them.
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// The bytes for a WebSocket client of Engine.IO 4.
    pub fn frames_v4(&self) -> Bytes {
        self.v4.get_or_init(|| self.together(Packet::frames_v4)).clone()
    }

    /// The bytes for a WebSocket client of Engine.IO 3.
    pub fn frames_v3(&self) -> Bytes {
        self.v3.get_or_init(|| self.together(Packet::frames_v3)).clone()
    }

    fn together(&self, frames: impl Fn(&Packet) -> Bytes) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.packets.iter().map(Packet::len).sum());
        for packet in &self.packets {
            bytes.extend_from_slice(&frames(packet));
        }
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::packet::PacketKind;

    #[test]
    fn the_frames_of_a_series_are_those_of_its_packets() {
        let binary = Packet::new(PacketKind::Event(None), "[1]", vec![Bytes::from_static(b"xyz")]);
        let packets = vec![Packet::event("a", "1"), binary, Packet::event("b", "2")];
        let each = |frames: fn(&Packet) -> Bytes| {
            packets
                .iter()
                .flat_map(|packet| frames(packet).to_vec())
                .collect::<Vec<_>>()
        };
        let series = Series::new(packets.clone());
        assert_eq!(series.frames_v4(), each(Packet::frames_v4));
        assert_eq!(series.frames_v3(), each(Packet::frames_v3));
    }
}

//! The records of a TLS connection: bytes in, bytes out, over rustls. Never reads or writes anything.
//!
//! rustls's unbuffered session: the one that keeps buffers of its own needs 7.4 KiB for a connection, this one 3.2, and
//! seals a short message in two thirds of the time.

use std::{io, sync::Arc};

use rustls::{
    ServerConfig,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic},
};

/// Plain bytes that a record holds at most (RFC 8446, section 5.1).
pub(super) const RECORD: usize = 16 * 1024;
/// Bytes that may be kept of what has not come whole: the longest message of a handshake, in records that are worth it. A
/// client could fill them with padding otherwise.
const MOST_REST: usize = 96 * 1024;
/// What sealing adds to a record, and the key update that may come before it.
const OVERHEAD: usize = 256;

/// One session.
pub(super) struct Session {
    rustls: UnbufferedServerConnection,
    /// Received, of a record or of a message over several that has not come whole.
    rest: Vec<u8>,
    /// The client has said that no more comes.
    has_ended: bool,
    /// An error was met: nothing can be opened or sealed any more, and rustls must not be asked again.
    has_failed: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Session")
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(context: Arc<ServerConfig>) -> io::Result<Self> {
        let rustls = UnbufferedServerConnection::new(context).map_err(io::Error::other)?;
        Ok(Self {
            rustls,
            rest: Vec::new(),
            has_ended: false,
            has_failed: false,
        })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.rustls.is_handshaking()
    }

    /// The client has said that no more comes.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes what has come: appends what it says to `plain`, and what is to be sent in return to `unsent`.
    pub(super) fn open(&mut self, received: &mut [u8], plain: &mut Vec<u8>, unsent: &mut Vec<u8>) -> io::Result<()> {
        self.check()?;
        let mut rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            let (used, outcome) = self.process(received, plain, unsent);
            self.rest = received.get(used..).unwrap_or_default().to_vec();
            return outcome.and_then(|()| self.check_rest());
        }
        rest.extend_from_slice(received);
        let (used, outcome) = self.process(&mut rest, plain, unsent);
        // Without the room that a whole record needed.
        self.rest = rest.get(used..).unwrap_or_default().to_vec();
        outcome.and_then(|()| self.check_rest())
    }

    fn check_rest(&mut self) -> io::Result<()> {
        if self.rest.len() <= MOST_REST {
            return Ok(());
        }
        self.has_failed = true;
        self.rest = Vec::new();
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        match self.has_failed {
            true => Err(io::ErrorKind::InvalidData.into()),
            false => Ok(()),
        }
    }

    /// How many bytes are done with.
    fn process(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, unsent: &mut Vec<u8>) -> (usize, io::Result<()>) {
        let mut used = 0;
        loop {
            let UnbufferedStatus { discard, state } = self
                .rustls
                .process_tls_records(bytes.get_mut(used..).unwrap_or_default());
            used += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        plain.extend_from_slice(record.payload);
                        used += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, unsent),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.has_ended = true,
                Ok(_) => return (used, Ok(())),
                Err(error) => {
                    self.has_failed = true;
                    self.say_why(unsent);
                    return (used, Err(io::Error::other(error)));
                }
            }
        }
    }

    /// The alert for the error that has just been met.
    fn say_why(&mut self, unsent: &mut Vec<u8>) {
        while self.rustls.wants_write() {
            match self.rustls.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, unsent),
                _ => return,
            }
        }
    }

    /// Seals at most a record into `sealed`, which is as long as it has to be; how long the record is. What the session has to
    /// send before it is appended to `unsent`.
    pub(super) fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>, unsent: &mut Vec<u8>) -> io::Result<usize> {
        if sealed.len() < RECORD + OVERHEAD {
            sealed.resize(RECORD + OVERHEAD, 0);
        }
        self.write(unsent, |traffic| traffic.encrypt(plain, sealed))
    }

    /// Appends to `unsent` that no more comes.
    pub(super) fn say_goodbye(&mut self, unsent: &mut Vec<u8>) {
        let mut alert = [0; OVERHEAD];
        let length = self.write(unsent, |traffic| traffic.queue_close_notify(&mut alert));
        unsent.extend_from_slice(alert.get(..length.unwrap_or(0)).unwrap_or_default());
    }

    fn write(
        &mut self,
        unsent: &mut Vec<u8>,
        write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        self.check()?;
        loop {
            // With what has come of a record: the session may have looked at its beginning.
            let UnbufferedStatus { discard, state } = self.rustls.process_tls_records(&mut self.rest);
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => return write(&mut traffic).map_err(io::Error::other),
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, unsent),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.has_ended = true,
                Ok(_) => return Err(io::ErrorKind::NotConnected.into()),
                Err(error) => {
                    self.has_failed = true;
                    return Err(io::Error::other(error));
                }
            }
            self.rest.drain(..discard);
        }
    }
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, unsent: &mut Vec<u8>) {
    let from = unsent.len();
    if let Err(EncodeError::InsufficientSize(error)) = data.encode(&mut []) {
        unsent.resize(from + error.required_size, 0);
        if data.encode(unsent.get_mut(from..).unwrap_or_default()).is_err() {
            unsent.truncate(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use rustls::{
        ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
        crypto::ring::default_provider,
        pki_types::PrivateKeyDer,
        version::{TLS12, TLS13},
    };

    use super::*;

    /// A client and its server's side, and what each has been told.
    struct Pair {
        client: ClientConnection,
        server: Session,
        context: Arc<ServerConfig>,
        told: Vec<u8>,
        unsent: Vec<u8>,
    }

    impl Pair {
        /// After the handshake.
        fn over(version: &'static SupportedProtocolVersion) -> Self {
            let rcgen::CertifiedKey { cert, signing_key } =
                rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let provider = Arc::new(default_provider());
            let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
            let context = ServerConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![cert.der().clone()], key)
                .unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(cert.der().clone()).unwrap();
            let config = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let context = Arc::new(context);
            let mut pair = Self {
                client: ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap(),
                server: Session::new(context.clone()).unwrap(),
                context,
                told: Vec::new(),
                unsent: Vec::new(),
            };
            while pair.server.is_handshaking() || pair.client.is_handshaking() {
                let flight = pair.flight();
                pair.arrive(&flight).unwrap();
                pair.answer();
            }
            pair
        }

        /// What the client has to send.
        fn flight(&mut self) -> Vec<u8> {
            let mut bytes = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut bytes).unwrap();
            }
            bytes
        }

        fn arrive(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.server.open(&mut bytes.to_vec(), &mut self.told, &mut self.unsent)
        }

        /// The client reads what it is sent.
        fn answer(&mut self) {
            let sent = std::mem::take(&mut self.unsent);
            let mut left = &sent[..];
            while !left.is_empty() {
                self.client.read_tls(&mut left).unwrap();
                self.client.process_new_packets().unwrap();
            }
        }

        fn say(&mut self, text: &[u8]) {
            let mut sealed = Vec::new();
            let length = self.server.seal(text, &mut sealed, &mut self.unsent).unwrap();
            self.unsent.extend_from_slice(&sealed[..length]);
            self.answer();
        }

        fn heard(&mut self) -> Vec<u8> {
            let mut heard = vec![0; 2 * RECORD];
            let length = self.client.reader().read(&mut heard).unwrap();
            heard.truncate(length);
            heard
        }
    }

    #[test]
    fn both_are_told_what_the_other_says_however_it_is_cut() {
        for version in [&TLS12, &TLS13] {
            for size in [1, 2, 5, 21, 22, 1000, 1 << 20] {
                let mut pair = Pair::over(version);
                let text: Vec<u8> = (0..40_000_u32).map(|index| (index % 251) as u8).collect();
                pair.client.writer().write_all(&text[..100]).unwrap();
                pair.client.writer().write_all(&text[100..]).unwrap();
                let flight = pair.flight();
                for piece in flight.chunks(size) {
                    pair.arrive(piece).unwrap();
                    // In the middle of a record as well.
                    if size > 100 {
                        pair.say(b"meanwhile");
                        assert_eq!(pair.heard(), b"meanwhile");
                    }
                }
                assert_eq!(pair.told, text);
                assert!(pair.server.rest.is_empty());
            }
        }
    }

    #[test]
    fn keys_are_renewed_while_the_other_side_speaks() {
        let mut pair = Pair::over(&TLS13);
        for round in 0..10_u8 {
            pair.client.refresh_traffic_keys().unwrap();
            pair.client.writer().write_all(&[round]).unwrap();
            let flight = pair.flight();
            let (first, second) = flight.split_at(flight.len() / 2);
            pair.arrive(first).unwrap();
            pair.say(b"during");
            pair.arrive(second).unwrap();
            pair.say(b"after");
            assert_eq!(pair.heard(), b"duringafter");
        }
        assert_eq!(pair.told, (0..10).collect::<Vec<u8>>());
    }

    #[test]
    fn the_end_is_told_and_the_other_side_may_still_speak() {
        for version in [&TLS12, &TLS13] {
            let mut pair = Pair::over(version);
            pair.client.writer().write_all(b"last").unwrap();
            pair.client.send_close_notify();
            let flight = pair.flight();
            pair.arrive(&flight).unwrap();
            assert!(pair.server.has_ended());
            assert_eq!(pair.told, b"last");
            if version.version == TLS13.version {
                pair.say(b"goodbye");
                assert_eq!(pair.heard(), b"goodbye");
            }
            pair.server.say_goodbye(&mut pair.unsent);
            pair.answer();
            assert_eq!(pair.client.reader().read(&mut [0; 10]).unwrap(), 0);
        }
    }

    #[test]
    fn nobody_makes_us_keep_much_of_what_has_not_come_whole() {
        let mut pair = Pair::over(&TLS13);
        let mut server = Session::new(pair.context.clone()).unwrap();
        // The beginning of a long ClientHello, then a byte of it at a time.
        let mut flood = vec![22, 3, 1, 0, 4, 1, 0, 0xff, 0xff];
        for _ in 0..40_000 {
            flood.extend([22, 3, 1, 0, 1, 0]);
        }
        let mut outcome = Ok(());
        for piece in flood.chunks(16_000) {
            outcome = server.open(&mut piece.to_vec(), &mut pair.told, &mut pair.unsent);
            assert!(server.rest.len() <= MOST_REST);
            if outcome.is_err() {
                break;
            }
        }
        assert!(outcome.is_err());
    }

    #[test]
    fn what_was_changed_on_the_way_is_an_error_of_which_the_client_is_told() {
        let mut pair = Pair::over(&TLS13);
        pair.client.writer().write_all(b"text").unwrap();
        let mut flight = pair.flight();
        *flight.last_mut().unwrap() ^= 1;
        assert!(pair.arrive(&flight).is_err());
        assert!(!pair.unsent.is_empty());
        let mut left = &pair.unsent[..];
        pair.client.read_tls(&mut left).unwrap();
        assert!(pair.client.process_new_packets().is_err());
        assert!(pair.server.seal(b"more", &mut Vec::new(), &mut Vec::new()).is_err());
    }
}

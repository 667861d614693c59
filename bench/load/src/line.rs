//! A connection to the server, bare or over TLS. Reads into a buffer that all connections of the thread share.

use anyhow::{Result, ensure};
use nix::sys::socket;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, Read as _, Write as _},
    net::Ipv4Addr,
    os::fd::AsRawFd,
    rc::Rc,
    sync::{Arc, OnceLock},
    task::{Poll, ready},
};
use tokio::net::TcpStream;

/// Bytes that one read may take.
const SCRATCH_BYTES: usize = 256 * 1024;

/// The buffers that all connections of the thread read into: they stay in the CPU's cache, and an idle connection holds
/// no memory.
pub struct Scratch(RefCell<Buffers>);

struct Buffers {
    received: Box<[u8]>,
    /// What it says, over TLS.
    plain: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self(RefCell::new(Buffers {
            received: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            plain: Vec::new(),
        }))
    }
}

/// A connection to the server.
pub struct Line {
    stream: TcpStream,
    tls: Option<RefCell<ClientConnection>>,
}

impl Line {
    /// Connects to the port on this machine, and shakes hands where `tls` says so.
    pub async fn open(port: u16, tls: bool, scratch: &Scratch) -> Result<Rc<Self>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let tls = if tls {
            let name = ServerName::try_from("localhost")?;
            Some(RefCell::new(ClientConnection::new(trusting()?, name)?))
        } else {
            None
        };
        let line = Self { stream, tls };
        while let Some(tls) = &line.tls {
            line.flush(&mut tls.borrow_mut())?;
            if !tls.borrow().is_handshaking() {
                break;
            }
            line.receive(scratch, |_| Ok(())).await?;
        }
        Ok(Rc::new(line))
    }

    /// Sends at once; a full send buffer is an error, for the server has then stopped reading.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        let Some(tls) = &self.tls else {
            return self.write(bytes);
        };
        let mut tls = tls.borrow_mut();
        tls.writer().write_all(bytes)?;
        self.flush(&mut tls)
    }

    fn flush(&self, tls: &mut ClientConnection) -> Result<()> {
        let mut sealed = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut sealed)?;
        }
        self.write(&sealed)
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        ensure!(
            bytes.is_empty() || self.stream.try_write(bytes)? == bytes.len(),
            "the server does not read"
        );
        Ok(())
    }

    /// Ends the connection at once, for both sides.
    pub fn shut_down(&self) {
        // A connection that has ended already needs no more.
        let _ = socket::shutdown(self.stream.as_raw_fd(), socket::Shutdown::Both);
    }

    /// Reads until something is said; `consume` takes it before anybody else can read into the buffer.
    pub async fn read<T>(&self, scratch: &Scratch, mut consume: impl FnMut(&mut [u8]) -> Result<T>) -> Result<T> {
        loop {
            let consumed = self.receive(scratch, |bytes| match bytes.is_empty() {
                true => Ok(None),
                false => consume(bytes).map(Some),
            });
            if let Some(consumed) = consumed.await? {
                return Ok(consumed);
            }
        }
    }

    /// One read. Over TLS nothing may have been said by it.
    async fn receive<T>(&self, scratch: &Scratch, mut consume: impl FnMut(&mut [u8]) -> Result<T>) -> Result<T> {
        poll_fn(|context| {
            loop {
                ready!(self.stream.poll_read_ready(context))?;
                let mut buffers = scratch.0.borrow_mut();
                let Buffers { received, plain } = &mut *buffers;
                let length = match self.stream.try_read(received) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    length => length?,
                };
                if length == 0 {
                    return Poll::Ready(Err(anyhow::anyhow!("closed")));
                }
                let bytes = received.get_mut(..length).unwrap_or_default();
                return Poll::Ready(match &self.tls {
                    None => consume(bytes),
                    Some(tls) => {
                        open(&mut tls.borrow_mut(), bytes, plain)?;
                        consume(plain)
                    }
                });
            }
        })
        .await
    }
}

fn open(tls: &mut ClientConnection, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<()> {
    plain.clear();
    while !bytes.is_empty() {
        tls.read_tls(&mut bytes)?;
        tls.process_new_packets()?;
        match tls.reader().read_to_end(plain) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Takes any certificate: of whom it is, the benchmark knows.
fn trusting() -> Result<Arc<ClientConfig>> {
    static TRUSTING: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = TRUSTING.get() {
        return Ok(Arc::clone(config));
    }
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    Ok(Arc::clone(
        TRUSTING.get_or_init(|| Arc::new(without_resumption(config))),
    ))
}

/// Each client is a new one.
fn without_resumption(mut config: ClientConfig) -> ClientConfig {
    config.resumption = rustls::client::Resumption::disabled();
    config
}

#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

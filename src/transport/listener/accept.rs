//! Accepting: the connections of a door, until it is closed.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpStream, sync::watch, task::JoinSet};

use super::{
    door::{Address, Door, DoorConfig},
    requests::serve,
};

/// How long the door waits when the system has no more descriptors.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// How long requests may take to end when the door is closed.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// What accepts connections.
pub(super) enum Socket {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

/// Opens what the options say.
pub(super) fn bind(config: &DoorConfig) -> io::Result<(Socket, Address)> {
    #[cfg(unix)]
    if let Some(path) = &config.unix {
        let listener = tokio::net::UnixListener::bind(path)?;
        return Ok((Socket::Unix(listener), Address::Unix(path.clone())));
    }
    let address = config.address.ok_or(io::ErrorKind::InvalidInput)?;
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    if address.is_ipv6() {
        // As Node.js has it: "::" is every address.
        socket.set_only_v6(false)?;
    }
    #[cfg(unix)]
    {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(config.reuse_port)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(config.backlog)?;
    let listener = tokio::net::TcpListener::from_std(socket.into())?;
    let address = Address::Ip(listener.local_addr()?);
    Ok((Socket::Tcp(listener), address))
}

impl Socket {
    /// The next connection, and the address of its client.
    async fn accept(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                // Fails when the client has gone already.
                let _ = stream.set_nodelay(true);
                Ok((stream, Some(client)))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let descriptor = std::os::fd::OwnedFd::from(stream.into_std()?);
                // Reading, writing and shutting down are the same for both.
                Ok((TcpStream::from_std(descriptor.into())?, None))
            }
        }
    }
}

/// Accepts connections until the door is closed, then gives those that carry requests a while.
pub(super) async fn accept(socket: Socket, door: Arc<Door>, mut closed: watch::Receiver<bool>) {
    let mut serving = JoinSet::new();
    let following = closed.clone();
    let mut is_exhausted = false;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => break,
            Some(_) = serving.join_next() => continue,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                is_exhausted = false;
                serving.spawn(serve(door.clone(), stream, client, following.clone()));
            }
            // Of a client that is gone already there is nothing to say.
            Err(error) if is_of_the_client(&error) => {}
            // Of descriptors there may be more soon. It is told once until then.
            Err(error) => {
                if !is_exhausted {
                    tracing::warn!("no connection can be accepted: {error}");
                }
                is_exhausted = true;
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
    drop(socket);
    let ending = async { while serving.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_REQUESTS, ending).await;
}

/// Whether an error is that of one connection that was about to be accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    let of_the_client = [libc::ECONNABORTED, libc::ECONNRESET, libc::EINTR, libc::EPROTO];
    error.raw_os_error().is_some_and(|code| of_the_client.contains(&code))
}

//! Doors of our own.

use napi::Either;
use napi_derive::napi;

use super::binding::{NativeService, invalid};
#[cfg(unix)]
use super::queue::Item;
#[cfg(unix)]
use crate::transport::{Address, OpenError};

/// Where a door listens.
#[napi(object)]
pub struct DoorAddress {
    /// IP address, or the path of a Unix socket.
    pub address: String,
    /// `undefined` for a Unix socket.
    pub port: Option<u16>,
}

#[napi]
impl NativeService {
    /// Opens a door; its connections that are JavaScript's are told of under this number. The number of the system's
    /// error where it cannot be opened.
    #[napi(catch_unwind)]
    pub fn open_door(&self, number: u32, config: String) -> napi::Result<Either<DoorAddress, i32>> {
        #[cfg(unix)]
        {
            let config = serde_json::from_str(&config).map_err(invalid)?;
            let queue = self.queue.clone();
            let hand_over = move |foreign| queue.push(Item::Adopt(number.into(), foreign));
            Ok(
                match self.server.open_door(number, config, std::sync::Arc::new(hand_over)) {
                    Ok(Address::Ip(address)) => Either::A(DoorAddress {
                        address: address.ip().to_string(),
                        port: Some(address.port()),
                    }),
                    Ok(Address::Unix(path)) => Either::A(DoorAddress {
                        address: path.to_string_lossy().into_owned(),
                        port: None,
                    }),
                    Err(OpenError::System(error)) => Either::B(-error.raw_os_error().unwrap_or(libc::EINVAL)),
                    Err(OpenError::Tls(error)) => return Err(invalid(error)),
                },
            )
        }
        #[cfg(not(unix))]
        {
            let _ = (number, config);
            Err(invalid("doors of our own are opened on Unix only"))
        }
    }

    /// New connections of a door with TLS shake hands by these options. False when it is none.
    #[napi(catch_unwind)]
    pub fn set_secure_context(&self, number: u32, options: String) -> napi::Result<bool> {
        #[cfg(unix)]
        {
            let options = serde_json::from_str(&options).map_err(invalid)?;
            self.server.set_secure_context(number, &options).map_err(invalid)
        }
        #[cfg(not(unix))]
        {
            let _ = (number, options);
            Ok(false)
        }
    }
}

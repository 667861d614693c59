//! The one error type of the crate. What crosses to JavaScript, to clients and to other instances is `{ code, message }`,
//! unchanged; whoever tells errors apart matches [`Error::code`], never the text.

use serde::{Deserialize, Serialize};

use crate::config::Limit;

/// What can go wrong in a call of the API or an event of a client.
#[derive(Debug, Clone, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `joinRoom` with a socket or room that does not exist.
    #[error("User or room not found")]
    UserOrRoomNotFound,
    /// A room id that names no room.
    #[error("Room not found")]
    RoomNotFound,
    /// A socket that is not registered.
    #[error("User not found")]
    UserNotFound,
    /// A client wrote to a room it has not joined.
    #[error("Not a member of this room")]
    NotAMember,
    /// A message that this member of a payload names is not kept.
    #[error("{0} names a message that is not kept")]
    MessageNotFound(&'static str),
    /// A client's payload, or an argument, has the wrong shape; the text names the field.
    #[error("{0}")]
    InvalidArgument(String),
    /// Arguments with more containers within each other than `limits.maxDepth`.
    #[error("nested deeper than {0} levels (limits.maxDepth)")]
    TooDeep(usize),
    /// A packet for other servers that Redis would not take.
    #[error("larger than {0} bytes, the most that reaches other servers")]
    TooLarge(usize),
    /// Events that come faster than this bound allows.
    #[error("sent more often than limits.{} allows", .0.name())]
    TooMany(Limit),
    /// A client is in as many rooms as `limits.roomsPerSocket` allows.
    #[error("Already in {0} rooms (limits.roomsPerSocket)")]
    TooManyRooms(usize),
    /// The application does not allow it; the text says why.
    #[error("{0}")]
    Forbidden(String),
    /// Another instance, which a socket is connected to, has not answered.
    #[error("The instance of the socket did not answer in time")]
    Unanswered,
    /// Not everybody who was asked has answered in time, as Socket.IO says it.
    #[error("operation has timed out")]
    TimedOut,
    /// Nobody could be asked; the text says why.
    #[error("{0}")]
    Unasked(String),
    /// A client was neither let in nor refused within `connectTimeout`.
    #[error("Connection was not accepted in time")]
    NotAdmitted,
    /// The service has shut down.
    #[error("The service has been shut down")]
    Closed,
    /// What another instance answered, in its words.
    #[error("{}", .0.message)]
    Told(Spoken),
}

/// An error as it crosses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spoken {
    /// Stable code.
    pub code: String,
    /// Text for people.
    pub message: String,
}

impl Error {
    /// Stable code, the same in `err.code` and in what clients receive.
    pub fn code(&self) -> &str {
        match self {
            Self::UserOrRoomNotFound | Self::RoomNotFound | Self::UserNotFound | Self::MessageNotFound(_) => {
                Self::NOT_FOUND
            }
            Self::NotAMember => "ERR_NOT_A_MEMBER",
            Self::TooMany(_) | Self::TooManyRooms(_) => "ERR_LIMIT_EXCEEDED",
            Self::Forbidden(_) => "ERR_FORBIDDEN",
            Self::InvalidArgument(_) | Self::TooDeep(_) | Self::TooLarge(_) => "ERR_INVALID_ARGUMENT",
            Self::Unanswered | Self::TimedOut | Self::Unasked(_) | Self::NotAdmitted => "ERR_TIMEOUT",
            Self::Closed => "ERR_CLOSED",
            Self::Told(spoken) => &spoken.code,
        }
    }

    /// Code of what names nobody and nothing.
    pub const NOT_FOUND: &str = "ERR_NOT_FOUND";

    /// The error as it crosses.
    pub fn spoken(&self) -> Spoken {
        Spoken {
            code: self.code().to_owned(),
            message: self.to_string(),
        }
    }
}

impl From<Spoken> for Error {
    fn from(spoken: Spoken) -> Self {
        Self::Told(spoken)
    }
}

/// Two are the same when they say the same, wherever they come from.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        self.code() == other.code() && self.to_string() == other.to_string()
    }
}

/// Result of the use cases.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crosses_comes_out_as_it_went_in() {
        for error in [
            Error::UserNotFound,
            Error::RoomNotFound,
            Error::TooDeep(7),
            Error::Closed,
        ] {
            let bytes = rmp_serde::to_vec(&error.spoken()).unwrap();
            let spoken: Spoken = rmp_serde::from_slice(&bytes).unwrap();
            let told = Error::from(spoken);
            assert_eq!(told, error);
            assert_eq!((told.code(), told.to_string()), (error.code(), error.to_string()));
        }
    }

    #[test]
    fn the_same_code_alone_is_not_the_same_error() {
        assert_ne!(Error::UserNotFound, Error::RoomNotFound);
    }
}

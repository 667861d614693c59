//! The one error type of the crate. JavaScript matches [`Error::code`], never the text.

/// What can go wrong in a call of the API or an event of a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// A client's payload, or an argument, has the wrong shape; the text names the field.
    #[error("{0}")]
    InvalidArgument(String),
    /// Arguments with more containers within each other than `limits.maxDepth`.
    #[error("nested deeper than {0} levels (limits.maxDepth)")]
    TooDeep(usize),
    /// A packet for other servers that Redis would not take.
    #[error("larger than {0} bytes, the most that reaches other servers")]
    TooLarge(usize),
    /// Another instance, which a socket is connected to, has not answered.
    #[error("The instance of the socket did not answer in time")]
    Unanswered,
    /// The service has shut down.
    #[error("The service has been shut down")]
    Closed,
}

impl Error {
    /// Stable code, the same in `err.code` and in what clients receive.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UserOrRoomNotFound | Self::RoomNotFound | Self::UserNotFound => "ERR_NOT_FOUND",
            Self::NotAMember => "ERR_NOT_A_MEMBER",
            Self::InvalidArgument(_) | Self::TooDeep(_) | Self::TooLarge(_) => "ERR_INVALID_ARGUMENT",
            Self::Unanswered => "ERR_TIMEOUT",
            Self::Closed => "ERR_CLOSED",
        }
    }
}

/// Result of the use cases.
pub type Result<T> = std::result::Result<T, Error>;

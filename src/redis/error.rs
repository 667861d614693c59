//! What goes wrong with Redis, in kinds with stable codes. The texts never hold a password, nor the `Debug` form in which
//! fred passes the errors of others on.

use fred::error::{Error, ErrorKind};

use crate::cluster::bus::{BusError, Fault};

/// Longest part of an answer of Redis that a text repeats, in characters.
const MAX_ANSWER: usize = 200;

/// Why a connection was lost or could not be made, or why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectionError {
    /// Nobody answers, or what answers cannot serve at the moment. Trying again helps.
    #[error("Redis cannot be reached: {0}")]
    Unreachable(String),
    /// The password is wrong, or the user may not do this. Only a change by a person helps.
    #[error("Redis refuses access: {0}")]
    Refused(String),
    /// A key holds a value of another type.
    #[error("Redis holds something else under the key: {0}")]
    WrongType(String),
    /// Redis answered with another error, or with something that makes no sense.
    #[error("Redis answered with an error: {0}")]
    Protocol(String),
    /// The options make no sense together with this machine or server.
    #[error("Redis cannot be used as the options say: {0}")]
    Options(String),
}

impl ConnectionError {
    /// The code of this kind of error; it stays the same between versions.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "ERR_REDIS_UNREACHABLE",
            Self::Refused(_) => "ERR_REDIS_AUTH",
            Self::WrongType(_) => "ERR_REDIS_KEY",
            Self::Protocol(_) | Self::Options(_) => "ERR_REDIS",
        }
    }

    /// Redis did not answer in time.
    pub(super) fn unanswered() -> Self {
        Self::Unreachable("no answer in time".to_owned())
    }

    /// There is no connection at the moment.
    pub(super) fn absent() -> Self {
        Self::Unreachable("not connected".to_owned())
    }

    /// An answer that this command never has.
    pub(super) fn unexpected(command: &str) -> Self {
        Self::Protocol(format!("{command} was answered with something unexpected"))
    }

    /// What came is no message of Redis.
    pub(super) fn foreign() -> Self {
        Self::Protocol("something else than Redis answers".to_owned())
    }

    /// What Redis answered in place of what was asked for.
    pub(super) fn of_answer(text: &str) -> Self {
        from_answer(answer_code(text).unwrap_or_default(), text)
    }

    /// The same error, with where it happened.
    pub(super) fn at(self, place: &str) -> Self {
        match self {
            Self::Unreachable(text) => Self::Unreachable(format!("{place}: {text}")),
            Self::Refused(text) => Self::Refused(format!("{place}: {text}")),
            Self::WrongType(text) => Self::WrongType(format!("{place}: {text}")),
            Self::Protocol(text) => Self::Protocol(format!("{place}: {text}")),
            Self::Options(text) => Self::Options(format!("{place}: {text}")),
        }
    }
}

impl From<ConnectionError> for BusError {
    fn from(error: ConnectionError) -> Self {
        let fault = match error {
            ConnectionError::Unreachable(_) => Fault::Unreachable,
            ConnectionError::Refused(_) => Fault::Refused,
            ConnectionError::WrongType(_) | ConnectionError::Protocol(_) | ConnectionError::Options(_) => Fault::Other,
        };
        Self::new(fault, error.code(), error.to_string())
    }
}

impl From<Error> for ConnectionError {
    fn from(error: Error) -> Self {
        match answer_code(error.details()) {
            Some(code) => from_answer(code, error.details()),
            None => from_client(error.kind(), error.details()),
        }
    }
}

/// The first word of an error that Redis answered. What fred says itself does not start with capitals.
fn answer_code(text: &str) -> Option<&str> {
    let word = text.split(' ').next()?;
    (word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase())).then_some(word)
}

fn from_answer(code: &str, text: &str) -> ConnectionError {
    let shown = without_arguments(text);
    match code {
        "WRONGPASS" | "NOAUTH" | "NOPERM" | "DENIED" => ConnectionError::Refused(shown),
        // Before Redis 6: a wrong password, and AUTH with a user.
        "ERR" if text.contains("invalid password") || text.contains("'auth'") => ConnectionError::Refused(shown),
        "ERR" if text.contains("max number of clients") => ConnectionError::Unreachable(shown),
        "READONLY" | "LOADING" | "MASTERDOWN" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN" | "UNBLOCKED" => {
            ConnectionError::Unreachable(shown)
        }
        "WRONGTYPE" => ConnectionError::WrongType(shown),
        _ => ConnectionError::Protocol(shown),
    }
}

/// Redis repeats the arguments of a command that it does not know; those of AUTH are secret.
fn without_arguments(text: &str) -> String {
    let end = text.find(", with args").unwrap_or(text.len());
    text.chars()
        .take(text.get(..end).map_or(0, |kept| kept.chars().count()).min(MAX_ANSWER))
        .collect()
}

fn from_client(kind: &ErrorKind, details: &str) -> ConnectionError {
    match kind {
        ErrorKind::Auth => ConnectionError::Refused(details.to_owned()),
        ErrorKind::Protocol | ErrorKind::Parse => ConnectionError::foreign(),
        ErrorKind::Config | ErrorKind::InvalidArgument => ConnectionError::Options(of_system(details)),
        ErrorKind::Timeout => ConnectionError::unanswered(),
        _ => ConnectionError::Unreachable(of_system(details)),
    }
}

/// The readable part of an error of the system or of TLS, which fred passes on in its `Debug` form.
fn of_system(details: &str) -> String {
    // `Os { code: 111, kind: …, message: "…" }`, `Custom { kind: …, error: "…" }`, `Custom { kind: …, error: … }`
    let quoted = ["message: \"", "error: \""].iter().find_map(|start| {
        let (_, rest) = details.split_once(start)?;
        rest.rsplit_once('"').map(|(text, _)| text.replace("\\\"", "\""))
    });
    let inner = details.split_once("error: ").map_or(details, |(_, inner)| inner);
    let inner = inner.strip_suffix(" }").unwrap_or(inner);
    let text = match quoted.as_deref() {
        Some("tls handshake eof") => "the connection ended during the TLS handshake".to_owned(),
        Some(text) => text.to_owned(),
        None => of_tls(inner),
    };
    text.chars().take(MAX_ANSWER).collect()
}

/// An error of TLS in words, like `InvalidCertificate(UnknownIssuer)`; any other text stays as it is.
pub(super) fn of_tls(text: &str) -> String {
    let (name, inside) = text.split_once(['(', ' ', '{']).unwrap_or((text, ""));
    if !is_name(name) {
        return text.to_owned();
    }
    let inside = reason(inside);
    match name {
        "InvalidCertificate" => format!("the certificate is not accepted ({inside})"),
        "AlertReceived" => format!("the server ends the TLS handshake ({inside})"),
        "InvalidMessage" => "what answers does not speak TLS".to_owned(),
        _ if inside.is_empty() => words(name),
        _ => format!("{} ({inside})", words(name)),
    }
}

/// The innermost name of a `Debug` form, in words: `Other(OtherError(CaUsedAsEndEntity))`, `ExpiredContext { … }`.
fn reason(inside: &str) -> String {
    let forms = inside.split(" {").next().unwrap_or_default();
    let name = forms.split(['(', ')']).rfind(|name| !name.is_empty());
    words(name.unwrap_or_default().trim_end_matches("Context"))
}

/// Whether this is a name like `UnknownIssuer`, and no word of a text.
fn is_name(text: &str) -> bool {
    let capitals = text.bytes().filter(u8::is_ascii_uppercase).count();
    capitals > 1 && capitals < text.len() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `UnknownIssuer` as `unknown issuer`.
fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(character.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: ErrorKind, text: &str) -> ConnectionError {
        ConnectionError::from(Error::new(kind, text.to_owned()))
    }

    #[test]
    fn answers_of_redis_are_told_apart() {
        let code = |text| of(ErrorKind::Unknown, text).code();
        assert_eq!(code("WRONGPASS invalid username-password pair"), "ERR_REDIS_AUTH");
        assert_eq!(code("NOPERM this user has no permissions"), "ERR_REDIS_AUTH");
        assert_eq!(code("ERR invalid password"), "ERR_REDIS_AUTH");
        assert_eq!(code("WRONGTYPE Operation against a key"), "ERR_REDIS_KEY");
        assert_eq!(
            code("READONLY You can't write against a read only replica."),
            "ERR_REDIS_UNREACHABLE"
        );
        assert_eq!(code("ERR DB index is out of range"), "ERR_REDIS");
        assert_eq!(code("Client is not initialized."), "ERR_REDIS_UNREACHABLE");
    }

    #[test]
    fn a_password_that_redis_repeats_is_left_out() {
        let error = of(
            ErrorKind::Unknown,
            "ERR unknown command 'AUTH', with args beginning with: 'hunter2' ",
        );
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn errors_of_the_system_and_of_tls_are_readable() {
        for (debug, readable) in [
            (
                r#"Os { code: 111, kind: ConnectionRefused, message: "Connection refused" }"#,
                "Connection refused",
            ),
            (
                r#"Custom { kind: Uncategorized, error: "failed to lookup address information: Name or service not known" }"#,
                "failed to lookup address information: Name or service not known",
            ),
            (r#"Custom { kind: Other, error: "of \"a\" name" }"#, r#"of "a" name"#),
            (
                r#"Custom { kind: UnexpectedEof, error: "tls handshake eof" }"#,
                "the connection ended during the TLS handshake",
            ),
            (
                "Custom { kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }",
                "the certificate is not accepted (unknown issuer)",
            ),
            (
                "Custom { kind: InvalidData, error: InvalidCertificate(NotValidForNameContext { expected: DnsName(\"a\"), presented: [] }) }",
                "the certificate is not accepted (not valid for name)",
            ),
            (
                "Custom { kind: InvalidData, error: InvalidCertificate(Other(OtherError(CaUsedAsEndEntity))) }",
                "the certificate is not accepted (ca used as end entity)",
            ),
            (
                "Custom { kind: InvalidData, error: AlertReceived(CertificateRequired) }",
                "the server ends the TLS handshake (certificate required)",
            ),
            (
                "Custom { kind: InvalidData, error: InvalidMessage(InvalidContentType) }",
                "what answers does not speak TLS",
            ),
            ("InvalidDnsNameError", "invalid dns name error"),
            ("Client is not initialized.", "Client is not initialized."),
        ] {
            let expected = ConnectionError::Unreachable(readable.to_owned());
            assert_eq!(of(ErrorKind::IO, debug), expected, "{debug}");
        }
        let foreign = of(ErrorKind::Parse, "Decode Error: frame_type: Invalid frame type.");
        assert_eq!(foreign, ConnectionError::foreign());
    }
}

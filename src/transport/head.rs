//! The head of a request: the handshake object made of it, and what a WebSocket client offers.

use std::{borrow::Cow, fmt::Write as _, sync::Arc};

use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use tungstenite::handshake::derive_accept_key;

use super::entrance::Caller;
use crate::hub::{Handshake, URL_MEMBER};

/// What the handshake object and the service need of a request that opens a session.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// Members of the handshake object, the URL first.
    members: Arc<str>,
}

impl Head {
    /// `url` as in the request line.
    pub(super) fn new(url: &str, caller: &Caller) -> Self {
        let Caller {
            headers,
            address,
            is_secure,
            ..
        } = caller;
        let members = format!(
            "{URL_MEMBER}{},\"headers\":{headers},\"address\":{},\"secure\":{is_secure}",
            json!(url),
            json!(address)
        );
        Self {
            members: members.into(),
        }
    }

    /// The handshake of a socket; JavaScript derives `query`, `time` and `xdomain`.
    pub(super) fn handshake(&self, auth: &str) -> Handshake {
        Handshake::Parts {
            auth: auth.into(),
            members: self.members.clone(),
        }
    }
}

/// Headers as Node.js gives them, a JSON object in the order of their arrival: of those that there may be one of, the first;
/// of others, all in one text.
pub(super) fn headers_json(headers: &HeaderMap) -> String {
    let mut object = String::from("{");
    for name in headers.keys() {
        let mut values = headers.get_all(name).iter().map(text_of);
        let value = match name.as_str() {
            "set-cookie" => values.collect::<Vec<_>>().into(),
            "cookie" => values.collect::<Vec<_>>().join("; ").into(),
            single if SINGLE.contains(&single) => values.next().unwrap_or_default().into(),
            _ => serde_json::Value::from(values.collect::<Vec<_>>().join(", ")),
        };
        let comma = if object.len() > 1 { "," } else { "" };
        // Names are tokens, which need no escapes. Writing to a text cannot fail.
        let _ = write!(object, "{comma}\"{name}\":{value}");
    }
    object.push('}');
    object
}

/// Of which Node.js keeps the first (`http`, "message.headers").
const SINGLE: [&str; 16] = [
    "age",
    "authorization",
    "content-length",
    "content-type",
    "etag",
    "expires",
    "from",
    "host",
    "if-modified-since",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "proxy-authorization",
    "referer",
    "user-agent",
];

/// The bytes of a header as Node.js reads them: Latin-1.
pub(super) fn text_of(value: &HeaderValue) -> String {
    value.as_bytes().iter().copied().map(char::from).collect()
}

/// The headers by which a client asks for WebSocket (RFC 6455, section 4.1).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Offer<'a> {
    #[serde(borrow)]
    upgrade: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "sec-websocket-key")]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "sec-websocket-version")]
    version: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "sec-websocket-protocol")]
    protocols: Option<Cow<'a, str>>,
}

impl<'a> Offer<'a> {
    /// Reads them from a JSON object of all headers; what cannot be read offers nothing.
    pub(super) fn parse(headers: &'a str) -> Self {
        serde_json::from_str(headers).unwrap_or_default()
    }

    /// The response that accepts the offer, or what is wrong with it.
    pub(super) fn accept(&self) -> Result<String, &'static str> {
        if !self
            .upgrade
            .as_deref()
            .is_some_and(|name| name.eq_ignore_ascii_case("websocket"))
        {
            return Err("Invalid Upgrade header");
        }
        let key = self
            .key
            .as_deref()
            .filter(|key| is_websocket_key(key))
            .ok_or("Missing or invalid Sec-WebSocket-Key header")?;
        if !matches!(self.version.as_deref(), Some("13" | "8")) {
            return Err("Missing or invalid Sec-WebSocket-Version header");
        }
        let accept = derive_accept_key(key.as_bytes());
        let protocol = self
            .protocols
            .as_deref()
            .and_then(|offered| offered.split(',').next())
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"))
            .unwrap_or_default();
        Ok(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
        ))
    }
}

/// 16 bytes in base64, as RFC 6455 asks.
fn is_websocket_key(key: &str) -> bool {
    key.len() == 24
        && key.ends_with("==")
        && key
            .bytes()
            .take(22)
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_told_as_node_tells_them() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-b", "1"),
            ("host", "first"),
            ("x-a", "\"q\""),
            ("host", "second"),
            ("x-b", "2"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("set-cookie", "c=3"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.append("x-latin", HeaderValue::from_bytes(b"\xe9").unwrap());
        assert_eq!(
            headers_json(&headers),
            r#"{"x-b":"1, 2","host":"first","x-a":"\"q\"","cookie":"a=1; b=2","set-cookie":["c=3"],"x-latin":"é"}"#
        );
    }
}

//! What a client said when it connected, and the one reading of a request's query.

use std::{borrow::Cow, sync::Arc};

/// What the members of [`Handshake::Parts`] begin with.
pub const URL_MEMBER: &str = "\"url\":";
/// Parameters that are read, as Node.js has it.
const MOST_PARAMETERS: usize = 1_000;

/// What a client said when it connected, for JavaScript's handshake object.
#[derive(Debug, Clone)]
pub enum Handshake {
    /// A JSON object.
    Whole(Box<str>),
    /// The `auth` of CONNECT, a JSON object or nothing, and the other members, which the transport's session shares.
    Parts {
        /// `auth` as JSON.
        auth: Box<str>,
        /// Members as JSON, without braces, the URL first: [`URL_MEMBER`], headers, address.
        members: Arc<str>,
    },
}

impl Handshake {
    /// The handshake as a JSON object; `issued` is when the connection was made.
    pub fn json(&self, issued: u64) -> Cow<'_, str> {
        match self {
            Self::Whole(json) => Cow::Borrowed(json),
            Self::Parts { auth, members } => {
                let auth = if auth.is_empty() { "{}" } else { auth };
                Cow::Owned(format!("{{\"auth\":{auth},\"issued\":{issued},{members}}}"))
            }
        }
    }
}

impl Handshake {
    /// The URL of the request, if there is one.
    pub fn url(&self) -> Option<String> {
        match self {
            Self::Whole(json) => serde_json::from_str::<Target<'_>>(json).ok()?.url.map(Cow::into_owned),
            Self::Parts { members, .. } => {
                let json = members.strip_prefix(URL_MEMBER)?;
                serde_json::Deserializer::from_str(json).into_iter().next()?.ok()
            }
        }
    }
}

/// The part of a handshake that holds its query.
#[derive(serde::Deserialize)]
struct Target<'a> {
    #[serde(borrow, default)]
    url: Option<Cow<'a, str>>,
}

impl From<&str> for Handshake {
    fn from(json: &str) -> Self {
        Self::Whole(json.into())
    }
}

/// The query of a URL, read as Node.js's `querystring` reads it, which is what `handshake.query` shows: a parameter that
/// is given once is a text, one that is given more often a list.
///
/// Whatever the package itself asks of it (`transport`, `sid`, `EIO`, `username`, `email`) has to be a text. A parameter
/// that is repeated names nothing, rather than one of its values, which nobody could tell from the others.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// The query of a URL as in the request line.
    pub fn of(url: &'a str) -> Self {
        Self(url.split_once('?').map_or("", |(_, query)| query))
    }

    /// A parameter that is given exactly once.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut values = self.named(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }

    /// Whether a parameter says anything: it is repeated, or not empty.
    pub fn gives(&self, name: &str) -> bool {
        let mut values = self.named(name);
        match (values.next(), values.next()) {
            (Some(value), None) => !value.is_empty(),
            (first, _) => first.is_some(),
        }
    }

    /// The query as a JSON object, as Node.js's servers tell it.
    pub fn json(&self) -> String {
        let mut members = serde_json::Map::new();
        for (key, value) in self.parameters() {
            match members.get_mut(&*key) {
                Some(serde_json::Value::Array(values)) => values.push(value.into()),
                Some(first) => *first = serde_json::Value::Array(vec![first.take(), value.into()]),
                None => {
                    members.insert(key.into_owned(), value.into());
                }
            }
        }
        serde_json::Value::from(members).to_string()
    }

    /// The values of a parameter. Each request asks for some: only what may be it is decoded.
    fn named(&self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        self.pairs().filter_map(move |pair| {
            let key = pair.split('=').next().unwrap_or_default();
            let is_encoded = key.contains(['%', '+']);
            let decoded = (is_encoded || key == name).then(|| form_urlencoded::parse(pair.as_bytes()).next());
            let (key, value) = decoded.flatten()?;
            (key == name).then_some(value)
        })
    }

    fn parameters(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        self.pairs()
            .filter_map(|pair| form_urlencoded::parse(pair.as_bytes()).next())
    }

    fn pairs(&self) -> impl Iterator<Item = &'a str> {
        let pairs = self.0.split('&').filter(|pair| !pair.is_empty());
        pairs.take(MOST_PARAMETERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(url: &'a str, name: &str) -> Option<Cow<'a, str>> {
        Query::of(url).text(name)
    }

    #[test]
    fn a_parameter_that_is_given_once_is_a_text() {
        assert_eq!(text("/s/?EIO=4&email=a%40b.c+d", "email").as_deref(), Some("a@b.c d"));
        assert_eq!(text("/s/?a=&b", "a").as_deref(), Some(""));
        assert_eq!(text("/s/?a=&b", "b").as_deref(), Some(""));
    }

    #[test]
    fn a_parameter_that_is_repeated_names_nothing() {
        let url = "/s/?username=a&username=b&%75sername=c";
        assert_eq!(text(url, "username"), None);
        assert!(Query::of(url).gives("username"));
        assert_eq!(Query::of(url).json(), r#"{"username":["a","b","c"]}"#);
    }

    #[test]
    fn what_is_missing_or_empty_gives_nothing() {
        for url in ["/s", "/s?", "/s/?sid=", "/s/?other=1"] {
            assert!(!Query::of(url).gives("sid"), "{url}");
        }
    }

    #[test]
    fn parameters_beyond_those_that_node_reads_are_not_there() {
        let url = format!("/?{}last=1", "a=1&".repeat(MOST_PARAMETERS));
        assert_eq!(text(&url, "last"), None);
        assert_eq!(text(&url[..url.len() - 4], "last"), None);
        let url = format!("/?{}last=1", "a=1&".repeat(MOST_PARAMETERS - 1));
        assert_eq!(text(&url, "last").as_deref(), Some("1"));
    }

    #[test]
    fn the_url_is_found_in_a_handshake_of_either_form() {
        let whole = Handshake::from(r#"{"auth":{"url":"/?email=no"},"headers":{"a":"b"},"url":"/s/?e\u006d=\u0061"}"#);
        assert_eq!(whole.url().as_deref(), Some("/s/?em=a"));
        let parts = Handshake::Parts {
            auth: r#"{"url":"/?no"}"#.into(),
            members: r#""url":"/s","headers":{}"#.into(),
        };
        assert_eq!(parts.url().as_deref(), Some("/s"));
        for none in ["{}", "", r#"{"headers":{}}"#] {
            assert_eq!(Handshake::from(none).url(), None, "{none}");
        }
    }
}

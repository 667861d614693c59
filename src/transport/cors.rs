//! What browsers are told about other origins (CORS), in the forms that need no JavaScript; as the npm package `cors` has it.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;

/// Which origins may.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Allowed {
    /// Every one, or none but the server's own.
    All(bool),
    /// This one, or `*`.
    One(String),
    /// These.
    Some(Vec<String>),
}

/// The option `cors`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cors {
    origin: Allowed,
    #[serde(default)]
    credentials: bool,
    /// Comma-separated, as in their headers.
    methods: Option<String>,
    allowed_headers: Option<String>,
    exposed_headers: Option<String>,
    max_age: Option<String>,
    #[serde(default)]
    preflight_continue: bool,
    options_success_status: Option<u16>,
}

impl Cors {
    /// The headers of every response to a request.
    pub(super) fn headers(&self, request: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let origin = request.get(header::ORIGIN);
        match &self.origin {
            // As `cors` has it, without an answer about anything else.
            Allowed::All(false) => return headers,
            Allowed::One(one) if one == "*" => put(&mut headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, one),
            Allowed::One(one) => {
                put(&mut headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, one);
                put(&mut headers, header::VARY, "Origin");
            }
            Allowed::All(true) | Allowed::Some(_) => {
                if let Some(origin) = origin.filter(|origin| self.is_allowed(origin)) {
                    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                }
                put(&mut headers, header::VARY, "Origin");
            }
        }
        if self.credentials {
            put(&mut headers, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        if let Some(exposed) = &self.exposed_headers {
            put(&mut headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        headers
    }

    /// The headers of the answer to a preflight request, and its status unless it is to be answered like others.
    pub(super) fn preflight(&self, request: &HeaderMap) -> (Option<u16>, HeaderMap) {
        let mut headers = self.headers(request);
        if matches!(self.origin, Allowed::All(false)) {
            return (None, headers);
        }
        let methods = self.methods.as_deref().unwrap_or("GET,HEAD,PUT,PATCH,POST,DELETE");
        put(&mut headers, header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        match &self.allowed_headers {
            Some(allowed) => put(&mut headers, header::ACCESS_CONTROL_ALLOW_HEADERS, allowed),
            None => {
                if let Some(asked) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
                }
                let vary = match headers.contains_key(header::VARY) {
                    true => "Origin, Access-Control-Request-Headers",
                    false => "Access-Control-Request-Headers",
                };
                put(&mut headers, header::VARY, vary);
            }
        }
        if let Some(age) = &self.max_age {
            put(&mut headers, header::ACCESS_CONTROL_MAX_AGE, age);
        }
        let status = self.options_success_status.unwrap_or(204);
        (Some(status).filter(|_| !self.preflight_continue), headers)
    }

    /// Whether an upgrade may go on, about which browsers ask nobody. Without an `Origin` it comes from no page; and the
    /// page that the server itself has sent may always come back to it.
    pub(super) fn admits_upgrade(&self, request: &HeaderMap, secure: bool) -> bool {
        let Some(origin) = request.get(header::ORIGIN) else {
            return true;
        };
        let is_any = matches!(&self.origin, Allowed::One(one) if one == "*");
        is_any || self.is_allowed(origin) || is_own(origin, request.get(header::HOST), secure)
    }

    fn is_allowed(&self, origin: &HeaderValue) -> bool {
        match &self.origin {
            Allowed::All(all) => *all,
            Allowed::One(one) => one.as_bytes() == origin.as_bytes(),
            Allowed::Some(some) => some.iter().any(|one| one.as_bytes() == origin.as_bytes()),
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether a page comes from this server. Its scheme may differ when TLS ends in front of it, but a page without TLS is no
/// part of a server with it.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>, secure: bool) -> bool {
    let (Ok(origin), Some(Ok(host))) = (origin.to_str(), host.map(HeaderValue::to_str)) else {
        return false;
    };
    let Some((scheme, page)) = origin.split_once("://") else {
        return false;
    };
    let port = match scheme {
        "https" => ":443",
        "http" if !secure => ":80",
        _ => return false,
    };
    let plain = |host: &str| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
    plain(page) == plain(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(json: &str) -> Cors {
        serde_json::from_str(json).unwrap()
    }

    fn request(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        headers.iter().map(pair).collect()
    }

    fn text(headers: &HeaderMap, name: HeaderName) -> &str {
        headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn a_list_reflects_whom_it_names_and_says_that_it_depends_on_the_origin() {
        let cors = cors(r#"{"origin":["https://a","https://b"],"credentials":true}"#);
        let named = cors.headers(&request(&[("origin", "https://b")]));
        assert_eq!(text(&named, header::ACCESS_CONTROL_ALLOW_ORIGIN), "https://b");
        assert_eq!(text(&named, header::ACCESS_CONTROL_ALLOW_CREDENTIALS), "true");
        let other = cors.headers(&request(&[("origin", "https://c")]));
        assert_eq!(text(&other, header::ACCESS_CONTROL_ALLOW_ORIGIN), "");
        assert_eq!(text(&other, header::VARY), "Origin");
        assert!(!cors.admits_upgrade(&request(&[("origin", "https://c")]), false));
        assert!(cors.admits_upgrade(&request(&[]), false));
    }

    #[test]
    fn a_preflight_is_answered_with_what_was_asked_for() {
        let asked = request(&[("origin", "https://a"), ("access-control-request-headers", "x-key")]);
        let (status, headers) = cors(r#"{"origin":"*"}"#).preflight(&asked);
        assert_eq!(status, Some(204));
        assert_eq!(text(&headers, header::ACCESS_CONTROL_ALLOW_HEADERS), "x-key");
        assert_eq!(text(&headers, header::VARY), "Access-Control-Request-Headers");
        assert_eq!(cors(r#"{"origin":false}"#).preflight(&asked), (None, HeaderMap::new()));
        let goes_on = cors(r#"{"origin":"*","preflightContinue":true}"#).preflight(&asked);
        assert_eq!(goes_on, (None, headers));
    }

    #[test]
    fn the_servers_own_page_may_always_come_back() {
        let cors = cors(r#"{"origin":false}"#);
        for (origin, host, secure, is_own) in [
            ("http://a.b:8080", "a.b:8080", false, true),
            ("https://A.b", "a.b", false, true),
            ("https://a.b", "a.b:443", true, true),
            ("http://a.b", "a.b", true, false),
            ("http://a.b", "a.c", false, false),
            ("null", "null", false, false),
        ] {
            let headers = request(&[("origin", origin), ("host", host)]);
            assert_eq!(cors.admits_upgrade(&headers, secure), is_own, "{origin} {host}");
        }
    }
}

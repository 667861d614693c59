//! Who may open a session: how many there are in all and from one address, and how often one is asked for.
//!
//! An address is the client's own, or the one that trusted proxies say is behind them. Of IPv6, 64 bits count: who has one
//! address there has all of its network.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dashmap::DashMap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Deserialize;

use crate::{
    config::{Limit, LimitsConfig, TrustProxy},
    keyed_rate::KeyedRate,
};

/// What a door knows of a request.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The headers, a JSON object as Node.js gives it.
    pub headers: String,
    /// The client's address; empty over a Unix socket.
    pub address: String,
    /// Whether the connection is encrypted.
    pub is_secure: bool,
    /// Its handshake has been counted already.
    pub is_counted: bool,
}

/// Who may open a session.
#[derive(Debug)]
pub(super) struct Entrance {
    proxies: TrustProxy,
    most: Option<usize>,
    most_of_address: Option<usize>,
    rate: Option<DefaultDirectRateLimiter>,
    rate_of_address: Option<KeyedRate<IpAddr>>,
    taken: Arc<Taken>,
}

/// The places that sessions have taken.
#[derive(Debug, Default)]
struct Taken {
    all: AtomicUsize,
    by_address: DashMap<IpAddr, usize>,
}

/// A session's place among those that may be open at a time; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<Taken>,
    address: Option<IpAddr>,
}

impl Entrance {
    /// Nobody has come yet.
    pub(super) fn new(limits: &LimitsConfig) -> Self {
        let quota = |rate: NonZeroU32| Quota::per_second(rate);
        Self {
            proxies: limits.trust_proxy.clone(),
            most: limits.max_connections,
            most_of_address: limits.connections_per_address,
            rate: limits.handshakes_per_second.map(quota).map(RateLimiter::direct),
            rate_of_address: limits.handshakes_per_second_per_address.map(quota).map(KeyedRate::new),
            taken: Arc::default(),
        }
    }

    /// Counts a handshake. An error when there are too many of them.
    pub(super) fn knock(&self, caller: &Caller) -> Result<(), Limit> {
        if caller.is_counted {
            return Ok(());
        }
        if let Some(rate) = &self.rate_of_address
            && let Some(address) = self.address_of(caller)
            && !rate.allows(&address)
        {
            return Err(Limit::HandshakesPerSecondPerAddress);
        }
        match &self.rate {
            Some(rate) if rate.check().is_err() => Err(Limit::HandshakesPerSecond),
            _ => Ok(()),
        }
    }

    /// Takes a place for a session; none is needed where they are not limited. An error when there is none.
    pub(super) fn enter(&self, caller: &Caller) -> Result<Option<Box<Place>>, Limit> {
        if self.most.is_none() && self.most_of_address.is_none() {
            return Ok(None);
        }
        let mut place = Place {
            taken: self.taken.clone(),
            address: None,
        };
        // Given back by the place, whatever comes.
        let others = self.taken.all.fetch_add(1, Ordering::AcqRel);
        if self.most.is_some_and(|most| others >= most) {
            return Err(Limit::MaxConnections);
        }
        if let Some(most) = self.most_of_address
            && let Some(address) = self.address_of(caller)
        {
            let mut taken = self.taken.by_address.entry(address).or_insert(0);
            if *taken >= most {
                return Err(Limit::ConnectionsPerAddress);
            }
            *taken += 1;
            place.address = Some(address);
        }
        Ok(Some(Box::new(place)))
    }

    /// Where a client is, as far as it is known: as `proxy-addr` has it, the first on the way to it that is not trusted.
    fn address_of(&self, caller: &Caller) -> Option<IpAddr> {
        let mut address: IpAddr = caller.address.parse().ok()?;
        if !self.proxies.is_off() && caller.headers.contains("x-forwarded-for") {
            let forwarded = Forwarded::of(&caller.headers);
            let behind = forwarded.split(',').rev().map(str::trim);
            for (hops, next) in behind.enumerate() {
                // What is no address was not written by a proxy.
                match next.parse() {
                    Ok(next) if self.proxies.trusts(address.to_canonical(), hops) => address = next,
                    _ => break,
                }
            }
        }
        Some(counted(address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.all.fetch_sub(1, Ordering::AcqRel);
        if let Some(address) = self.address
            && let dashmap::Entry::Occupied(mut taken) = self.taken.by_address.entry(address)
        {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

/// What of an address counts.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

/// The header in which proxies say who is behind them.
#[derive(Debug, Default, Deserialize)]
struct Forwarded {
    #[serde(rename = "x-forwarded-for", default)]
    addresses: String,
}

impl Forwarded {
    /// Empty when there is none.
    fn of(headers: &str) -> String {
        serde_json::from_str(headers)
            .unwrap_or_else(|_| Self::default())
            .addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrance(limits: &str) -> Entrance {
        Entrance::new(&serde_json::from_str(limits).unwrap())
    }

    fn from(address: &str) -> Caller {
        Caller {
            address: address.to_owned(),
            ..Caller::default()
        }
    }

    fn behind(address: &str, forwarded: &str) -> Caller {
        Caller {
            headers: format!(r#"{{"host":"a","x-forwarded-for":"{forwarded}"}}"#),
            ..from(address)
        }
    }

    #[test]
    fn without_limits_nothing_is_kept() {
        let entrance = entrance("{}");
        assert!(entrance.knock(&from("192.0.2.1")).is_ok());
        assert!(entrance.enter(&from("192.0.2.1")).unwrap().is_none());
        assert_eq!(entrance.taken.all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn places_are_counted_in_all_and_given_back() {
        let entrance = entrance(r#"{"maxConnections":2}"#);
        let first = entrance.enter(&from("192.0.2.1")).unwrap();
        let second = entrance.enter(&from("")).unwrap();
        assert_eq!(entrance.enter(&from("192.0.2.2")).unwrap_err(), Limit::MaxConnections);
        drop(first);
        let third = entrance.enter(&from("192.0.2.2")).unwrap();
        assert!(entrance.enter(&from("192.0.2.2")).is_err());
        drop((second, third));
        assert_eq!(entrance.taken.all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn places_of_an_address_are_counted_however_it_is_written() {
        let entrance = entrance(r#"{"connectionsPerAddress":1}"#);
        for (one, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8:0:0:ffff::2", "2001:db8:0:1::1"),
        ] {
            let place = entrance.enter(&from(one)).unwrap();
            assert_eq!(entrance.enter(&from(same)).unwrap_err(), Limit::ConnectionsPerAddress);
            assert!(entrance.enter(&from(other)).is_ok(), "{other}");
            drop(place);
            assert!(entrance.enter(&from(same)).is_ok());
        }
        assert!(entrance.taken.by_address.is_empty() && entrance.taken.all.load(Ordering::Relaxed) == 0);
    }

    #[test]
    fn handshakes_of_an_address_and_in_all_have_a_rate() {
        let entrance = entrance(r#"{"handshakesPerSecondPerAddress":2,"handshakesPerSecond":3}"#);
        assert!(entrance.knock(&from("192.0.2.1")).is_ok() && entrance.knock(&from("192.0.2.1")).is_ok());
        let again = entrance.knock(&from("192.0.2.1"));
        assert_eq!(again, Err(Limit::HandshakesPerSecondPerAddress));
        assert!(entrance.knock(&from("192.0.2.2")).is_ok());
        assert_eq!(entrance.knock(&from("192.0.2.3")), Err(Limit::HandshakesPerSecond));
        let counted = Caller {
            is_counted: true,
            ..from("192.0.2.1")
        };
        assert!(entrance.knock(&counted).is_ok());
    }

    #[test]
    fn a_forwarded_address_counts_only_where_a_trusted_proxy_says_it() {
        let address = |limits: &str, caller: &Caller| entrance(limits).address_of(caller).unwrap().to_string();
        let forged = behind("10.0.0.1", "203.0.113.9, 198.51.100.2");
        assert_eq!(address("{}", &forged), "10.0.0.1");
        assert_eq!(address(r#"{"trustProxy":{"hops":1}}"#, &forged), "198.51.100.2");
        assert_eq!(address(r#"{"trustProxy":{"hops":9}}"#, &forged), "203.0.113.9");
        let networks = r#"{"trustProxy":{"networks":["10.0.0.0/8"]}}"#;
        assert_eq!(address(networks, &forged), "198.51.100.2");
        assert_eq!(address(networks, &behind("192.0.2.1", "203.0.113.9")), "192.0.2.1");
        assert_eq!(
            address(networks, &behind("::ffff:10.0.0.1", "203.0.113.9")),
            "203.0.113.9"
        );
        assert_eq!(
            address(networks, &behind("10.0.0.1", "203.0.113.9, not an address")),
            "10.0.0.1"
        );
        assert_eq!(address(networks, &behind("10.0.0.1", "")), "10.0.0.1");
    }
}

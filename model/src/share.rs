//! Which of the things that match get a fault.

use crate::draw;
use crate::matcher::Facts;
use crate::problem::Problem;
use crate::units::Percent;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Which of the things a fault counts (connections, requests) get it, decided by their ordinal among those that match.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// Every one.
    #[default]
    All,
    /// Each with this probability, drawn from (seed, ordinal).
    Percent(Percent),
    /// Every n-th: ordinals n, 2n, 3n, … counted from 1.
    Nth(u64),
    /// The first n.
    First(u64),
}

impl Share {
    /// Whether it is everything.
    pub fn is_all(&self) -> bool {
        *self == Share::All
    }

    /// Whether ordinal `n` (from 0) gets the fault.
    pub fn takes(self, seed: u64, n: u64) -> bool {
        match self {
            Share::All => true,
            Share::Percent(p) => draw::unit(seed, draw::Lane::Share, n) < p.fraction(),
            Share::Nth(k) => k > 0 && (n + 1).is_multiple_of(k),
            Share::First(k) => n < k,
        }
    }

    /// The largest part of the traffic it can hit, 0.0..=1.0.
    pub fn at_most(self) -> f64 {
        match self {
            Share::All | Share::First(_) => 1.0,
            Share::Percent(p) => p.fraction(),
            Share::Nth(k) => 1.0 / k.max(1) as f64,
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::All => f.pad("all"),
            Share::Percent(p) => p.fmt(f),
            Share::Nth(n) => f.pad(&format!("every {n}.")),
            Share::First(n) => f.pad(&format!("first {n}")),
        }
    }
}

/// By what a share counts instead of over all: each client (address), header's value or cookie's value by itself.
///
/// `first` and `nth` then count for each of them, and `percent` becomes a share of them: one either has the fault always
/// or never. Things that lack it (no such header) are not hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Per {
    /// The client's address.
    Client,
    /// The value of a request's header, by its lower-case name.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
}

impl Per {
    /// A number that stands for whom the thing comes from; none when it does not say.
    pub fn key(&self, facts: &dyn Facts) -> Option<u64> {
        match self {
            Per::Client => facts.client().map(|ip| match ip.to_canonical() {
                std::net::IpAddr::V4(ip) => draw::derive(4, &ip.to_string()),
                std::net::IpAddr::V6(ip) => draw::derive(6, &ip.to_string()),
            }),
            Per::Header(name) => facts.header(name).map(|v| draw::derive(1, v)),
            Per::Cookie(name) => {
                let pairs = facts.header("cookie")?.split(';').filter_map(|p| p.split_once('='));
                pairs
                    .map(|(n, v)| (n.trim(), v))
                    .find(|(n, _)| n == name)
                    .map(|(_, v)| draw::derive(2, v.trim()))
            }
        }
    }
}

impl FromStr for Per {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Per, Problem> {
        match text.split_once('.') {
            None if text == "client" => Ok(Per::Client),
            Some(("header", name)) if !name.is_empty() => Ok(Per::Header(name.to_lowercase())),
            Some(("cookie", name)) if !name.is_empty() => Ok(Per::Cookie(name.to_owned())),
            _ => Err(Problem::new(format!("a share cannot count per {text:?}"))
                .hint("write client, header.NAME or cookie.NAME")),
        }
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Per::Client => f.pad("client"),
            Per::Header(name) => write!(f, "header.{name}"),
            Per::Cookie(name) => write!(f, "cookie.{name}"),
        }
    }
}

impl Serialize for Per {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Per {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_decide_by_ordinal() {
        let hit = (0..10_000).filter(|n| Share::Percent(Percent::new(30.0).unwrap()).takes(7, *n)).count();
        assert!((2800..3200).contains(&hit), "{hit}");
        assert_eq!((0..9).filter(|n| Share::Nth(3).takes(7, *n)).collect::<Vec<_>>(), [2, 5, 8]);
        assert_eq!((0..9).filter(|n| Share::First(2).takes(7, *n)).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn whom_a_share_counts_by() {
        struct From(&'static str);
        impl Facts for From {
            fn client(&self) -> Option<std::net::IpAddr> {
                self.0.parse().ok()
            }
            fn header(&self, name: &str) -> Option<&str> {
                (name == "cookie").then_some("a=1; user=7")
            }
        }
        let per = |text: &str| text.parse::<Per>().unwrap();
        assert_eq!(per("client").key(&From("10.0.0.1")), per("client").key(&From("::ffff:10.0.0.1")));
        assert_ne!(per("client").key(&From("10.0.0.1")), per("client").key(&From("10.0.0.2")));
        assert!(per("cookie.user").key(&From("")).is_some() && per("header.x").key(&From("")).is_none());
        assert_eq!(per("header.X-User").to_string(), "header.x-user");
        assert!("user".parse::<Per>().unwrap_err().to_string().contains("header.NAME"));
    }
}

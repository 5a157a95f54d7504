//! What matchers ask of a request.

use super::message::{RequestHead, ResponseHead};
use crate::conn::Conn;
use model::matcher::Facts;
use std::net::IpAddr;

/// A request with its connection, and with its response once there is one.
pub(crate) struct Asked<'a> {
    /// Its connection.
    pub(crate) conn: &'a Conn,
    /// Its head.
    pub(crate) request: &'a RequestHead,
    /// The response's head.
    pub(crate) response: Option<&'a ResponseHead>,
}

impl Facts for Asked<'_> {
    fn client(&self) -> Option<IpAddr> {
        self.conn.client()
    }

    fn member(&self) -> Option<&str> {
        self.conn.member()
    }

    fn method(&self) -> Option<&str> {
        Some(self.request.method.as_str())
    }

    fn path(&self) -> Option<&str> {
        Some(self.request.path())
    }

    fn host(&self) -> Option<&str> {
        self.request.host()
    }

    fn sni(&self) -> Option<&str> {
        self.conn.sni()
    }

    fn query(&self) -> Option<&str> {
        self.request.query()
    }

    fn header(&self, name: &str) -> Option<&str> {
        // What HTTP/2 says beside its headers.
        if name == ":protocol" {
            return Some(&*self.request.protocol).filter(|p| !p.is_empty());
        }
        self.request.headers.text(name)
    }

    fn body_size(&self) -> Option<u64> {
        self.request.headers.text("content-length")?.trim().parse().ok()
    }

    fn status(&self) -> Option<u16> {
        self.response.map(|r| r.status.as_u16())
    }

    fn response_header(&self, name: &str) -> Option<&str> {
        self.response?.headers.text(name)
    }
}

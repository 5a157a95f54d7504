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
    #[allow(dead_code)] // until matchers ask for it
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

    fn header(&self, name: &str) -> Option<&str> {
        self.request.headers.text(name)
    }
}

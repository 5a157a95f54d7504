//! Answers that the proxy gives by itself, as if they came from a service.

use crate::http::h1::framing::{Body, has_no_body};
use crate::http::message::{Answer, Piece, ResponseHead};
use http::StatusCode;

/// An answer on its way.
pub(crate) struct Own {
    head: Option<ResponseHead>,
    pieces: std::vec::IntoIter<Piece>,
}

impl Own {
    /// That answer.
    pub(crate) fn new(answer: Answer) -> Own {
        let mut head = ResponseHead::new(answer.status);
        head.headers = answer.headers;
        let mut pieces = Vec::with_capacity(3);
        if answer.trailers.is_none() {
            head.headers.insert("content-length", answer.body.len().to_string());
        }
        if !answer.body.is_empty() {
            pieces.push(Piece::Data(answer.body));
        }
        pieces.extend(answer.trailers.map(Piece::Trailers));
        pieces.push(Piece::End);
        Own { head: Some(head), pieces: pieces.into_iter() }
    }

    /// The service gave no answer, or none that could be passed on.
    pub(crate) fn bad_gateway(why: &str) -> Own {
        let printable: String = why.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' }).collect();
        let headers = [("x-murphy-error", &*printable), ("content-type", "text/plain; charset=utf-8")];
        Own::new(Answer {
            status: StatusCode::BAD_GATEWAY,
            headers: headers.into_iter().collect(),
            body: format!("murphy: {why}\n").into(),
            trailers: None,
        })
    }

    /// Its head, and how the body is announced.
    pub(crate) fn head(&mut self, into: &mut ResponseHead) -> Body {
        if let Some(head) = self.head.take() {
            *into = head;
        }
        if has_no_body(into.status) {
            into.headers.remove("content-length");
            return Body::None;
        }
        match into.headers.text("content-length").and_then(|v| v.parse().ok()) {
            Some(n) => Body::Length(n),
            None => Body::Stream,
        }
    }

    /// The next piece.
    pub(crate) fn piece(&mut self) -> Option<Piece> {
        self.pieces.next()
    }

    /// Whether only the end is left.
    pub(crate) fn is_at_end(&self) -> bool {
        matches!(self.pieces.as_slice(), [Piece::End])
    }
}

//! Bodies as they pass the proxy.

use super::pool::Lease;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A response's body.
pub(crate) enum Body {
    /// One that the proxy made.
    Full(Option<Bytes>),
    /// The service's; its connection goes back to the pool when the body is over.
    Service(Incoming, Option<Lease>),
}

impl Body {
    /// A body of these bytes.
    pub(crate) fn full(bytes: Bytes) -> Body {
        Body::Full(Some(bytes).filter(|b| !b.is_empty()))
    }

    /// The service's body, on a connection that is lent for it.
    pub(crate) fn of_service(body: Incoming, lease: Option<Lease>) -> Body {
        let mut body = Body::Service(body, lease);
        body.give_back_if_over();
        body
    }

    fn give_back_if_over(&mut self) {
        if let Body::Service(body, lease) = self
            && http_body::Body::is_end_stream(body)
            && let Some(lease) = lease.take()
        {
            lease.give_back();
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        match this {
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Body::Service(body, lease) => {
                let frame = Pin::new(body).poll_frame(cx);
                match &frame {
                    Poll::Ready(None) => {
                        if let Some(lease) = lease.take() {
                            lease.give_back();
                        }
                    }
                    Poll::Ready(Some(Ok(_))) => this.give_back_if_over(),
                    // The connection broke; it is of no use to anyone.
                    Poll::Ready(Some(Err(_))) => drop(lease.take()),
                    Poll::Pending => {}
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(bytes) => bytes.is_none(),
            Body::Service(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Body::Service(body, _) => body.size_hint(),
        }
    }
}

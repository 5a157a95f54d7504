//! Buffers and heads that connections share: who waits holds none. Each thread keeps a few for whoever is next.

use crate::http::message::{RequestHead, ResponseHead};
use bytes::BytesMut;
use std::cell::RefCell;

/// What a reader has at first.
pub(crate) const SMALLEST: usize = 8 * 1024;
/// What a reader of a body has at most.
pub(crate) const LARGEST: usize = 256 * 1024;
/// What each thread keeps of each kind.
const KEEP: usize = 32;

thread_local! {
    static FREE: RefCell<Free> = const {
        RefCell::new(Free { input: Vec::new(), output: Vec::new(), heads: Vec::new() })
    };
}

struct Free {
    input: Vec<BytesMut>,
    output: Vec<Vec<u8>>,
    // Boxed, for they move between connections and this list.
    #[allow(clippy::vec_box)]
    heads: Vec<Box<Heads>>,
}

/// The heads of one exchange.
#[derive(Default)]
pub(crate) struct Heads {
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
}

/// An empty buffer to read into.
pub(crate) fn input() -> BytesMut {
    FREE.with_borrow_mut(|free| free.input.pop()).unwrap_or_else(|| BytesMut::with_capacity(SMALLEST))
}

/// Gives one back, if nothing in it is still used and it is of the usual size.
pub(crate) fn give_input(mut buffer: BytesMut) {
    if buffer.capacity() == 0 || buffer.capacity() > 2 * SMALLEST {
        return;
    }
    buffer.clear();
    if buffer.try_reclaim(SMALLEST) {
        give(|free| &mut free.input, buffer);
    }
}

/// An empty buffer to write from.
pub(crate) fn output() -> Vec<u8> {
    FREE.with_borrow_mut(|free| free.output.pop()).unwrap_or_default()
}

/// Gives one back.
pub(crate) fn give_output(mut buffer: Vec<u8>) {
    if buffer.capacity() > 0 && buffer.capacity() <= 2 * SMALLEST {
        buffer.clear();
        give(|free| &mut free.output, buffer);
    }
}

/// Empty heads.
pub(crate) fn heads() -> Box<Heads> {
    FREE.with_borrow_mut(|free| free.heads.pop()).unwrap_or_default()
}

/// Gives them back.
pub(crate) fn give_heads(mut heads: Box<Heads>) {
    heads.request.clear();
    heads.response.clear();
    if heads.request.headers.room() + heads.response.headers.room() <= 2 * SMALLEST {
        give(|free| &mut free.heads, heads);
    }
}

fn give<T>(kind: impl Fn(&mut Free) -> &mut Vec<T>, thing: T) {
    // A thread that is ending keeps nothing.
    let _ = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        let list = kind(&mut free);
        if list.len() < KEEP {
            list.push(thing);
        }
    });
}

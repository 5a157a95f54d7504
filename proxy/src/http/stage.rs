//! What lies between the two ends of a body, per direction: a chain of stages, one per fault that acts on it.
//!
//! As with bytes of connections, stages neither read sockets nor clocks: they are pushed what arrives and pulled for what
//! is due, with the time as an argument. The body's end travels through them like data.

use super::message::Piece;
use super::wire::Ending;
use crate::chain::earlier;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// As many bytes as one stage holds before the sender has to wait.
pub(crate) const HOLD: usize = 256 * 1024;

/// What comes out of a stage or of a chain.
#[derive(Debug, PartialEq)]
pub(crate) enum Pull {
    /// The next piece; the last one is the end.
    Piece(Piece),
    /// Nothing before that time, or before something is pushed or changes.
    Wait(Option<Instant>),
    /// The message breaks off here.
    Break(Ending),
}

/// One fault on one direction of one exchange.
pub(crate) trait BodyStage: Send {
    /// Takes a piece that came to this stage at `at`.
    fn push(&mut self, piece: Piece, at: Instant);

    /// Hands on what is due.
    fn pull(&mut self, now: Instant) -> Pull;

    /// Whether more should be pushed now. What is held is bounded by this, and then the sender feels it.
    fn room(&self) -> bool;

    /// Gives up all it holds, in order, each with the time at which it came.
    fn release(&mut self) -> Vec<(Piece, Instant)>;
}

/// A stage with what tells it from others.
pub(crate) struct Link {
    /// The armed fault, by its place in memory.
    pub(crate) fault: usize,
    /// Where it acts among others.
    pub(crate) order: (usize, u64),
    /// The version of the settings that it was made of.
    pub(crate) version: u64,
    /// The stage.
    pub(crate) stage: Box<dyn BodyStage>,
}

/// The stages of one direction, in the order in which they act.
#[derive(Default)]
pub(crate) struct BodyChain {
    links: Vec<Link>,
    /// What has passed all stages.
    out: VecDeque<Piece>,
}

impl BodyChain {
    /// Nothing is in between: pieces may pass directly.
    pub(crate) fn is_bypassed(&self) -> bool {
        self.links.is_empty() && self.out.is_empty()
    }

    /// Whether more should be read.
    pub(crate) fn room(&self) -> bool {
        match self.links.first() {
            Some(link) => link.stage.room(),
            None => self.out.is_empty(),
        }
    }

    /// Puts in what has arrived.
    pub(crate) fn push(&mut self, piece: Piece, now: Instant) {
        match self.links.first_mut() {
            Some(link) => link.stage.push(piece, now),
            None => self.out.push_back(piece),
        }
    }

    /// Takes out what is due.
    pub(crate) fn pull(&mut self, now: Instant) -> Pull {
        match self.out.pop_front() {
            Some(piece) => Pull::Piece(piece),
            None => pull_from(&mut self.links, now),
        }
    }

    /// Whether the fault has a stage in it of these settings.
    pub(crate) fn has(&self, fault: usize, version: u64) -> bool {
        self.links.iter().any(|l| l.fault == fault && l.version == version)
    }

    /// Puts in a fault's stage, in the place of the one it had before: what that held counts anew, from when it came.
    pub(crate) fn put(&mut self, mut link: Link) {
        if let Some(at) = self.links.iter().position(|l| l.fault == link.fault) {
            for (piece, came) in self.links[at].stage.release() {
                link.stage.push(piece, came);
            }
            self.links[at] = link;
            return;
        }
        let at = self.links.partition_point(|l| l.order < link.order);
        // What has passed already stays ahead, and what others hold comes to the new one in its turn.
        self.links.insert(at, link);
    }

    /// Takes out the stages for which it is false; what they held moves on at once.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize) -> bool, now: Instant) {
        // From the last to the first, so that what is nearer to the receiver stays ahead.
        for at in (0..self.links.len()).rev() {
            if keep(self.links[at].fault) {
                continue;
            }
            let mut gone = self.links.remove(at);
            let pieces = gone.stage.release().into_iter().map(|(piece, _)| piece);
            match self.links.get_mut(at) {
                Some(next) => pieces.for_each(|piece| next.stage.push(piece, now)),
                None => self.out.extend(pieces),
            }
        }
    }
}

fn pull_from(links: &mut [Link], now: Instant) -> Pull {
    let Some((last, before)) = links.split_last_mut() else { return Pull::Wait(None) };
    loop {
        let wait = match last.stage.pull(now) {
            Pull::Wait(at) => at,
            other => return other,
        };
        if before.is_empty() || !last.stage.room() {
            return Pull::Wait(wait);
        }
        match pull_from(before, now) {
            Pull::Piece(piece) => last.stage.push(piece, now),
            Pull::Wait(at) => return Pull::Wait(earlier(wait, at)),
            broken => return broken,
        }
    }
}

/// The place of something shared, which tells it from others while it is kept.
pub(crate) fn place<T>(shared: &Arc<T>) -> usize {
    Arc::as_ptr(shared) as usize
}

/// A queue of pieces with the time at which each came, and the bytes in it: what most stages hold.
#[derive(Default)]
pub(crate) struct HeldPieces {
    pieces: VecDeque<(Piece, Instant)>,
    bytes: usize,
}

impl HeldPieces {
    /// Adds at the end.
    pub(crate) fn push(&mut self, piece: Piece, at: Instant) {
        self.bytes += piece.len();
        self.pieces.push_back((piece, at));
    }

    /// The first one.
    pub(crate) fn front(&self) -> Option<&(Piece, Instant)> {
        self.pieces.front()
    }

    /// Takes the first one.
    pub(crate) fn pop(&mut self) -> Option<(Piece, Instant)> {
        let (piece, at) = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        Some((piece, at))
    }

    /// Takes the first one, of its data at most `most` bytes; the rest stays first.
    pub(crate) fn pop_bytes(&mut self, most: usize) -> Option<(Piece, Instant)> {
        match self.pieces.front_mut() {
            Some((Piece::Data(bytes), at)) if bytes.len() > most => {
                self.bytes -= most;
                Some((Piece::Data(bytes.split_to(most)), *at))
            }
            _ => self.pop(),
        }
    }

    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it is below what a stage may hold.
    pub(crate) fn room(&self) -> bool {
        self.bytes < HOLD && self.pieces.len() < HOLD / 64
    }

    /// Everything, in order.
    pub(crate) fn take(&mut self) -> Vec<(Piece, Instant)> {
        self.bytes = 0;
        std::mem::take(&mut self.pieces).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::time::Duration;

    /// Holds each piece for so long.
    struct Late(Duration, HeldPieces);

    impl BodyStage for Late {
        fn push(&mut self, piece: Piece, at: Instant) {
            self.1.push(piece, at);
        }
        fn pull(&mut self, now: Instant) -> Pull {
            match self.1.front() {
                Some((_, at)) if *at + self.0 > now => Pull::Wait(Some(*at + self.0)),
                Some(_) => self.1.pop().map_or(Pull::Wait(None), |(piece, _)| Pull::Piece(piece)),
                None => Pull::Wait(None),
            }
        }
        fn room(&self) -> bool {
            self.1.room()
        }
        fn release(&mut self) -> Vec<(Piece, Instant)> {
            self.1.take()
        }
    }

    fn late(fault: usize, ms: u64) -> Link {
        let stage = Box::new(Late(Duration::from_millis(ms), HeldPieces::default()));
        Link { fault, order: (fault, 0), version: 0, stage }
    }

    #[test]
    fn stages_act_in_order_and_let_go_when_they_are_gone() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut chain = BodyChain::default();
        assert!(chain.is_bypassed());
        chain.put(late(2, 20));
        chain.put(late(1, 10));
        let data = Piece::Data(Bytes::from_static(b"x"));
        chain.push(data.clone(), now);
        chain.push(Piece::End, now);
        assert_eq!(chain.pull(now), Pull::Wait(Some(at(10))));
        assert_eq!(chain.pull(at(10)), Pull::Wait(Some(at(30))));
        assert_eq!(chain.pull(at(30)), Pull::Piece(data.clone()));
        chain.push(data.clone(), at(30));
        chain.retain(|fault| fault != 2, at(30));
        assert_eq!(chain.pull(at(31)), Pull::Piece(Piece::End));
        chain.put(Link { version: 1, ..late(1, 5) });
        assert_eq!(chain.pull(at(36)), Pull::Piece(data));
        chain.retain(|_| false, at(36));
        assert!(chain.is_bypassed());
    }
}

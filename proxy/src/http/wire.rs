//! What only a codec can do to a message: how fast its head leaves, how it is malformed, how it breaks off.

use std::time::Duration;

/// How a message leaves that is not to leave as usual. Of several faults that ask for the same, the first counts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct WirePlan {
    /// The head leaves a few bytes at a time.
    pub(crate) pace: Option<Pace>,
    /// The message is not what it should be.
    pub(crate) malformed: Option<Malformed>,
    /// The message breaks off.
    pub(crate) breaks: Option<(Moment, Ending)>,
}

/// So many bytes, then a pause, and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// At least one.
    pub(crate) bytes: usize,
    /// The pause.
    pub(crate) every: Duration,
}

/// When a message breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before a byte of its head.
    BeforeHead,
    /// When all of it has left.
    AfterEnd,
}

/// How a message breaks off, and with HTTP/1.1 its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The connection ends in order.
    Fin,
    /// The connection is reset.
    Rst,
    /// HTTP/2: RST_STREAM with that code, and other streams go on. HTTP/1.1: as `Rst`.
    Reset(u32),
    /// HTTP/2: GOAWAY with that code. With zero streams that are open may end in order, which is also what other codes do
    /// not allow. HTTP/1.1: the connection ends in order, after the message with zero.
    GoAway(u32),
}

/// What is wrong with a message. HTTP/2 has its own framing; there each of them is RST_STREAM with PROTOCOL_ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// A chunk's size is not a number.
    ChunkSize,
    /// What ends a chunk is missing.
    ChunkEnd,
    /// The last chunk never comes, and the connection ends.
    NoLastChunk,
    /// `Content-Length` says more than comes.
    LengthTooLarge,
    /// `Content-Length` says less than comes.
    LengthTooSmall,
    /// There are two, and they differ.
    LengthTwice,
    /// It is not a number.
    LengthNotANumber,
    /// A header line has no colon.
    HeaderWithoutColon,
    /// The first line is not one.
    FirstLine,
}

impl WirePlan {
    /// Takes over what `self` leaves open.
    pub(crate) fn join(&mut self, other: WirePlan) {
        self.pace = self.pace.or(other.pace);
        self.malformed = self.malformed.or(other.malformed);
        self.breaks = self.breaks.or(other.breaks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_counts() {
        let mut plan = WirePlan::default();
        assert_eq!(plan, WirePlan::default());
        plan.join(WirePlan { malformed: Some(Malformed::ChunkSize), ..WirePlan::default() });
        plan.join(WirePlan {
            malformed: Some(Malformed::FirstLine),
            breaks: Some((Moment::BeforeHead, Ending::Rst)),
            pace: None,
        });
        assert_eq!((plan.malformed, plan.breaks.is_some()), (Some(Malformed::ChunkSize), true));
    }
}

//! `truncate_body`: bodies end early.

use super::through::{Pass, Through};
use super::{Act, Known, RequestFault, Ways};
use crate::armed::Meters;
use crate::chain::Dir;
use crate::http::hit::Hit;
use crate::http::message::Piece;
use crate::http::stage::BodyStage;
use crate::http::wire::Ending;
use crate::knob::Dials;
use http::Version;
use model::Problem;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// RST_STREAM's code for an exchange that is given up (RFC 9113, section 7).
pub(super) const CANCEL: u32 = 8;

struct Truncate {
    after: u64,
    how: How,
    ways: Ways,
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    Close,
    Reset,
    Clean,
}

pub(super) fn read(dials: &Dials<'_>) -> Result<Act, Problem> {
    let given = dials.fixed();
    let how = match given.text("how") {
        Some("reset") => How::Reset,
        Some("clean") => How::Clean,
        _ => How::Close,
    };
    let after = given.size("after").map_or(0, |s| s.0);
    Ok(Act::Request(Box::new(Truncate { after, how, ways: Ways::read(dials) })))
}

impl RequestFault for Truncate {
    fn stage(&self, hit: &Arc<Hit>, dir: Dir, known: &Known<'_>) -> Option<Box<dyn BodyStage>> {
        if !self.ways.has(dir) {
            return None;
        }
        let ending = match self.how {
            How::Clean => None,
            _ if known.request.version == Version::HTTP_2 => Some(Ending::Reset(CANCEL)),
            How::Close => Some(Ending::Fin),
            How::Reset => Some(Ending::Rst),
        };
        Through::stage(Short { left: self.after, ending, hit: hit.clone() })
    }

    fn keeps_length(&self, dir: Dir) -> bool {
        // Otherwise the receiver waits for what never comes, which is what the other ways of ending are for.
        self.how != How::Clean || !self.ways.has(dir)
    }

    fn acts_on_bodies(&self) -> bool {
        true
    }

    fn measured(&self, meters: &Meters) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("bodies_cut", meters.applied.load(Relaxed) as f64)])
    }
}

struct Short {
    left: u64,
    ending: Option<Ending>,
    hit: Arc<Hit>,
}

impl Pass for Short {
    fn pass(&mut self, piece: Piece, _now: Instant, out: &mut VecDeque<Piece>) -> Result<(), Ending> {
        let Piece::Data(mut bytes) = piece else {
            out.push_back(piece);
            return Ok(());
        };
        if bytes.len() as u64 <= self.left {
            self.left -= bytes.len() as u64;
            out.push_back(Piece::Data(bytes));
            return Ok(());
        }
        bytes.truncate(self.left as usize);
        self.left = 0;
        if !bytes.is_empty() {
            out.push_back(Piece::Data(bytes));
        }
        self.hit.apply();
        match self.ending {
            Some(ending) => Err(ending),
            None => {
                out.push_back(Piece::End);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::through::bench::{Exchange, data, drain};
    use super::*;

    #[test]
    fn a_body_ends_where_it_is_cut() {
        for (words, want) in [
            ("truncate_body after=3B", "abc<Fin>"),
            ("truncate_body after=4B how=reset", "abcd<Rst>"),
            ("truncate_body after=5B how=clean", "abcde."),
            ("truncate_body after=0B", "<Fin>"),
        ] {
            let x = Exchange::new(words);
            let mut stage = x.stage(Dir::Down);
            [data("ab"), data("cdef"), data("g"), Piece::End]
                .into_iter()
                .for_each(|p| stage.push(p, x.start));
            assert_eq!((drain(&mut *stage, x.start).as_str(), x.applied()), (want, 1.0), "{words}");
        }
    }

    #[test]
    fn shorter_ones_pass() {
        let x = Exchange::new("truncate_body after=2B");
        let mut stage = x.stage(Dir::Down);
        [data("ab"), Piece::End].into_iter().for_each(|p| stage.push(p, x.start));
        assert_eq!((drain(&mut *stage, x.start).as_str(), x.applied()), ("ab.", 0.0));
        assert!(x.with(|f, known| f.stage(&x.hit, Dir::Up, known)).is_none());
    }

    #[test]
    fn http2_streams_are_reset() {
        let mut x = Exchange::new("truncate_body after=1B");
        x.request.version = Version::HTTP_2;
        let mut stage = x.stage(Dir::Down);
        stage.push(data("ab"), x.start);
        assert_eq!(drain(&mut *stage, x.start), "a<Reset(8)>");
    }
}

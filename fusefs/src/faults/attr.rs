//! `attr`: files look other than they are.

use super::{Bend, Effect, FileFault};
use crate::op::{Op, Ops};
use crate::rule::Hit;
use fuser::FileAttr;
use inject::knob::Dials;
use model::Problem;
use model::units::Span;
use std::sync::Arc;
use std::time::Duration;

pub(super) struct Attr {
    how: Arc<Override>,
}

/// What is shown instead of what is true.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Override {
    mode: Option<u16>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    nlink: Option<u32>,
    /// Later by so much, or earlier.
    mtime: Option<(bool, Duration)>,
}

impl Attr {
    pub(super) fn read(dials: &Dials<'_>) -> Result<Attr, Problem> {
        let fixed = dials.fixed();
        let number = |key: &str| fixed.int(key).and_then(|n| u32::try_from(n).ok());
        let mode = fixed.text("mode").map(|text| {
            let octal = u16::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777);
            octal.ok_or_else(|| {
                Problem::new(format!("attr mode: {text:?} is not a mode"))
                    .hint("write it in octal, such as 0444")
            })
        });
        let mtime = fixed.text("mtime").map(|text| {
            let (later, span) = match text.strip_prefix('-') {
                Some(rest) => (false, rest),
                None => (true, text.trim_start_matches('+')),
            };
            span.parse::<Span>().map(|span| (later, span.0)).map_err(|e| {
                Problem::new(format!("attr mtime: {e}")).hint("write how far it is moved, such as -1h or 30s")
            })
        });
        let how = Override {
            mode: mode.transpose()?,
            uid: number("uid"),
            gid: number("gid"),
            size: fixed.size("size").map(|s| s.0),
            nlink: number("nlink"),
            mtime: mtime.transpose()?,
        };
        if how == Override::default() {
            return Err(Problem::new("attr changes nothing").hint("give it for example mode=0444 or size=0B"));
        }
        Ok(Attr { how: Arc::new(how) })
    }
}

impl Override {
    pub(crate) fn apply(&self, attr: &mut FileAttr) {
        attr.perm = self.mode.unwrap_or(attr.perm);
        attr.uid = self.uid.unwrap_or(attr.uid);
        attr.gid = self.gid.unwrap_or(attr.gid);
        attr.size = self.size.unwrap_or(attr.size);
        attr.nlink = self.nlink.unwrap_or(attr.nlink);
        if let Some((later, by)) = self.mtime {
            let moved = if later { attr.mtime.checked_add(by) } else { attr.mtime.checked_sub(by) };
            attr.mtime = moved.unwrap_or(attr.mtime);
        }
    }
}

impl FileFault for Attr {
    fn ops(&self) -> Ops {
        Ops::of(&[Op::Lookup, Op::Getattr])
    }

    fn hit(&self, _hit: &Hit<'_>) -> Effect {
        Effect::Bend(Bend::Attributes(self.how.clone()))
    }
}

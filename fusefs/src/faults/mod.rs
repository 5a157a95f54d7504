//! The faults, one file each. A fault says which operations it concerns and what it does with one of them; the handlers
//! know the few ways in which an operation can be bent and nothing of the faults behind them.

mod attr;
mod corruption;
mod disk_full;
mod fsync_error;
mod hang;
mod io_error;
mod latency;
mod lost_fsync;
mod power_cut;
mod read_only;
mod short;
mod stale_readdir;
mod throttle;
mod torn_write;

pub(crate) use attr::Override;
pub(crate) use corruption::Corruption;
pub(crate) use disk_full::Budget;
pub(crate) use fsync_error::Model;
pub(crate) use power_cut::Cut;
pub(crate) use stale_readdir::Lie;

use crate::call::Call;
use crate::op::{Op, Ops};
use crate::rule::{Hit, Rule};
use inject::knob::Dials;
use model::Problem;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a fault does with an operation.
pub(crate) enum Effect {
    /// Nothing, this time.
    Nothing,
    /// It fails.
    Fail(Errno),
    /// It waits.
    Wait(Duration),
    /// It waits until the fault is over.
    Hang,
    /// It is done otherwise.
    Bend(Bend),
}

/// How an operation is done otherwise.
pub(crate) enum Bend {
    /// Less is read, or written: this part of it.
    Short(f64),
    /// Bytes are changed.
    Corrupt(Arc<Corruption>),
    /// Only so much of a write, and only whole sectors; whether the program is told.
    Tear { keep: f64, sector: u64, told: Option<Errno> },
    /// Nothing is made durable.
    LoseSync,
    /// Making durable fails as it does on that filesystem.
    FailSync(Model, Errno),
    /// Space is limited.
    Budget(Arc<Budget>),
    /// Attributes are shown otherwise.
    Attributes(Arc<Override>),
    /// A listing is not true.
    Listing(Lie),
}

/// A fault on files.
pub(crate) trait FileFault: Send + Sync {
    /// The operations it concerns.
    fn ops(&self) -> Ops;

    /// What it does with one that has it.
    fn hit(&self, hit: &Hit<'_>) -> Effect;

    /// Whether a call counts as one that is considered; what only has to agree with the fault does not.
    fn counts(&self, _call: &Call<'_>) -> bool {
        true
    }

    /// What it does once, when it is armed: a power cut.
    fn at_once(&self) -> Option<Cut> {
        None
    }

    /// What it needs of the mount.
    fn needs_tracking(&self) -> Need {
        Need::No
    }

    /// What it measurably did.
    fn measured(&self, rule: &Rule) -> BTreeMap<&'static str, f64> {
        rule.meters.lateness()
    }
}

/// Whether a fault needs to know what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    No,
    /// It does something without it, but not all: what is missing.
    Better(&'static str),
    /// It makes no sense without.
    Must,
}

/// What a fault keeps while it is on, through changes of its settings.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) budget: std::sync::OnceLock<Arc<Budget>>,
    pub(crate) buckets: throttle::Buckets,
}

/// The fault of that name with those parameters.
pub(crate) fn read(name: &str, dials: &Dials<'_>) -> Result<Box<dyn FileFault>, Problem> {
    Ok(match name {
        "latency" => Box::new(latency::Latency::read(dials)?),
        "throttle" => Box::new(throttle::Throttle::read(dials)?),
        "hang" => Box::new(hang::Hang::read(dials)),
        "io_error" => Box::new(io_error::IoError::read(dials)?),
        "read_only" => Box::new(read_only::ReadOnly),
        "disk_full" => Box::new(disk_full::DiskFull::read(dials)),
        "power_cut" => Box::new(power_cut::PowerCut::read(dials)),
        "fsync_error" => Box::new(fsync_error::FsyncError::read(dials)?),
        "lost_fsync" => Box::new(lost_fsync::LostFsync),
        "short_read" => Box::new(short::Short::read(dials, Op::Read)),
        "read_corruption" => Box::new(corruption::Corrupts::read(dials, Op::Read)?),
        "write_corruption" => Box::new(corruption::Corrupts::read(dials, Op::Write)?),
        "short_write" => Box::new(short::Short::read(dials, Op::Write)),
        "torn_write" => Box::new(torn_write::TornWrite::read(dials)?),
        "attr" => Box::new(attr::Attr::read(dials)?),
        "stale_readdir" => Box::new(stale_readdir::StaleReaddir::read(dials)),
        _ => {
            return Err(Problem::new(format!("{name} is no fault of files"))
                .hint("`murphy faults` lists the targets of each fault"));
        }
    })
}

/// The operations a fault is told, or those it is for by itself.
fn ops(dials: &Dials<'_>, otherwise: Ops) -> Ops {
    match dials.fixed().words("ops") {
        [] => otherwise,
        words => Ops::of_words(words),
    }
}

/// The error of that name.
pub(crate) fn errno(name: &str) -> Option<Errno> {
    use libc as c;
    let raw = match name {
        "EIO" => c::EIO,
        "ENOSPC" => c::ENOSPC,
        "EDQUOT" => c::EDQUOT,
        "EROFS" => c::EROFS,
        "EACCES" => c::EACCES,
        "EPERM" => c::EPERM,
        "ENOENT" => c::ENOENT,
        "EEXIST" => c::EEXIST,
        "ENOTDIR" => c::ENOTDIR,
        "EISDIR" => c::EISDIR,
        "ENOTEMPTY" => c::ENOTEMPTY,
        "EMFILE" => c::EMFILE,
        "ENFILE" => c::ENFILE,
        "ENOMEM" => c::ENOMEM,
        "EAGAIN" => c::EAGAIN,
        "EINTR" => c::EINTR,
        "EBUSY" => c::EBUSY,
        "ETXTBSY" => c::ETXTBSY,
        "EFBIG" => c::EFBIG,
        "EINVAL" => c::EINVAL,
        "ENAMETOOLONG" => c::ENAMETOOLONG,
        "ELOOP" => c::ELOOP,
        "EXDEV" => c::EXDEV,
        "ESTALE" => c::ESTALE,
        "ETIMEDOUT" => c::ETIMEDOUT,
        "ENXIO" => c::ENXIO,
        "ENODEV" => c::ENODEV,
        "EBADF" => c::EBADF,
        "ENOTSUP" => c::ENOTSUP,
        // The kernel would take it for a filesystem that never can, and not ask again.
        "ENOSYS" => c::EOPNOTSUPP,
        "EUCLEAN" => c::EUCLEAN,
        "EBADMSG" => c::EBADMSG,
        "EREMOTEIO" => c::EREMOTEIO,
        "ENOLCK" => c::ENOLCK,
        "EDEADLK" => c::EDEADLK,
        "EOVERFLOW" => c::EOVERFLOW,
        "EMLINK" => c::EMLINK,
        "EFAULT" => c::EFAULT,
        _ => return None,
    };
    Some(Errno::from_raw_os_error(raw))
}

/// The name of an error, as in errno(3).
pub(crate) fn errno_name(errno: Errno) -> String {
    let found = model::catalogue::ERRORS.iter().find(|name| self::errno(name) == Some(errno));
    found.map_or_else(|| format!("errno {}", errno.raw_os_error()), |name| (*name).to_owned())
}

/// The error that a parameter names.
fn errno_of(dials: &Dials<'_>, key: &str) -> Result<Errno, Problem> {
    let name = dials.fixed().text(key).unwrap_or("EIO");
    errno(name)
        .ok_or_else(|| Problem::new(format!("{name} is not a known error")).hint("write for example EIO"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_catalogue_is_one() {
        for name in model::catalogue::ERRORS {
            assert!(errno(name).is_some(), "{name}");
        }
        assert_eq!(errno_name(Errno::NOSPC), "ENOSPC");
    }

    #[test]
    fn every_fault_on_files_can_be_read() {
        for def in model::catalogue::all().filter(|d| d.fits(model::TargetKind::Fs)) {
            let params: BTreeMap<_, _> = def
                .params
                .iter()
                .filter(|p| p.required || ["throttle", "attr"].contains(&def.name))
                .map(|p| (p.name, p.example))
                .collect();
            let json = serde_json::json!({"target": "fs:/a", "for": "60s", "inject": {def.name: params}});
            let fault: model::Fault = serde_json::from_value(json).unwrap();
            assert!(read(def.name, &Dials::new(&fault)).is_ok(), "{}", def.name);
        }
    }
}

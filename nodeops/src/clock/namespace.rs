//! Other clocks for a program from its start: a time namespace (time_namespaces(7)), with which the kernel itself agrees.
//!
//! What a live process cannot have, timers and sleeps that go by the changed clock, a program has that is started in one.
//! It has no wall clock of its own: only the clocks that count from the start of the machine.

use model::Problem;
use model::units::Offset;
use nix::sched::{CloneFlags, unshare};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// `CLONE_NEWTIME` of unshare(2).
const NEWTIME: i32 = 0x80;

/// How far the clocks of a program that is started are ahead.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Clocks {
    /// What programs measure with.
    pub monotonic: Option<Offset>,
    /// The same, which also counts while the machine is suspended: `uptime`.
    pub boottime: Option<Offset>,
}

impl Clocks {
    /// Reads `monotonic=1h`, `boottime=1h`, or `1h` for both, on top of what was there.
    pub fn with(self, text: &str) -> Result<Clocks, String> {
        let (which, value) = text.split_once('=').unwrap_or(("", text));
        if matches!(which, "realtime" | "offset") {
            return Err(
                "a program cannot be started with a wall clock of its own (the kernel has one for all); start it, then: \
                 murphy arm process:PID clock offset=…"
                    .into(),
            );
        }
        let value: Offset = value.parse().map_err(|e: model::units::UnitError| e.to_string())?;
        match which {
            "" => Ok(Clocks { monotonic: Some(value), boottime: Some(value) }),
            "monotonic" => Ok(Clocks { monotonic: Some(value), ..self }),
            "boottime" => Ok(Clocks { boottime: Some(value), ..self }),
            other => Err(format!(
                "there is no clock {other:?} that can be given; there are monotonic and boottime"
            )),
        }
    }
}

/// Becomes that program in a time namespace of its own; returns only when that is not possible. To be called from the main
/// thread before there are others: the namespace is for what comes after.
pub fn exec(program: &mut Command, clocks: &Clocks) -> Problem {
    let name = program.get_program().to_string_lossy().into_owned();
    if let Err(problem) = enter(clocks) {
        return problem;
    }
    // Children are in it; what is only executed, on no kernel before 6.3. A child of ours that waits for nobody else is
    // both, at the price of a process.
    if !exec_enters() {
        return in_child(program, &name);
    }
    let e = program.exec();
    Problem::new(format!("cannot start {name}: {e}")).hint("look at its name and its permissions")
}

fn enter(clocks: &Clocks) -> Result<(), Problem> {
    unshare(CloneFlags::from_bits_retain(NEWTIME)).map_err(|e| {
        Problem::new(format!("cannot make a time namespace: {e}")).hint(match e {
            nix::errno::Errno::EPERM => {
                "this needs CAP_SYS_ADMIN: run as root, or in a user namespace: unshare --map-root-user"
            }
            _ => "the kernel must be 5.6 or newer, with CONFIG_TIME_NS",
        })
    })?;
    let line = |name: &str, offset: Option<Offset>| {
        offset.map_or(String::new(), |o| {
            format!("{name} {} {}\n", o.0.div_euclid(1_000_000_000), o.0.rem_euclid(1_000_000_000))
        })
    };
    let text = line("monotonic", clocks.monotonic) + &line("boottime", clocks.boottime);
    std::fs::write("/proc/self/timens_offsets", text).map_err(|e| {
        Problem::new(format!("the clocks cannot be set: {e}")).hint(match e.raw_os_error() {
            Some(libc::ERANGE) => "they must not become negative, nor reach 146 years: a machine that is up for an hour cannot be set back by two",
            _ => "this needs CAP_SYS_TIME in the namespace's user namespace: run as root",
        })
    })
}

/// Whether executing a program enters the namespace: since 6.3.
fn exec_enters() -> bool {
    let release = host::probe::kernel();
    let mut numbers = release.split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 3)
}

/// Runs it as a child and ends as that ends. Neither threads nor children that share our memory can be made any more; with
/// a group that is set, which is the one we have, the standard library forks.
fn in_child(program: &mut Command, name: &str) -> Problem {
    let failed = |e: io::Error| {
        Problem::new(format!("cannot start {name}: {e}")).hint("look at its name and its permissions")
    };
    match program.gid(nix::unistd::getegid().as_raw()).status() {
        Err(e) => failed(e),
        Ok(status) => {
            use std::os::unix::process::ExitStatusExt;
            std::process::exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_read() {
        let s = |n: i64| Some(Offset(n * 1_000_000_000));
        let read = |text: &str| Clocks::default().with(text);
        assert_eq!(read("1h").unwrap(), Clocks { monotonic: s(3600), boottime: s(3600) });
        assert_eq!(read("monotonic=-5s").unwrap(), Clocks { monotonic: s(-5), boottime: None });
        assert_eq!(
            read("boottime=5s").unwrap().with("monotonic=1s").unwrap(),
            Clocks { monotonic: s(1), boottime: s(5) }
        );
        assert!(read("realtime=1h").unwrap_err().contains("murphy arm process:PID"));
        assert!(read("tai=1h").unwrap_err().contains("monotonic and boottime"));
        assert!(read("soon").is_err());
    }
}

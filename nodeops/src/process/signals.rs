//! Signals by their names.

use host::process::ProcessSignal;

/// The signals of the catalogue.
pub(super) const SIGNALS: [(&str, ProcessSignal); 25] = [
    ("SIGKILL", ProcessSignal::KILL),
    ("SIGTERM", ProcessSignal::TERM),
    ("SIGINT", ProcessSignal::INT),
    ("SIGHUP", ProcessSignal::HUP),
    ("SIGQUIT", ProcessSignal::QUIT),
    ("SIGABRT", ProcessSignal::ABORT),
    ("SIGSEGV", ProcessSignal::SEGV),
    ("SIGUSR1", ProcessSignal::USR1),
    ("SIGUSR2", ProcessSignal::USR2),
    ("SIGPIPE", ProcessSignal::PIPE),
    ("SIGALRM", ProcessSignal::ALARM),
    ("SIGBUS", ProcessSignal::BUS),
    ("SIGFPE", ProcessSignal::FPE),
    ("SIGILL", ProcessSignal::ILL),
    ("SIGCONT", ProcessSignal::CONT),
    ("SIGWINCH", ProcessSignal::WINCH),
    ("SIGTRAP", ProcessSignal::TRAP),
    ("SIGSYS", ProcessSignal::SYS),
    ("SIGXCPU", ProcessSignal::XCPU),
    ("SIGXFSZ", ProcessSignal::XFSZ),
    ("SIGVTALRM", ProcessSignal::VTALARM),
    ("SIGPROF", ProcessSignal::PROF),
    ("SIGURG", ProcessSignal::URG),
    ("SIGIO", ProcessSignal::IO),
    ("SIGPWR", ProcessSignal::POWER),
];

/// The signal of that name.
pub(crate) fn named(name: &str) -> Option<ProcessSignal> {
    SIGNALS.iter().find(|(n, _)| *n == name).map(|(_, signal)| *signal)
}

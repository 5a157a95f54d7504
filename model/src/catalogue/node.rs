//! Faults on processes and on the machine.

use super::{FaultDef, Layer, ParamDef, optional, with_default};
use crate::target::TargetKind;
use crate::value::ParamType::{Choice, Float, Int, Percent, Text};

const NODE: FaultDef = FaultDef {
    name: "",
    layer: Layer::Node,
    targets: &[TargetKind::Process],
    params: &[],
    shown: &[],
    summary: "",
    detail: "",
    counts: None,
    one_shot: false,
    irreversible: false,
    ends: "",
    needs: &[],
};

/// What can be stopped or get a signal.
const HIT: &[TargetKind] = &[TargetKind::Process, TargetKind::Container, TargetKind::Cgroup];

/// The signals that can be sent, by their names.
pub(super) const SIGNALS: &[&str] = &[
    "SIGKILL",
    "SIGTERM",
    "SIGINT",
    "SIGHUP",
    "SIGQUIT",
    "SIGABRT",
    "SIGSEGV",
    "SIGUSR1",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGBUS",
    "SIGFPE",
    "SIGILL",
    "SIGCONT",
    "SIGWINCH",
    "SIGTRAP",
    "SIGSYS",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGURG",
    "SIGIO",
    "SIGPWR",
];

const LOAD: ParamDef = with_default(
    "load",
    Percent,
    "80%",
    "how busy each core is made (add), or how busy it should become with what others use (reach)",
);

pub(super) const FAULTS: &[FaultDef] = &[
    FaultDef {
        name: "pause",
        targets: HIT,
        summary: "Stops processes with SIGSTOP and continues them afterwards.",
        detail: "Connections stay open and nothing answers: what a long garbage collection or a frozen machine looks like. \
                 Undone through a pidfd and only for the very process that was stopped (pid and start time). A process \
                 that someone else has stopped is left alone. Its parent is told: a shell says that its job was stopped. A \
                 container is paused by its engine, a control group is frozen: nobody in it or beside it can tell.",
        ends: "nothing: a stopped process stays stopped when agent and watchdog are both killed, until `murphy recover`",
        needs: &["CAP_KILL for other users' processes"],
        ..NODE
    },
    FaultDef {
        name: "kill",
        targets: HIT,
        params: &[with_default("signal", Choice(SIGNALS), "SIGKILL", "the signal that is sent")],
        summary: "Sends a signal to processes, once.",
        detail: "Whether a supervisor starts them again is what the experiment finds out. A process that is already gone is \
                 reported, not counted as hit; how many ended is measured. murphy itself, what started it and process 1 \
                 are refused. In a container its first process gets it, past the engine: \
                 to that it is a crash, and restart policies hold. In a control group everyone gets it.",
        one_shot: true,
        irreversible: true,
        ends: "it happens once and cannot be undone",
        needs: &["CAP_KILL for other users' processes"],
        ..NODE
    },
    FaultDef {
        name: "cpu",
        shown: &["load"],
        targets: &[TargetKind::Node, TargetKind::Container, TargetKind::Cgroup],
        params: &[
            LOAD,
            optional("cores", Float { min: 0.01, max: 4096.0 }, "2", "how many cores; all when absent"),
            optional("cpus", Text, "0,2-3", "the processors to stay on, by number; all when absent"),
            with_default(
                "mode",
                Choice(&["add", "reach"]),
                "add",
                "add burns so much on top of what others use; reach burns only what is missing to it",
            ),
            with_default("nice", Int { min: -20, max: 19 }, "0", "the niceness of the burning threads"),
        ],
        summary: "Burns processor time.",
        detail: "Runs in a child process of ours, regulated on the processor time it really got: cores=1.5 load=80% burns \
                 120% of a core on two threads. In a container or group it runs in that control group. load and cores can ramp. It dies with the agent (PR_SET_PDEATHSIG) and is \
                 the first to go when memory is short (oom_score_adj 1000); that it was killed is an outcome, not an error.",
        ends: "the kernel kills the burning child when the agent dies",
        needs: &["CAP_SYS_NICE for nice below 0"],
        ..NODE
    },
];

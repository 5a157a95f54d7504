//! Faults on clocks: of live processes, and of the machine.

use super::{FaultDef, Layer, ParamDef, optional, with_default};
use crate::target::TargetKind;
use crate::value::ParamType::{Choices, Drift, Offset, Span};

const CLOCK: FaultDef = FaultDef {
    name: "",
    layer: Layer::Node,
    targets: &[TargetKind::Node],
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

const OFFSET: ParamDef = optional("offset", Offset, "5s", "how far the clock is ahead; negative: back");
const STROBE: ParamDef = optional(
    "strobe",
    Span,
    "2s",
    "the offset comes and goes: on for half of such a time, off for the other",
);

pub(super) const FAULTS: &[FaultDef] = &[
    FaultDef {
        name: "clock",
        shown: &["offset"],
        targets: &[TargetKind::Process, TargetKind::Container, TargetKind::Cgroup],
        params: &[
            OFFSET,
            optional("drift", Drift, "10%", "how much too fast it goes from then on; negative: too slow"),
            STROBE,
            with_default(
                "clocks",
                Choices(&["realtime", "monotonic"]),
                "realtime",
                "which clocks: the time of day, or the one that programs measure with",
            ),
        ],
        summary: "Makes running processes see another time, and no one else.",
        detail: "The kernel's clock functions in the process (its vDSO) are detoured through a few hundred bytes that add to \
                 what they return; the process stops for a fraction of a millisecond for that, and changes while it is on need \
                 no stop. Children that it forks have the same clock, programs that they or it start anew do not. offset can \
                 ramp. What does not see it: programs that ask the kernel by system calls of their own, 32-bit programs, and \
                 everything in which the kernel itself waits or stamps - timers, sleeps, file times: a wait for a moment \
                 of the changed clock ends early when it is ahead of it, and late when it is back. Of the monotonic clock at most 10s, \
                 because a sleep whose end was computed with it lasts as much too long, even after the fault has ended.",
        ends: "the deadline in the detour itself: 20 s after the agent last renewed it, and never later than the fault's own \
               end. The inert detour stays in the process until `murphy recover` or `murphy doctor --fix`",
        needs: &["CAP_SYS_PTRACE for other users' processes", "CAP_DAC_OVERRIDE for other users' processes"],
        ..CLOCK
    },
    FaultDef {
        name: "system_clock",
        shown: &["offset"],
        params: &[
            OFFSET,
            optional(
                "drift",
                Drift,
                "1%",
                "how much too fast it goes, -10% to 10%; the monotonic clock goes with it",
            ),
            STROBE,
        ],
        summary: "Sets this machine's clock wrong, for everyone on it.",
        detail: "Steps the kernel's clock (clock_adjtime) and changes the length of its ticks for a drift. Afterwards it is \
                 compared with a clock that nobody steps (MONOTONIC_RAW): what is left of the fault is taken back, and \
                 what an NTP daemon has put right meanwhile is left as it is. Most daemons notice within seconds to minutes: \
                 ntp_stop keeps them from it. Certificates, sessions, schedules and logs of the whole machine are \
                 concerned; in a container it is the host's clock that is set.",
        ends: "nothing: the clock stays wrong when agent and watchdog are both killed, until `murphy recover`, an NTP daemon \
               or a reboot with a hardware clock",
        needs: &["CAP_SYS_TIME"],
        ..CLOCK
    },
    FaultDef {
        name: "ntp_stop",
        summary: "Stops what keeps this machine's clock right: chronyd, ntpd, systemd-timesyncd, openntpd, ptp4l, phc2sys.",
        detail: "The daemons are stopped with SIGSTOP and continued afterwards, through a pidfd and only the very processes that \
                 were stopped. The clock goes on by itself and drifts as the hardware does, a few seconds a week. \
                 systemd restarts systemd-timesyncd when it has not heard of it for three minutes; that is reported.",
        ends: "nothing: a stopped daemon stays stopped when agent and watchdog are both killed, until `murphy recover`",
        needs: &["CAP_KILL"],
        ..CLOCK
    },
];

//! Traffic control: qdiscs, among them netem and tbf, and the filter that leads marked packets elsewhere.
//! `linux/pkt_sched.h`, tc-netem(8), tc-tbf(8).

use super::{CREATE, EXCLUSIVE, Route};
use crate::netlink::attrs::{self, Attrs};
use crate::netlink::socket::NetlinkError;

const NEW_QDISC: u16 = 36;
const DEL_QDISC: u16 = 37;
const GET_QDISC: u16 = 38;
const NEW_FILTER: u16 = 44;
const DEL_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;

const ROOT: u32 = 0xffff_ffff;
const CLSACT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// The handle of our qdiscs and the priority of our filters, by which they are told from those of others: "MF".
pub const OURS: u16 = 0x4d46;

/// A qdisc as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    /// Its interface.
    pub link: u32,
    /// Its kind: `netem`, `clsact`.
    pub kind: String,
    /// Its handle.
    pub handle: u32,
    /// What it has done.
    pub stats: QdiscStats,
}

/// What a qdisc has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QdiscStats {
    /// Packets that left it.
    pub packets: u64,
    /// Packets that it dropped.
    pub drops: u64,
    /// Packets that are in it.
    pub queued: u64,
}

/// A share in 0.0..=1.0 as netem wants it: of 2³²-1.
pub fn share32(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * f64::from(u32::MAX)).round() as u32
}

/// Everything that netem does. All of it is sent at each change: netem keeps what it is not given.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Netem {
    /// How late, in nanoseconds.
    pub delay: i64,
    /// The spread around it, in nanoseconds.
    pub jitter: i64,
    /// How much a delay resembles the one before.
    pub delay_correlation: f64,
    /// The distribution: multiples of the jitter times 8192, all equally likely; uniform when empty.
    pub table: Vec<i16>,
    /// Lost at random.
    pub loss: f64,
    /// How much a loss resembles the one before.
    pub loss_correlation: f64,
    /// Lost by a model: see [`loss`].
    pub model: Option<loss::Model>,
    /// Doubled.
    pub duplicate: f64,
    /// How much doubling resembles the one before.
    pub duplicate_correlation: f64,
    /// Sent at once while others wait.
    pub reorder: f64,
    /// How much reordering resembles the one before.
    pub reorder_correlation: f64,
    /// Every n-th is sent at once; with `reorder`, with that probability.
    pub gap: u32,
    /// With one bit flipped.
    pub corrupt: f64,
    /// How much corruption resembles the one before.
    pub corrupt_correlation: f64,
    /// Bytes per second; none when zero.
    pub rate: u64,
    /// Leaves in bursts.
    pub slot: Option<Slot>,
    /// How many packets may be in it.
    pub limit: u32,
    /// What its draws begin from. Linux 6.6; older ones draw as they like.
    pub seed: u64,
}

/// Bursts: so many packets or bytes, then a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slot {
    /// The shortest pause, in nanoseconds.
    pub least: i64,
    /// The longest.
    pub most: i64,
    /// Packets in a burst; any when zero.
    pub packets: i32,
    /// Bytes in a burst; any when zero.
    pub bytes: i32,
}

/// Models of loss that have a memory.
pub mod loss {
    /// A model.
    #[derive(Debug, Clone, Copy, PartialEq)]
    pub enum Model {
        /// Gilbert–Elliott: a good and a bad state.
        GilbertElliott {
            /// From good to bad.
            p: f64,
            /// From bad to good.
            r: f64,
            /// Lost while bad.
            bad: f64,
            /// Lost while good.
            good: f64,
        },
        /// Four states: received in a gap, received in a burst, lost in a burst, lost alone.
        FourStates {
            /// From received in a gap to lost in a burst.
            p13: f64,
            /// And back.
            p31: f64,
            /// From lost in a burst to received in a burst.
            p32: f64,
            /// And back.
            p23: f64,
            /// Lost alone.
            p14: f64,
        },
    }
}

impl Netem {
    fn attrs(&self) -> Vec<u8> {
        let words = |list: &[u32]| list.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>();
        // struct tc_netem_qopt, whose times are given again below, in nanoseconds.
        let mut body =
            words(&[0, self.limit.max(1), share32(self.loss), self.gap, share32(self.duplicate), 0]);
        let correlations =
            [self.delay_correlation, self.loss_correlation, self.duplicate_correlation].map(share32);
        let mut attrs = Attrs::new()
            .raw(10, &self.delay.to_ne_bytes())
            .raw(11, &self.jitter.to_ne_bytes())
            .raw(1, &words(&correlations))
            .raw(3, &words(&[share32(self.reorder), share32(self.reorder_correlation)]))
            .raw(4, &words(&[share32(self.corrupt), share32(self.corrupt_correlation)]));
        match self.model {
            Some(loss::Model::GilbertElliott { p, r, bad, good }) => {
                // What netem calls h is received while bad.
                let model = words(&[p, r, 1.0 - bad, good].map(share32));
                attrs = attrs.nest(5, &Attrs::new().raw(2, &model));
            }
            Some(loss::Model::FourStates { p13, p31, p32, p23, p14 }) => {
                let model = words(&[p13, p31, p32, p14, p23].map(share32));
                attrs = attrs.nest(5, &Attrs::new().raw(1, &model));
            }
            None => {}
        }
        if self.rate > u64::from(u32::MAX) {
            attrs = attrs.raw(8, &self.rate.to_ne_bytes());
        }
        attrs = attrs.raw(6, &words(&[u32::try_from(self.rate).unwrap_or(u32::MAX), 0, 0, 0]));
        if !self.table.is_empty() {
            let table: Vec<u8> = self.table.iter().flat_map(|t| t.to_ne_bytes()).collect();
            attrs = attrs.raw(2, &table);
        }
        // struct tc_netem_slot: pauses, packets, bytes, and a distribution that is not used.
        let slot = self.slot.unwrap_or_default();
        let mut bytes = Vec::with_capacity(40);
        bytes.extend(slot.least.to_ne_bytes());
        bytes.extend(slot.most.to_ne_bytes());
        bytes.extend(slot.packets.to_ne_bytes());
        bytes.extend(slot.bytes.to_ne_bytes());
        bytes.extend([0; 16]);
        attrs = attrs.raw(12, &bytes).raw(14, &self.seed.to_ne_bytes());
        body.extend(attrs.bytes());
        body
    }
}

/// struct tcmsg
fn head(link: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    for word in [link, handle, parent, info] {
        body.extend(word.to_ne_bytes());
    }
    body
}

/// A filter's priority and the Ethernet types it looks at: all.
fn filter_info() -> u32 {
    u32::from(OURS) << 16 | u32::from(3_u16.to_be())
}

impl Route {
    /// The qdiscs of all interfaces.
    pub fn qdiscs(&mut self) -> Result<Vec<Qdisc>, NetlinkError> {
        self.socket.list(GET_QDISC, &head(0, 0, 0, 0), |message| {
            let body = message.body;
            let rest = body.get(20..)?;
            let stats = attrs::find(rest, 7).unwrap_or_default();
            // struct gnet_stats_basic: bytes, packets; struct gnet_stats_queue: packets, bytes, drops, …
            let basic = attrs::find(stats, 1).and_then(|b| attrs::ne32(b.get(8..)?)).unwrap_or(0);
            let queue = attrs::find(stats, 3).unwrap_or_default();
            Some(Qdisc {
                link: attrs::ne32(body.get(4..)?)?,
                handle: attrs::ne32(body.get(8..)?)?,
                kind: attrs::find(rest, 1).map(attrs::text)?,
                stats: QdiscStats {
                    packets: basic.into(),
                    queued: attrs::ne32(queue).unwrap_or(0).into(),
                    drops: queue.get(8..).and_then(attrs::ne32).unwrap_or(0).into(),
                },
            })
        })
    }

    /// Puts netem on an interface of ours, or changes the one that is there; what is in it keeps its times.
    pub fn netem(&mut self, link: u32, netem: &Netem, change: bool) -> Result<(), NetlinkError> {
        self.root(link, "netem", &netem.attrs(), change)
    }

    /// Puts tbf on an interface of ours, or changes it: so many bytes per second, so many at once, so many waiting.
    pub fn tbf(
        &mut self,
        link: u32,
        rate: u64,
        burst: u32,
        waiting: u32,
        change: bool,
    ) -> Result<(), NetlinkError> {
        // struct tc_tbf_qopt: the rate (with an Ethernet link layer), no peak rate, how many bytes may wait; the burst
        // comes in bytes below.
        let mut options = vec![0_u8, 1, 0, 0, 0, 0, 0, 0];
        options.extend(u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
        options.extend([0; 12]);
        options.extend(waiting.to_ne_bytes());
        options.extend([0; 8]);
        let mut attrs = Attrs::new().raw(1, &options).ne32(6, burst);
        if rate > u64::from(u32::MAX) {
            attrs = attrs.raw(4, &rate.to_ne_bytes());
        }
        self.root(link, "tbf", attrs.bytes(), change)
    }

    fn root(&mut self, link: u32, kind: &str, options: &[u8], change: bool) -> Result<(), NetlinkError> {
        let mut body = head(link, u32::from(OURS) << 16, ROOT, 0);
        body.extend(Attrs::new().text(1, kind).raw(2, options).bytes());
        self.socket.request(NEW_QDISC, if change { 0 } else { CREATE | EXCLUSIVE }, &body)
    }

    /// Makes the place for filters at an interface, unless it is there; whether it was made.
    pub fn add_clsact(&mut self, link: u32) -> Result<bool, NetlinkError> {
        let mut body = head(link, 0xffff_0000, CLSACT, 0);
        body.extend(Attrs::new().text(1, "clsact").bytes());
        let before = self.links()?.into_iter().find(|l| l.index == link).map(|l| l.queue);
        match self.socket.request(NEW_QDISC, CREATE | EXCLUSIVE, &body) {
            Ok(()) => {
                // The kernel takes none (veth of containers) for a mistake, and makes it 1000.
                if before == Some(0) {
                    let _ = self.set_queue(link, 0);
                }
                Ok(true)
            }
            Err(e) if e.is(libc::EEXIST) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Removes that place, if nobody has a filter in it; whether it is gone.
    pub fn remove_clsact_if_empty(&mut self, link: u32) -> Result<bool, NetlinkError> {
        let there = self.qdiscs()?.iter().any(|q| q.link == link && q.kind == "clsact");
        if !there {
            return Ok(true);
        }
        if self.filters(link, INGRESS)? + self.filters(link, EGRESS)? > 0 {
            return Ok(false);
        }
        self.socket.request(DEL_QDISC, 0, &head(link, 0xffff_0000, CLSACT, 0))?;
        Ok(true)
    }

    fn filters(&mut self, link: u32, parent: u32) -> Result<usize, NetlinkError> {
        let all = self.socket.list(GET_FILTER, &head(link, 0, parent, 0), |m| Some(m.kind == NEW_FILTER))?;
        Ok(all.into_iter().filter(|is| *is).count())
    }

    /// Leads packets that leave at `link` with that mark (under the mask) to `to` instead. A filter in classic BPF: it needs
    /// neither `cls_fw` nor `CLS_U32_MARK` nor the verifier.
    pub fn lead_marked(
        &mut self,
        link: u32,
        number: u32,
        mask: u32,
        mark: u32,
        to: u32,
    ) -> Result<(), NetlinkError> {
        // SKF_AD_OFF + SKF_AD_MARK: the mark as if it stood in the packet.
        let mark_at = (-0x1000_i32 + 20) as u32;
        let program: [(u16, u8, u8, u32); 5] = [
            (0x20, 0, 0, mark_at),
            (0x54, 0, 0, mask),
            (0x15, 0, 1, mark),
            (0x06, 0, 0, u32::MAX),
            (0x06, 0, 0, 0),
        ];
        let mut code = Vec::new();
        for (op, yes, no, value) in program {
            code.extend(op.to_ne_bytes());
            code.extend([yes, no]);
            code.extend(value.to_ne_bytes());
        }
        // struct tc_mirred: the packet is taken (4, TC_ACT_STOLEN) and leaves elsewhere (1, TCA_EGRESS_REDIR).
        let mirred: Vec<u8> = [0, 0, 4, 0, 0, 1, to].iter().flat_map(|w: &u32| w.to_ne_bytes()).collect();
        let action = Attrs::new().raw(1, b"mirred\0").nest(2, &Attrs::new().raw(2, &mirred));
        let options = Attrs::new()
            .nest(1, &Attrs::new().nest(1, &action))
            .raw(4, &(program.len() as u16).to_ne_bytes())
            .raw(5, &code);
        let mut body = head(link, number, EGRESS, filter_info());
        body.extend(Attrs::new().text(1, "bpf").nest(2, &options).bytes());
        self.socket.request(NEW_FILTER, CREATE | EXCLUSIVE, &body)
    }

    /// Removes the filter of ours with that number; whether there was one.
    pub fn remove_lead(&mut self, link: u32, number: u32) -> Result<bool, NetlinkError> {
        let mut body = head(link, number, EGRESS, filter_info());
        body.extend(Attrs::new().text(1, "bpf").bytes());
        match self.socket.request(DEL_FILTER, 0, &body) {
            Ok(()) => Ok(true),
            Err(e) if e.is(libc::ENOENT) || e.is(libc::EINVAL) || e.is(libc::ENODEV) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The numbers of our filters at an interface.
    pub fn leads(&mut self, link: u32) -> Result<Vec<u32>, NetlinkError> {
        self.socket.list(GET_FILTER, &head(link, 0, EGRESS, 0), |message| {
            let body = message.body;
            let ours = attrs::ne32(body.get(16..)?)? >> 16 == u32::from(OURS);
            let (index, number) = (attrs::ne32(body.get(4..)?)?, attrs::ne32(body.get(8..)?)?);
            (ours && index == link && number > 0).then_some(number)
        })
    }
}

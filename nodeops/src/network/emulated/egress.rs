//! What leaves at one interface: read from a TAP device, held, sent on through the interface's own qdisc.

use super::course::{Ruling, Stage, bend};
use super::named;
use super::wire::{Carrier, Desk, Wire};
use crate::network::packet;
use host::frames::{FrameSender, HEAD, Tap};
use host::netlink::route::{Link, Route};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// struct virtio_net_hdr: the checksum is to be filled in.
const NEEDS_CHECKSUM: u8 = 1;

/// A wire of packets that leave.
#[derive(Debug)]
pub(crate) struct Egress {
    wire: Wire,
    device: Link,
}

impl Egress {
    /// Makes the device and the socket, in the namespace of this thread, and starts the thread that serves them. Nothing is
    /// led there yet.
    pub(crate) fn open(link: &Link, mark: u32) -> io::Result<Egress> {
        let sender = FrameSender::open(link.index, mark)
            .map_err(|e| named("opening a packet socket", "CAP_NET_RAW and CONFIG_PACKET", &e))?;
        let tap = Tap::open().map_err(|e| named("making a TAP device", "/dev/net/tun and CONFIG_TUN", &e))?;
        let mut route = Route::open().map_err(io::Error::other)?;
        let find = |route: &mut Route| -> io::Result<Link> {
            route
                .link(tap.name())
                .map_err(io::Error::other)?
                .ok_or_else(|| io::Error::other(format!("{} is gone as soon as it was made", tap.name())))
        };
        let device = find(&mut route)?;
        route.set_quiet(device.index, 20_000).map_err(io::Error::other)?;
        route.set_up(device.index, true).map_err(io::Error::other)?;
        tap.show(false)?;
        let frames = Frames { tap, sender, link: link.index, own: device.address.clone(), spare: Vec::new() };
        Ok(Egress { wire: Wire::start("murphy-egress", frames)?, device })
    }

    /// The index of the device that packets are to be led to.
    pub(crate) fn index(&self) -> u32 {
        self.device.index
    }

    /// The faults from now on; what those that are gone (by their slots) hold is let go.
    pub(crate) fn set(&self, stages: Vec<Arc<Stage>>, gone: u64) {
        self.wire.set(stages, gone);
    }
}

struct Frames {
    tap: Tap,
    sender: FrameSender,
    link: u32,
    own: Vec<u8>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

impl AsFd for Frames {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }
}

impl Carrier for Frames {
    type Thing = Vec<u8>;
    const BUFFER: usize = 70_000;

    fn show(&self, stages: &[Arc<Stage>]) {
        // A kernel that refuses hands over what it likes; decisions are then for larger pieces.
        let _ = self.tap.show(stages.iter().any(|s| s.shape.wants_single_packets()));
    }

    fn read(&mut self, buffer: &mut [u8], desk: &mut Desk<Vec<u8>>) -> bool {
        let Ok(n) = self.tap.read(buffer) else { return false };
        let frame = &mut buffer[..n];
        // What the device itself says (IPv6 likes to talk) is no packet of anyone.
        if n < HEAD + 14 || frame[HEAD + 6..HEAD + 12] == self.own[..] {
            return true;
        }
        let start = packet::ip_in_frame(&frame[HEAD..]).map(|at| at + HEAD);
        let parsed = start.and_then(|at| packet::parse(&frame[at..]));
        let length = start.map_or(n, |at| n - at);
        let now = desk.clock.now();
        let ruling = desk.rule(parsed.as_ref(), self.link, now, length);
        if !ruling.lost {
            self.pass(frame, start, &ruling, now, desk);
        }
        true
    }

    fn send(&mut self, frame: Vec<u8>) -> bool {
        let sent = self.sender.send(&frame).is_ok();
        if self.spare.len() < 4096 {
            self.spare.push(frame);
        }
        sent
    }
}

impl Frames {
    fn pass(
        &mut self,
        frame: &mut [u8],
        start: Option<usize>,
        ruling: &Ruling,
        now: u64,
        desk: &mut Desk<Vec<u8>>,
    ) {
        // What was verified before is not to be said to the kernel.
        frame[0] &= NEEDS_CHECKSUM;
        for (pick, fix) in &ruling.bends {
            let Some(at) = start else { break };
            let partial = frame[0] & NEEDS_CHECKSUM != 0;
            if bend(&mut frame[at..], *pick, *fix, partial) && partial && !*fix {
                frame[..HEAD].fill(0);
            }
        }
        for _ in 0..=ruling.copies {
            if desk.may_pass(ruling, now) {
                if self.sender.send(frame).is_err() {
                    desk.blame(u64::MAX);
                }
                continue;
            }
            let spare = &mut self.spare;
            desk.hold(ruling, frame.len(), || {
                let mut kept = spare.pop().unwrap_or_default();
                kept.clear();
                kept.extend_from_slice(frame);
                kept
            });
        }
    }
}

//! Frames in and out of this program: a TAP device that they are led into, a packet socket that sends them on.

use crate::sys;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What stands before each frame, in both directions: struct virtio_net_hdr, which says what the kernel has left to be
/// done (segments, checksum).
pub const HEAD: usize = 10;

/// A TAP device: what is sent to it is read here. It is gone with its descriptor.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    name: String,
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Checksums, segments of TCP over IPv4 and IPv6: left to whoever reads, who leaves them to the kernel again.
const LARGE: u32 = 1 | 2 | 4;

impl Tap {
    /// Makes one in the namespace of this thread; the kernel chooses the number in its name.
    pub fn open() -> io::Result<Tap> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
        let name = sys::tun_set_iff(&fd, "mfy%d", libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR)?;
        Ok(Tap { fd, name })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether frames come as they are on the wire, or as large as the kernel has them.
    pub fn show(&self, as_on_the_wire: bool) -> io::Result<()> {
        sys::tun_set_offload(&self.fd, if as_on_the_wire { 0 } else { LARGE })
    }

    /// Reads one frame with its head; `WouldBlock` when there is none.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.fd, buffer)?)
    }
}

/// A socket that sends frames at one interface, through its qdisc, with a mark.
#[derive(Debug)]
pub struct FrameSender {
    fd: OwnedFd,
}

impl FrameSender {
    /// Opens one in the namespace of this thread.
    pub fn open(interface: u32, mark: u32) -> io::Result<FrameSender> {
        let fd = socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        sys::set_option(&fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
        set_mark(&fd, mark)?;
        let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&fd, 64 << 20);
        sys::bind_packet(&fd, interface)?;
        Ok(FrameSender { fd })
    }

    /// Sends one frame with its head.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.fd, frame, rustix::net::SendFlags::DONTWAIT)?;
        Ok(())
    }
}

/// A socket that sends whole IP packets, from whatever address they say.
#[derive(Debug)]
pub struct PacketSender {
    four: OwnedFd,
    six: Option<OwnedFd>,
}

impl PacketSender {
    /// Opens one in the namespace of this thread.
    pub fn open(mark: u32) -> io::Result<PacketSender> {
        let open = |family, six| -> io::Result<OwnedFd> {
            // IPPROTO_RAW: nothing is received.
            let raw = rustix::net::Protocol::from_raw(
                std::num::NonZeroU32::new(255).unwrap_or(std::num::NonZeroU32::MIN),
            );
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let fd = socket_with(family, SocketType::RAW, flags, Some(raw))?;
            sys::header_included(&fd, six)?;
            set_mark(&fd, mark)?;
            Ok(fd)
        };
        // A kernel without IPv6 has no packets of it either.
        Ok(PacketSender {
            four: open(AddressFamily::INET, false)?,
            six: open(AddressFamily::INET6, true).ok(),
        })
    }

    /// Sends one packet to where its header says.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
        let short = || io::Error::from(io::ErrorKind::InvalidInput);
        let (fd, to): (_, IpAddr) = match packet.first().map(|b| b >> 4) {
            Some(4) => {
                let to: [u8; 4] = packet.get(16..20).and_then(|b| b.try_into().ok()).ok_or_else(short)?;
                (&self.four, Ipv4Addr::from(to).into())
            }
            Some(6) => {
                let to: [u8; 16] = packet.get(24..40).and_then(|b| b.try_into().ok()).ok_or_else(short)?;
                (self.six.as_ref().ok_or_else(short)?, Ipv6Addr::from(to).into())
            }
            _ => return Err(short()),
        };
        rustix::net::sendto(fd, packet, rustix::net::SendFlags::DONTWAIT, &SocketAddr::new(to, 0))?;
        Ok(())
    }
}

/// Gives a mark to everything that a socket sends. Needs CAP_NET_ADMIN.
pub fn set_mark(socket: &impl AsFd, mark: u32) -> io::Result<()> {
    sys::set_option(socket, libc::SOL_SOCKET, libc::SO_MARK, mark as i32)
}

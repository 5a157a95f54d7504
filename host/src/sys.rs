//! The few calls that no safe wrapper offers: options of sockets, packet sockets, TAP devices, pages. All unsafe code of this
//! crate is here.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sets an option of a socket that is one number.
pub(crate) fn set_option(socket: &impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call, and the kernel reads just the number whose size it is told.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Binds a packet socket to an interface: what is sent through it leaves there. It receives nothing (protocol 0).
pub(crate) fn bind_packet(socket: &impl AsFd, interface: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: interface as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the descriptor is open, and the kernel reads the structure, whose size it is told, during the call.
    let done = unsafe {
        libc::bind(
            socket.as_fd().as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a descriptor of /dev/net/tun a device. `template` may hold `%d`; gives the name it got.
pub(crate) fn tun_set_iff(tun: &impl AsFd, template: &str, flags: i32) -> io::Result<String> {
    let mut name = [0 as libc::c_char; libc::IFNAMSIZ];
    if template.is_empty() || template.len() >= name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in name.iter_mut().zip(template.bytes()) {
        *to = from as libc::c_char;
    }
    let mut request =
        libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags as i16 } };
    // SAFETY: the descriptor is open, and the kernel reads and writes the structure during the call alone.
    let done = unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(request.ifr_name.iter().take_while(|c| **c != 0).map(|c| char::from(c.to_ne_bytes()[0])).collect())
}

/// Which work the reader of a TUN device takes over from the kernel: segments of TCP, checksums.
pub(crate) fn tun_set_offload(tun: &impl AsFd, flags: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the argument of this ioctl is a number.
    let done =
        unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A raw socket that sends whole IP packets, header and all, of that family.
pub(crate) fn header_included(socket: &impl AsFd, six: bool) -> io::Result<()> {
    match six {
        false => set_option(socket, libc::IPPROTO_IP, libc::IP_HDRINCL, 1),
        // IPV6_HDRINCL of linux/in6.h, which libc does not have on every target.
        true => set_option(socket, libc::IPPROTO_IPV6, 36, 1),
    }
}

/// Has the kernel drop the pages of a mapping that can only be read and holds what its file holds.
pub(crate) fn forget_clean(range: std::ops::Range<usize>) -> io::Result<()> {
    let start = std::ptr::without_provenance_mut::<libc::c_void>(range.start);
    // SAFETY: the mapping is of a file, private and never written to (the caller has looked), so that a dropped page comes back
    // from the file with the same bytes when it is next read; nothing is unmapped.
    let done = unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

//! Passing a descriptor through a Unix socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Room for one control message with one descriptor, aligned as the kernel wants it.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    descriptor: libc::c_int,
}

/// What the kernel is told to fill in or to read: one descriptor and no more. It may not be longer than the structure is.
const CONTROL_BYTES: usize = size_of::<libc::cmsghdr>() + size_of::<libc::c_int>();

fn nothing() -> Control {
    // SAFETY: cmsghdr is plain data; zero is valid for every field.
    Control { header: unsafe { std::mem::zeroed() }, descriptor: -1 }
}

/// Has `act` send or receive one byte, and `control` with it. What is no descriptor is invalid input.
fn transfer(control: &mut Control, act: impl Fn(&mut libc::msghdr) -> isize) -> io::Result<isize> {
    let mut byte = 0_u8;
    let mut bytes = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    loop {
        // SAFETY: msghdr is plain data; zero is valid for every field.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (&raw mut bytes, 1);
        (message.msg_control, message.msg_controllen) = ((&raw mut *control).cast(), CONTROL_BYTES as _);
        match act(&mut message) {
            -1 => {
                let error = io::Error::last_os_error();
                if error.raw_os_error() == Some(libc::EBADF) {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
                }
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            moved => return Ok(moved),
        }
    }
}

/// Sends a descriptor. A socket whose other end is closed is an error, not a signal.
pub(crate) fn send(socket: BorrowedFd<'_>, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut control = nothing();
    control.header.cmsg_len = CONTROL_BYTES as _;
    (control.header.cmsg_level, control.header.cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
    control.descriptor = descriptor.as_raw_fd();
    // SAFETY: a valid descriptor, and a message whose parts live.
    transfer(&mut control, |message| unsafe { libc::sendmsg(socket.as_raw_fd(), message, libc::MSG_NOSIGNAL) })?;
    Ok(())
}

/// Receives a descriptor; `None` when the other end is closed.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut control = nothing();
    // SAFETY: a valid descriptor, and a message whose parts live.
    let moved = transfer(&mut control, |message| unsafe {
        libc::recvmsg(socket.as_raw_fd(), message, libc::MSG_CMSG_CLOEXEC)
    })?;
    let header = &control.header;
    if header.cmsg_level == libc::SOL_SOCKET && header.cmsg_type == libc::SCM_RIGHTS && control.descriptor >= 0 {
        // SAFETY: the kernel has just made it for us.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(control.descriptor) }));
    }
    if moved == 0 {
        return Ok(None);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "no descriptor came with the message"))
}

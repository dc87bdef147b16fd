//! Passing a descriptor through a Unix socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::process;

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

/// How long a socket waits for one call, as `option` (SO_RCVTIMEO or SO_SNDTIMEO) says; for ever unless told otherwise.
fn patience(socket: BorrowedFd<'_>, option: libc::c_int) -> Duration {
    let mut limit = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut len = size_of_val(&limit) as libc::socklen_t;
    // SAFETY: a valid descriptor, and a live structure of that length.
    unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw mut limit).cast(), &raw mut len) };
    let limit = Duration::new(limit.tv_sec as u64, limit.tv_usec as u32 * 1000);
    if limit.is_zero() { Duration::MAX } else { limit }
}

/// Has `act` send or receive one byte, and `control` with it. What is no descriptor is invalid input. `patience` is the socket's own, which
/// begins anew after each signal.
fn transfer(
    control: &mut Control,
    patience: impl FnOnce() -> Duration,
    act: impl Fn(&mut libc::msghdr) -> isize,
) -> io::Result<isize> {
    let start = process::now();
    let mut patience = Some(patience);
    let mut deadline = u64::MAX;
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
                if let Some(patience) = patience.take() {
                    let nanos = u64::try_from(patience().as_nanos()).unwrap_or(u64::MAX);
                    deadline = start.saturating_add(nanos);
                }
                if process::now() >= deadline {
                    return Err(io::ErrorKind::WouldBlock.into());
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
    let act = |message: &mut libc::msghdr| unsafe { libc::sendmsg(socket.as_raw_fd(), message, libc::MSG_NOSIGNAL) };
    transfer(&mut control, || patience(socket, libc::SO_SNDTIMEO), act)?;
    Ok(())
}

/// Receives a descriptor; `None` when the other end is closed.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut control = nothing();
    // SAFETY: a valid descriptor, and a message whose parts live.
    let act =
        |message: &mut libc::msghdr| unsafe { libc::recvmsg(socket.as_raw_fd(), message, libc::MSG_CMSG_CLOEXEC) };
    let moved = transfer(&mut control, || patience(socket, libc::SO_RCVTIMEO), act)?;
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

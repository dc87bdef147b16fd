//! The only rooms that talk to the kernel. Nothing above this folder names a libc function.
//!
//! | file | what it wraps |
//! |---|---|
//! | `object` | shared-memory objects: unnamed build, reserve, link, open, unlink |
//! | `mapping` | mapping an object into the address space |
//! | `memory` | wishes about the pages behind a mapping |
//! | `socket` | passing descriptors |
//! | `doubled` | a stretch of a mapping, mapped twice back to back |
//! | `lock` | open-file-description locks, which the kernel drops when their holder dies |
//! | `unshared` | descriptors that forked children do not keep |
//! | `wiped` | memory that forked children find zeroed |
//! | `futex` | sleeping on a 32-bit word, across processes |
//! | `barrier` | membarrier: a fence on every other processor, paid by the caller alone |
//! | `process` | who we are, what time it is, what happens at fork |

pub(crate) mod barrier;
#[cfg(not(loom))]
pub(crate) mod doubled;
#[cfg(not(loom))]
pub(crate) mod futex;
#[cfg(loom)]
#[path = "futex_loom.rs"]
pub(crate) mod futex;
#[cfg(not(loom))]
pub(crate) mod lock;
#[cfg(not(loom))]
pub(crate) mod mapping;
#[cfg(not(loom))]
pub(crate) mod memory;
#[cfg(not(loom))]
pub(crate) mod object;
pub(crate) mod process;
#[cfg(not(loom))]
pub(crate) mod socket;
#[cfg(not(loom))]
pub(crate) mod unshared;
pub(crate) mod wiped;

/// Turns the C convention (−1 and errno) into a result.
#[cfg(not(loom))]
fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result == -1 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}

//! A pool of objects: acquire one, use it, release it, from any process.
//!
//! | file | what is in it |
//! |---|---|
//! | `slots` | the algorithm, over plain bytes |
//! | `raw` | a handle: the algorithm, and who we are |
//! | `typed` | `Pool<T>` |

pub(crate) mod slots;

#[cfg(not(loom))]
mod raw;
#[cfg(not(loom))]
mod typed;
#[cfg(not(loom))]
mod verify;

#[cfg(not(loom))]
pub use raw::PoolStats;
#[cfg(not(loom))]
pub(crate) use raw::{PoolShape, RawPool, is_unfinished, reclaim, reclaim_strays};
pub use slots::Handle;
#[cfg(not(loom))]
pub use typed::Pool;
#[cfg(not(loom))]
pub(crate) use verify::verify;

//! Speculo: chunks that are written once and never change, by one writer, for any number of readers who cannot write at all.
//!
//! A chunk is allocated, filled where it lies, and committed; from then on it is visible, and only its state ever changes. An update is a
//! new chunk with the same id: the newest counts. Chunks may expire. When there is no room, or too much of it is wasted, the valid chunks
//! move to a new area and readers follow by themselves.
//!
//! | file | what is in it |
//! |---|---|
//! | `ids` | maps whose keys are ids |
//! | `layout` | the bytes |
//! | `chunks` | what is stored and loaded in which order, over plain bytes |
//! | `mapped` | manifests and areas in files |
//! | `place` | names and paths |
//! | `writer` | allocating, committing, compacting; what a dead writer left |
//! | `reader` | reading, following, waiting |
//! | `verify` | whether the bytes are what the rules allow |
//! | `settings` | what an area is to be, and its clock |
//! | `face` | `Area`, `Reader` |

pub(crate) mod chunks;
pub(crate) mod layout;

#[cfg(not(loom))]
mod face;
#[cfg(not(loom))]
mod ids;
#[cfg(not(loom))]
mod mapped;
#[cfg(not(loom))]
mod place;
#[cfg(not(loom))]
mod reader;
#[cfg(not(loom))]
mod settings;
#[cfg(not(loom))]
mod verify;
#[cfg(not(loom))]
mod writer;

#[cfg(not(loom))]
pub use face::{Area, AreaOptions, Chunk, Draft, Reader, ReaderOptions};
#[cfg(not(loom))]
pub(crate) use place::{Place, list};
#[cfg(not(loom))]
pub use reader::ReaderStats;
#[cfg(not(loom))]
pub(crate) use reader::{Found, RawReader};
#[cfg(not(loom))]
pub use settings::now;
#[cfg(not(loom))]
pub(crate) use settings::{Clock, Settings};
#[cfg(not(loom))]
pub(crate) use verify::verify;
#[cfg(not(loom))]
pub use writer::AreaStats;
#[cfg(not(loom))]
pub(crate) use writer::{Writer, unlink};

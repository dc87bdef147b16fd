//! A named raw region of a segment: the simplest structure, and what every other can show of itself.
//!
//! # Bytes
//!
//! The section is the region, zero at first. Its entry says 1 byte per element, the alignment asked for, and as many elements
//! as bytes.
//!
//! # Guarantees
//!
//! None but that the memory is there, and stays while a handle is open: who writes what when is between its users. A process
//! that dies leaves its bytes as they were.

use std::ptr::NonNull;

use crate::error::{Result, fail};
use crate::segment::{Element, Entry, Inspection, Kind, Request, Section, Segment, section_bytes};

/// A handle on a named raw region. May be used from any thread.
#[derive(Debug)]
pub struct Span {
    section: Section,
}

impl Span {
    /// Creates the region `name` of `bytes` bytes, aligned to `align` (a power of two up to 4096; 0: a cache line), or opens it if
    /// it is there with this length and at least this alignment. Exclusive: fails with `Exists` instead of opening.
    ///
    /// # Errors
    /// `Exists`, `Mismatch`, `NoSpace`, `Limit`, `Invalid`, `ReadOnly`, `Busy`.
    pub fn create(segment: &Segment, name: &str, bytes: u64, align: u32, exclusive: bool) -> Result<Self> {
        if bytes == 0 {
            return Err(fail!(Invalid, "a span of 0 bytes cannot be made"));
        }
        let element = Element::new(1, align.max(1))?;
        let request = Request {
            name,
            kind: Kind::Span,
            flags: 0,
            size: bytes,
            align: u64::from(align),
            elem_size: 1,
            elem_align: element.align,
            count: bytes,
            type_tag: 0,
        };
        let section = segment.create_section(&request, exclusive, |entry| {
            element.accept(entry)?;
            entry.accept_count(bytes, Some(bytes))
        })?;
        Ok(Self { section })
    }

    /// Opens the region `name`, however long it is.
    ///
    /// # Errors
    /// `NotFound`, `Mismatch`, `Invalid`, `Busy`.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        Ok(Self { section: segment.open_section(name, Kind::Span, |_| Ok(()))? })
    }

    /// How many bytes of a segment a span takes, alignment included.
    ///
    /// # Errors
    /// `Invalid` when there can be no such span.
    pub fn bytes_for(bytes: u64, align: u32) -> Result<u64> {
        Element::new(1, align.max(1))?;
        match section_bytes(bytes, align.into()) {
            Some(taken) if bytes > 0 => Ok(taken),
            _ => Err(fail!(Invalid, "a span of {bytes} bytes cannot be made")),
        }
    }

    /// The name in the segment's table.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.section.entry().name
    }

    /// The first byte. Valid while a handle on the span is open; of a read-only segment, for reading only. Other processes may
    /// write to it at any time.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.section.region().base()
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.section.region().len()
    }

    /// Always false: a span has at least one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The region: address and length in one, as every structure has them.
    #[must_use]
    pub fn span(&self) -> NonNull<[u8]> {
        self.section.region().bytes()
    }

    /// What the table said of it when it was opened.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        self.section.entry()
    }
}

/// Looks whether the entry tells the truth; the bytes are the users' own.
pub(crate) fn verify(entry: &Entry, look: &mut Inspection<'_>) {
    let aligned =
        Element::new(1, entry.elem_align).is_ok() && entry.offset.is_multiple_of(u64::from(entry.elem_align).max(1));
    if entry.elem_size != 1 || entry.count != entry.size || entry.flags != 0 || !aligned {
        look.nonsense();
    }
}

impl Segment {
    /// All of the segment's bytes, as docs/FORMAT.md has them, where this attachment has mapped them. Valid while the segment or
    /// any structure of it is open; of a read-only segment, for reading only. For those who look, or who register the memory with
    /// a device: other processes may write to it at any time, and who writes to it past the structures breaks them.
    #[must_use]
    pub fn span(&self) -> NonNull<[u8]> {
        self.attachment().region().bytes()
    }
}

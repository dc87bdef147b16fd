//! What the elements of a structure are: checked when it is made, compared when it is opened.

use super::header::{MAX_ALIGN, SECTION_ALIGN};
use super::table::Entry;
use crate::error::{Error, Result, fail};

/// Size and alignment of an element. The size is not zero; the alignment is a power of two up to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) size: u64,
    pub(crate) align: u32,
}

impl Element {
    /// An alignment of 0 stands for the one that suits the size: the largest power of two that divides it, at most 8.
    pub(crate) fn new(size: u64, align: u32) -> Result<Self> {
        if size == 0 {
            return Err(fail!(Invalid, "an element of 0 bytes cannot be stored"));
        }
        let align = if align == 0 { 1 << size.trailing_zeros().min(3) } else { align };
        if !align.is_power_of_two() || u64::from(align) > MAX_ALIGN {
            return Err(fail!(Invalid, "an alignment of {align} is not a power of two up to {MAX_ALIGN}"));
        }
        Ok(Self { size, align })
    }

    /// What a table entry says. There an alignment of 0 stands for nothing, as one was chosen when the structure was made.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        Self::new(entry.elem_size, entry.elem_align).ok().filter(|element| element.align == entry.elem_align)
    }

    /// Bytes from one element to the next. `None` when that overflows.
    pub(crate) fn step(self) -> Option<u64> {
        self.size.checked_next_multiple_of(self.align.into())
    }

    /// The error for more elements than can be addressed.
    pub(crate) fn too_many(self, noun: &str, count: u64) -> Error {
        fail!(Invalid, "{noun}: {count} elements of {} bytes are more than this machine can address", self.size)
    }

    /// Whether the elements of an existing structure are such; the error names both.
    pub(crate) fn accept(self, entry: &Entry) -> Result<()> {
        let (noun, name) = (entry.kind.noun(), &entry.name);
        if entry.elem_size != self.size {
            return Err(fail!(
                Mismatch,
                "{noun} '{name}' has elements of {} bytes, not of {}",
                entry.elem_size,
                self.size
            ));
        }
        if entry.elem_align < self.align {
            return Err(fail!(
                Mismatch,
                "{noun} '{name}' aligns its elements to {}, but {} was asked for",
                entry.elem_align,
                self.align
            ));
        }
        Ok(())
    }
}

/// Bytes of a segment that a section takes, wherever it comes to lie: sections begin at multiples of [`SECTION_ALIGN`], so a
/// larger alignment may cost up to itself.
/// `None` when that overflows.
pub(crate) fn section_bytes(bytes: u64, align: u64) -> Option<u64> {
    bytes.checked_add(align.max(SECTION_ALIGN) - SECTION_ALIGN)?.checked_next_multiple_of(SECTION_ALIGN)
}

impl Entry {
    /// Whether the type tag is the one asked for; 0 asks for none.
    pub(crate) fn accept_tag(&self, tag: u64) -> Result<()> {
        if tag != 0 && tag != self.type_tag {
            let (noun, name) = (self.kind.noun(), &self.name);
            return Err(fail!(Mismatch, "{noun} '{name}' has type tag {:#x}, not {tag:#x}", self.type_tag));
        }
        Ok(())
    }

    /// Whether there are as many elements as asked for, which `rounded` says how the structure would have stored (`None`: not at
    /// all); 0 asks for no number.
    pub(crate) fn accept_count(&self, count: u64, rounded: Option<u64>) -> Result<()> {
        if count != 0 && rounded != Some(self.count) {
            let (noun, name) = (self.kind.noun(), &self.name);
            return Err(fail!(
                Mismatch,
                "{noun} '{name}' has room for {} elements, but {count} were asked for",
                self.count
            ));
        }
        Ok(())
    }
}

//! Finding room for a section.
//!
//! The allocator has no state: free space is whatever the live entries do not cover, computed under the segment's lock.
//! So nothing can leak and nothing can be half-linked, wherever a process dies.

use super::header::Layout;
use crate::error::{Result, fail};

/// The ranges between the sections, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FreeSpace {
    /// Offset and length, ascending, none empty.
    gaps: Vec<(u64, u64)>,
}

impl FreeSpace {
    /// What `sections` (offset and size, in any order) leave free. Corrupt when they overlap or leave the data area.
    pub(crate) fn between(layout: &Layout, mut sections: Vec<(u64, u64)>) -> Result<Self> {
        sections.sort_unstable();
        let mut gaps = Vec::new();
        let mut end = layout.data_offset;
        for (offset, size) in sections {
            let next = offset.checked_add(size).filter(|next| *next <= layout.size);
            let (true, Some(next)) = (offset >= end, next) else {
                return Err(fail!(
                    Corrupt,
                    "the table was written over: a section of {size} bytes at {offset} overlaps another or leaves the \
                     segment"
                ));
            };
            if offset > end {
                gaps.push((end, offset - end));
            }
            end = next;
        }
        if layout.size > end {
            gaps.push((end, layout.size - end));
        }
        Ok(Self { gaps })
    }

    pub(crate) fn total(&self) -> u64 {
        self.gaps.iter().map(|(_, len)| len).sum()
    }

    pub(crate) fn largest(&self) -> u64 {
        self.gaps.iter().map(|(_, len)| *len).max().unwrap_or(0)
    }

    /// The offset of the first gap that has room for `size` bytes at a multiple of `align`.
    pub(crate) fn first_fit(&self, size: u64, align: u64) -> Option<u64> {
        self.gaps.iter().find_map(|(offset, len)| {
            let start = offset.checked_next_multiple_of(align)?;
            let end = start.checked_add(size)?;
            (end <= offset + len).then_some(start)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::header::TableShape;
    use proptest::prelude::*;

    fn layout() -> Layout {
        Layout::new(1 << 20, TableShape::SMALL, 16, 0).unwrap()
    }

    #[test]
    fn an_empty_table_leaves_one_gap() {
        let layout = layout();
        let space = FreeSpace::between(&layout, vec![]).unwrap();
        assert_eq!(space.total(), layout.size - layout.data_offset);
        assert_eq!(space.largest(), space.total());
        assert_eq!(space.first_fit(100, 128), Some(layout.data_offset));
    }

    #[test]
    fn overlaps_and_strays_are_corrupt() {
        let layout = layout();
        let start = layout.data_offset;
        for sections in [
            vec![(start, 256), (start + 128, 256)],
            vec![(0, 128)],
            vec![(layout.size - 64, 128)],
            vec![(u64::MAX - 3, 8)],
        ] {
            assert!(FreeSpace::between(&layout, sections).is_err());
        }
    }

    proptest! {
        #[test]
        fn sections_placed_by_first_fit_never_overlap(requests in prop::collection::vec((1_u64..9000, 7_u32..13), 1..60)) {
            let layout = layout();
            let mut sections = Vec::new();
            for (index, (size, shift)) in requests.into_iter().enumerate() {
                let space = FreeSpace::between(&layout, sections.clone()).unwrap();
                match space.first_fit(size, 1 << shift) {
                    Some(offset) => {
                        prop_assert_eq!(offset % (1 << shift), 0);
                        sections.push((offset, size));
                    }
                    None => prop_assert!(space.largest() < size + (1 << shift)),
                }
                if index % 3 == 2 {
                    sections.swap_remove(index % sections.len());
                }
            }
            // `between` itself refuses overlaps.
            prop_assert!(FreeSpace::between(&layout, sections).is_ok());
        }
    }
}

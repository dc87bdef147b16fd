//! Manifests and areas in files that are mapped.

use std::fs::File;
use std::ops::Deref;
use std::os::fd::AsFd;

use super::chunks::Chunks;
use super::layout::{FIRST, GRAIN, MANIFEST_BYTES, Manifest};
use crate::error::{Error, Result, fail};
use crate::os::mapping::Mapping;
use crate::os::process;
use crate::segment::Region;
use crate::shared::fnv1a;

/// What tells times of this run of the machine from others; 0: that is not known, as there is no /proc.
pub(crate) fn boot() -> u64 {
    process::boot_id().map_or(0, |id| fnv1a(&id))
}

/// The bytes of a file that is not shorter than `least`.
fn size(file: &File, least: u64, what: &str, kind: &str) -> Result<u64> {
    let metadata = file.metadata().map_err(|error| Error::system(format_args!("cannot look at {what}"), error))?;
    let len = metadata.len();
    if !metadata.is_file() || len < least {
        return Err(fail!(Corrupt, "{what} has {len} bytes, and is no {kind}"));
    }
    Ok(len)
}

fn map(file: &File, len: u64, read_only: bool, what: &str) -> Result<Mapping> {
    let failed = |error| Error::system(format_args!("cannot map the {len} bytes of {what}"), error);
    let len = usize::try_from(len).map_err(|_| fail!(Limit, "{what} has {len} bytes, more than can be mapped"))?;
    Mapping::new(file.as_fd(), len, read_only).map_err(failed)
}

/// A mapped manifest.
#[derive(Debug)]
pub(crate) struct MappedManifest(Mapping);

impl MappedManifest {
    /// `fresh`: it is being made.
    pub(crate) fn new(file: &File, read_only: bool, fresh: bool, what: &str) -> Result<Self> {
        size(file, MANIFEST_BYTES, what, "manifest")?;
        let manifest = Self(map(file, MANIFEST_BYTES, read_only, what)?);
        if fresh {
            manifest.begin();
        }
        manifest.check(what)?;
        Ok(manifest)
    }
}

impl Deref for MappedManifest {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        // SAFETY: the mapping is larger, aligned to a page, and lives as long as this; atomics only.
        unsafe { self.0.base().cast().as_ref() }
    }
}

/// A mapped area.
#[derive(Debug)]
pub(crate) struct MappedArea {
    chunks: Chunks,
    /// What the chunks lie in.
    _mapping: Mapping,
}

impl MappedArea {
    pub(crate) fn create(file: &File, bytes: u64, generation: u64, what: &str) -> Result<Self> {
        let mapping = map(file, bytes, false, what)?;
        Ok(Self { chunks: Chunks::create(region(&mapping), generation, boot()), _mapping: mapping })
    }

    pub(crate) fn open(file: &File, generation: u64, read_only: bool, what: &str) -> Result<Self> {
        let len = size(file, FIRST + GRAIN, what, "area")?;
        let mapping = map(file, len, read_only, what)?;
        Ok(Self { chunks: Chunks::open(region(&mapping), generation, what)?, _mapping: mapping })
    }
}

fn region(mapping: &Mapping) -> Region {
    // SAFETY: valid as long as the mapping, which whoever uses the region holds too.
    unsafe { Region::new(mapping.base(), mapping.len()) }
}

impl Deref for MappedArea {
    type Target = Chunks;

    fn deref(&self) -> &Chunks {
        &self.chunks
    }
}

//! Where a segment lies, and what people call it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Result, fail};
use crate::os::object::{self, Identity};

/// A segment's backing: an object in shared memory, a file anywhere, or an object without a name.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    name: String,
    /// None where only a descriptor leads.
    path: Option<PathBuf>,
    is_file: bool,
}

impl Place {
    /// In shared memory, under a name: one leading slash is allowed, as for `shm_open`.
    pub(crate) fn memory(name: &str) -> Result<Self> {
        let bare = bare(name)?;
        Ok(Self { name: bare.to_owned(), path: Some(object::path_of(bare)), is_file: false })
    }

    /// Without a name that leads there; the one given is for people.
    pub(crate) fn nameless(name: &str) -> Result<Self> {
        let bare = bare(name)?;
        if bare.len() > object::LONGEST_LABEL {
            let most = object::LONGEST_LABEL;
            return Err(fail!(Invalid, "the name '{bare}' has {} bytes; a memfd's may have {most}", bare.len()));
        }
        Ok(Self { name: bare.to_owned(), path: None, is_file: false })
    }

    /// Where a descriptor leads. What cannot be sealed is no memory. A name in shared memory that leads there too is known, so
    /// that it goes with the last who is attached; other directories may be changed under us by those we do not trust.
    pub(crate) fn behind(file: &File) -> Self {
        let name = object::label(file);
        let leads_here = |path: &PathBuf| {
            let here = file.metadata().map(|metadata| Identity::of(&metadata));
            here.is_ok_and(|here| Identity::at(path).is_ok_and(|there| there == Some(here)))
        };
        let path = bare(&name).ok().map(object::path_of).filter(leads_here);
        Self { name, path, is_file: object::seals(file).is_none() }
    }

    /// In a file system, at a path, which is made absolute: the process may change its directory.
    pub(crate) fn file(path: &Path) -> Result<Self> {
        let ends_in_name = path.as_os_str().as_encoded_bytes().last().is_some_and(|last| *last != b'/');
        if !ends_in_name || path.file_name().is_none() {
            return Err(fail!(Invalid, "the path '{}' does not end in a file name", path.display()));
        }
        let absolute = std::path::absolute(path)
            .map_err(|error| fail!(Invalid, "the path '{}' cannot be made absolute: {error}", path.display()))?;
        Ok(Self { name: absolute.display().to_string(), path: Some(absolute), is_file: true })
    }

    /// What people call it: its name in shared memory, or its path.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// "segment 'name'", for sentences.
    pub(crate) fn what(&self) -> String {
        format!("segment '{}'", self.name)
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Whether it is in a file that may outlive the machine's running.
    pub(super) fn is_file(&self) -> bool {
        self.is_file
    }

    /// Whether the name means this object now. What has no name cannot lose it.
    pub(super) fn leads_to(&self, identity: Identity) -> io::Result<bool> {
        self.path().map_or(Ok(true), |path| Ok(Identity::at(path)? == Some(identity)))
    }

    /// Takes the name away, if there is one.
    pub(super) fn unlink(&self) -> io::Result<()> {
        self.path().map_or(Ok(()), |path| object::unlink(path).map(drop))
    }
}

/// A segment's name without the slash, if it can be one.
fn bare(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    if bare.is_empty() {
        return Err(fail!(Invalid, "a segment's name is empty"));
    }
    if bare.len() > 255 {
        return Err(fail!(Invalid, "the segment name '{bare}' has {} bytes; at most 255 are possible", bare.len()));
    }
    if bare.contains('/') || bare == "." || bare == ".." || bare.contains(char::is_control) {
        return Err(fail!(
            Invalid,
            "the segment name {name:?} is not a file name: no further '/', no '.' or '..', no control characters"
        ));
    }
    if bare.starts_with(object::TEMPORARY_PREFIX) {
        return Err(fail!(
            Invalid,
            "segment names beginning with '{}' are the library's own",
            object::TEMPORARY_PREFIX
        ));
    }
    Ok(bare)
}

//! Where a manifest and its areas lie.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, fail};
use crate::os::object;

const SUFFIX: &str = ".speculo";

/// A directory and a name.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    directory: PathBuf,
    name: String,
}

impl Place {
    /// `directory`: where POSIX shared memory lies, unless told.
    pub(crate) fn new(name: &str, directory: Option<&Path>) -> Result<Self> {
        let bare = name.strip_prefix('/').unwrap_or(name);
        let legal =
            !bare.is_empty() && !bare.contains('/') && !bare.contains(char::is_control) && !bare.starts_with('.');
        if !legal {
            return Err(fail!(
                Invalid,
                "{name:?} cannot be an area's name: it is to be a file name that does not begin with a dot"
            ));
        }
        // Room for the suffix and the longest generation in a file's name.
        if bare.len() > 200 {
            return Err(fail!(Invalid, "the area name '{bare}' has {} bytes; at most 200 are possible", bare.len()));
        }
        let directory = match directory {
            None => object::directory().to_owned(),
            Some(path) => std::path::absolute(path)
                .map_err(|error| fail!(Invalid, "the path '{}' cannot be made absolute: {error}", path.display()))?,
        };
        Ok(Self { directory, name: bare.to_owned() })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// "area 'name'", for sentences.
    pub(crate) fn what(&self) -> String {
        format!("area '{}'", self.name)
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.directory.join(format!("{}{SUFFIX}", self.name))
    }

    pub(crate) fn area(&self, generation: u64) -> PathBuf {
        self.directory.join(format!("{}{SUFFIX}-{generation}", self.name))
    }

    /// The generations of which there are areas.
    pub(crate) fn generations(&self) -> Result<Vec<u64>> {
        let prefix = format!("{}{SUFFIX}-", self.name);
        let files = files(&self.directory, &self.what())?;
        Ok(files.iter().filter_map(|file| file.strip_prefix(&prefix)?.parse().ok()).collect())
    }
}

/// The areas whose names begin with `prefix`, in the order of their names.
pub(crate) fn list(prefix: &str, directory: Option<&Path>) -> Result<Vec<String>> {
    let directory = directory.unwrap_or(object::directory());
    let prefix = prefix.strip_prefix('/').unwrap_or(prefix);
    let mut names = files(directory, "areas")?;
    names.retain_mut(|file| {
        // Of a manifest the name without its suffix; of an area the suffix is not the end.
        let name = file.strip_suffix(SUFFIX).unwrap_or_default().len();
        file.truncate(name);
        file.starts_with(prefix) && Place::new(file, None).is_ok()
    });
    names.sort_unstable();
    Ok(names)
}

/// The names in a directory, where `wanted` is looked for. Those that are no UTF-8 are nobody's whom we know.
fn files(directory: &Path, wanted: &str) -> Result<Vec<String>> {
    let failed = |error| Error::system(format_args!("cannot list {} for {wanted}", directory.display()), error);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        found.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(found)
}

//! How attachments come and go.
//!
//! # The life of a segment
//!
//! A segment lives while somebody living is attached, unless it is persistent. All of this happens under the segment's
//! lock (one lock byte of the object, which dies with its holder):
//!
//! - **attach**: open, map, validate; lock; *look whether the name still means this object*, and start over if not; if
//!   nobody living holds a byte, remove the name and start over as if it had not been there; else bury the dead, take a
//!   record and the lock byte that belongs to it.
//! - **detach**: lock; give back what we own; if nobody else living holds a byte, remove the name, after the same look.
//! - **create**: build an unnamed object with ourselves in it, then link it to the name. Losing the race is an attach.
//!
//! Whoever removes a name holds the lock of the object it means and has just checked that it means it, so nobody's
//! fresh segment is ever removed; whoever attached in between holds a byte, so nobody living loses theirs.
//!
//! A segment without a name (a memfd) has none of this to care about: who has a descriptor attaches, whether or not
//! anybody is alive, and nobody removes anything.
//!
//! Several who create one segment at once each reserve all of it before one of them gets the name; where there is no room for that
//! many, they wait a little for the others to be done.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::attachment::{Attachment, Backoff};
use super::header::{FLAG_PERSISTENT, Header, Layout};
use super::options::SegmentOptions;
use super::participants::byte_of;
use super::place::Place;
use super::region::Region;
use crate::error::{Error, Result, Status, fail};
use crate::os::lock::{self, Mode};
use crate::os::mapping::Mapping;
use crate::os::memory::is_made_of_huge_pages;
use crate::os::object::{self, Build, Identity, Unlinked};
use crate::os::process;
use crate::sync::Ordering;

/// Attaches, creating the segment if it is not there and `create` says so.
pub(crate) fn attach(place: &Place, options: &SegmentOptions, create: bool) -> Result<Arc<Attachment>> {
    let layout = if create { Some(options.layout()?) } else { None };
    let mut backoff = Backoff::new(options.lock_timeout);
    let mut scarcity = Backoff::new(options.lock_timeout.min(Duration::from_millis(250)));
    loop {
        if let Some(attachment) = attach_existing(place, options, create)? {
            return Ok(attachment);
        }
        let Some(layout) = &layout else { return Err(fail!(NotFound, "there is no {}", place.what())) };
        match build(place, options, *layout) {
            Ok(Some(attachment)) => return Ok(attachment),
            // Somebody was faster; attach to theirs, or find that it is already gone again.
            Ok(None) if backoff.wait() => {}
            Ok(None) => return Err(fail!(Busy, "{} keeps appearing and disappearing", place.what())),
            Err(error) if error.status() == Status::NoSpace && scarcity.wait() => {}
            Err(error) => return Err(error),
        }
    }
}

/// One attempt to attach. `None` when there is nothing (any more) to attach to.
fn attach_existing(place: &Place, options: &SegmentOptions, create: bool) -> Result<Option<Arc<Attachment>>> {
    let what = place.what();
    let mut backoff = Backoff::new(options.lock_timeout);
    loop {
        let Some(attachment) = map_existing(place, options)? else { return Ok(None) };
        let locked = attachment.lock()?;
        if place.leads_to(attachment.identity).map_err(|error| cannot_look(&what, error))? {
            if attachment.persistent || attachment.is_alive()? {
                if create && options.exclusive {
                    return Err(fail!(Exists, "{what} exists already"));
                }
                if create {
                    check_shape(&attachment, options)?;
                }
                attachment.notice_restart(&locked);
                attachment.register(&locked)?;
                drop(locked);
                return Ok(Some(attachment));
            }
            // Everybody is gone, by a crash, or we would not find it. A reader's lock is shared, so it leaves removing to its own
            // detaching, which takes the real one.
            if !options.read_only {
                place.unlink().map_err(|error| Error::system(format_args!("cannot remove the dead {what}"), error))?;
            }
            return Ok(None);
        }
        drop(locked);
        if !backoff.wait() {
            return Err(fail!(Busy, "{what} keeps being replaced by another"));
        }
    }
}

/// Builds a new segment, ourselves in it, and gives it its name. `None` when the name was taken meanwhile.
fn build(place: &Place, options: &SegmentOptions, layout: Layout) -> Result<Option<Arc<Attachment>>> {
    let what = place.what();
    let unlinked = reserve(place, options, layout.size)?;
    let metadata = unlinked.file().metadata().map_err(|error| cannot_look(&what, error))?;
    // It may have been rounded up further, to huge pages.
    let layout = Layout { size: metadata.len(), ..layout };
    let (mapping, region) = map(unlinked.file(), layout.size as usize, options, &what)?;
    let header: &Header = region.at(0).expect("a layout is larger than its header");
    let persistent = options.persistent || place.is_file();
    layout.write(header, if persistent { FLAG_PERSISTENT } else { 0 });
    let unavailable = options.memory.ask(unlinked.file(), &mapping, &what, place.is_file());

    let (mapped, reopen) = ((mapping, unavailable), || unlinked.reopen());
    let attachment = Attachment::enrol(place, &metadata, mapped, layout, options, persistent, reopen)?;
    // The first participant is there before the name is, so that nobody finds the segment dead.
    lock::try_lock(attachment.file.as_fd(), byte_of(1), Mode::Exclusive)
        .map_err(|error| attachment.cannot_lock(error))?;
    attachment.record(1).take();
    if place.is_file() {
        attachment.note_boot();
        // A name that survives the machine leads to a segment.
        attachment.sync(0, layout.data_offset)?;
    }
    match place.path().map_or(Ok(()), |path| unlinked.link(path)) {
        Ok(()) if place.is_file() => object::sync_directory(place.path()),
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(Error::system(format_args!("cannot give {what} its name"), error)),
    }
    attachment.become_participant(1);
    Ok(Some(attachment))
}

/// The object of a new segment: all of its memory, and no name yet.
fn reserve(place: &Place, options: &SegmentOptions, size: u64) -> Result<Unlinked> {
    let what = place.what();
    let Some(directory) = place.path().and_then(Path::parent) else {
        return Unlinked::memfd(place.name(), size, options.mode, options.group, options.memory.huge)
            .map_err(|error| Error::system(format_args!("cannot reserve {size} bytes for {what}"), error));
    };
    Unlinked::new(directory, size, options.mode, options.group, Build::Best).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            if !place.is_file() {
                return fail!(System, "there is no shared memory on this machine: {error}");
            }
            if !directory.exists() {
                return fail!(NotFound, "there is no directory '{}' for {what}", directory.display());
            }
            let directory = directory.display();
            return fail!(System, "the file system of '{directory}' takes no files such as {what}: {error}");
        }
        let room = object::describe_room(directory);
        Error::system(format_args!("cannot reserve {size} bytes for {what}{room}"), error)
    })
}

/// Maps what has this name, if it is a segment; not registered yet. `None` when there is nothing.
fn map_existing(place: &Place, options: &SegmentOptions) -> Result<Option<Arc<Attachment>>> {
    let Some((file, metadata)) = open_existing(place, options.read_only)? else { return Ok(None) };
    check_owner(&metadata, options, &place.what())?;
    map_file(place, file, &metadata, options).map(Some)
}

/// Opens what has this name, if it can be a segment. `None` when there is nothing.
pub(super) fn open_existing(place: &Place, read_only: bool) -> Result<Option<(File, Metadata)>> {
    let what = place.what();
    let Some(path) = place.path() else { return Ok(None) };
    let file = match object::open(path, read_only) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::system(format_args!("cannot open {what}"), error)),
    };
    let metadata = file.metadata().map_err(|error| cannot_look(&what, error))?;
    check_kind(&metadata, &what)?;
    Ok(Some((file, metadata)))
}

/// Whether a segment stays without anybody.
pub(super) fn is_persistent(place: &Place, header: &Header) -> bool {
    // Also a copy of one that does not: nobody who says "file" wants it removed.
    place.is_file() || header.flags.load(Ordering::Relaxed) & FLAG_PERSISTENT != 0
}

/// Maps an object, if it is a segment; not registered yet.
fn map_file(place: &Place, file: File, metadata: &Metadata, options: &SegmentOptions) -> Result<Arc<Attachment>> {
    let what = place.what();
    let size = metadata.len();
    if size < size_of::<Header>() as u64 {
        return Err(too_small(&what, size));
    }
    let len = usize::try_from(size).map_err(|_| fail!(Invalid, "{what} has {size} bytes, more than we can map"))?;
    let (mapping, region) = map(&file, len, options, &what)?;
    let header: &Header = region.at(0).ok_or_else(|| too_small(&what, size))?;
    let layout = Layout::read(header, size, &what)?;
    let persistent = is_persistent(place, header);
    let unavailable = options.memory.ask(&file, &mapping, &what, place.is_file());
    let (mapped, reopen) = ((mapping, unavailable), || {
        // By the name it is faster.
        object::open_if_still(place.path(), Identity::of(metadata), options.read_only)
            .map_or_else(|| object::reopen(&file, place.path(), options.read_only), Ok)
    });
    Attachment::enrol(place, metadata, mapped, layout, options, persistent, reopen)
}

pub(super) fn too_small(what: &str, size: u64) -> Error {
    fail!(Corrupt, "{what} is not a segment: its file has only {size} bytes")
}

/// Maps through a description that never carries a lock: the mapping keeps it, and forked children keep the mapping.
fn map(file: &File, len: usize, options: &SegmentOptions, what: &str) -> Result<(Mapping, Region)> {
    let plain = || Mapping::new(file.as_fd(), len, options.read_only);
    // Where there is no room for the alignment, huge pages are a wish that cannot be had.
    let aligned =
        if options.memory.huge { Mapping::new_aligned(file.as_fd(), len, options.read_only).ok() } else { None };
    let mapping = aligned
        .map_or_else(plain, Ok)
        .map_err(|error| Error::system(format_args!("cannot map {what} ({len} bytes)"), error))?;
    // SAFETY: the mapping has this length; who gets the region gets the mapping with it.
    let region = unsafe { Region::new(mapping.base(), mapping.len()) };
    Ok((mapping, region))
}

pub(super) fn cannot_look(what: &str, error: io::Error) -> Error {
    Error::system(format_args!("cannot look at {what}"), error)
}

/// Refuses an existing segment that is smaller, or has another table, than was asked for.
fn check_shape(attachment: &Attachment, options: &SegmentOptions) -> Result<()> {
    let what = attachment.what();
    if attachment.layout().size < options.size {
        return Err(fail!(
            Mismatch,
            "{what} exists with {} bytes, but {} were asked for",
            attachment.layout().size,
            options.size
        ));
    }
    if let Some(table) = options.table
        && table != attachment.layout().table
    {
        let ours = attachment.layout().table;
        return Err(fail!(
            Mismatch,
            "{what} exists with a table of {} names of {} bytes, but {} of {} were asked for",
            ours.entries,
            ours.name_bytes,
            table.entries,
            table.name_bytes
        ));
    }
    Ok(())
}

/// Refuses objects that cannot be segments.
fn check_kind(metadata: &Metadata, what: &str) -> Result<()> {
    if !metadata.is_file() {
        return Err(fail!(Corrupt, "{what} is not a segment: it is not a regular file"));
    }
    Ok(())
}

/// Refuses objects that somebody else may have planted, and may truncate while we use them.
fn check_owner(metadata: &Metadata, options: &SegmentOptions, what: &str) -> Result<()> {
    let (owner, us) = (metadata.uid(), process::effective_uid());
    if owner != us && owner != 0 && !options.any_owner {
        return Err(fail!(
            Permission,
            "{what} belongs to user {owner}, and we are user {us}; attach with SHM_ANY_OWNER if you trust them"
        ));
    }
    Ok(())
}

/// Creates a segment without a name: it lives as long as descriptors of it and mappings do.
pub(crate) fn create_memfd(name: &str, options: &SegmentOptions) -> Result<Arc<Attachment>> {
    let place = Place::nameless(name)?;
    let attachment = build(&place, options, options.layout()?)?;
    attachment.ok_or_else(|| fail!(Internal, "{} has no name, and yet somebody else has it", place.what()))
}

/// Attaches to the segment that a descriptor leads to.
pub(crate) fn attach_descriptor(descriptor: BorrowedFd<'_>, options: &SegmentOptions) -> Result<Arc<Attachment>> {
    let number = descriptor.as_raw_fd();
    let given = descriptor
        .try_clone_to_owned()
        .map_err(|error| fail!(Invalid, "descriptor {number} leads to no segment: {error}"))
        .map(File::from)?;
    let place = Place::behind(&given);
    let what = place.what();
    let metadata = given.metadata().map_err(|error| cannot_look(&what, error))?;
    // Before it is opened: opening a pipe can block.
    check_kind(&metadata, &what)?;
    check_seals(&given, &metadata, options, &what)?;
    // The description given may be shared with whoever passed it, and locks would be.
    let file = object::reopen(&given, None, options.read_only)
        .map_err(|error| Error::system(format_args!("cannot open {what}"), error))?;
    // Again: until it was sealed, it could be cut short.
    let metadata = file.metadata().map_err(|error| cannot_look(&what, error))?;
    let attachment = map_file(&place, file, &metadata, options)?;
    let locked = attachment.lock()?;
    attachment.notice_restart(&locked);
    attachment.register(&locked)?;
    drop(locked);
    Ok(attachment)
}

/// Refuses an object whose memory somebody we do not trust may take away. Seals stand in for trust, but with reserved huge
/// pages, where a hole cannot always be filled again; without a name they are needed.
fn check_seals(file: &File, metadata: &Metadata, options: &SegmentOptions, what: &str) -> Result<()> {
    let needed = object::SHRINK | object::GROW;
    match object::seals(file) {
        Some(seals) if seals & needed == needed && !is_made_of_huge_pages(file.as_fd()) => Ok(()),
        Some(seals) if seals & needed != needed && metadata.nlink() == 0 && !options.any_owner => Err(fail!(
            Permission,
            "{what} is not sealed against shrinking and growing (its seals are {seals:#x}); attach with SHM_ANY_OWNER if you \
             trust all who have a descriptor of it"
        )),
        _ => check_owner(metadata, options, what),
    }
}

//! Calls any function of the C ABI with any arguments that its contract allows, and some that are refused.
//!
//! What a function takes is read from `include/shmds.h`: types and names say what is a handle, a name, a length, or memory of the
//! caller's, and of how many bytes. All of it are integers and pointers, so a call is a call with so many words.
//!
//! After each call: its status is one of the documented ones; where it failed, nothing was handed out; what it handed out
//! lies where it should, and can be touched to its end. The caller's memory ends where a page ends that nobody may touch.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::dice::Dice;
use super::functions::functions;
use super::scribble::Scribbler;
use super::watch::Watch;

const HEADER: &str = include_str!("../../include/shmds.h");

pub const INTERNAL: i32 = -13;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Segment,
    Array,
    Atomic,
    ByteQueue,
    Pool,
    Queue,
    Ring,
    RingReader,
    Span,
    Area,
    Reader,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "shm_segment" => Self::Segment,
            "shm_array" => Self::Array,
            "shm_atomic" => Self::Atomic,
            "shm_byte_queue" => Self::ByteQueue,
            "shm_pool" => Self::Pool,
            "shm_queue" => Self::Queue,
            "shm_ring" => Self::Ring,
            "shm_ring_reader" => Self::RingReader,
            "shm_span" => Self::Span,
            "speculo_area" => Self::Area,
            "speculo_reader" => Self::Reader,
            _ => return None,
        })
    }
}

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parameter {
    Handle(Kind),
    HandleOut(Kind),
    /// Of a structure in a segment, or of one of ours outside.
    InnerName,
    OuterName,
    /// Of the name before it, or of a part of it; its NUL may be in it.
    NameLength,
    Path,
    Directory,
    Options {
        of_segment: bool,
    },
    /// Memory for elements, or bytes, as many as `Count` says; of one if there is none.
    Elements,
    Bytes,
    /// So many records of this many bytes.
    Records(usize),
    Count,
    Slot {
        out: bool,
    },
    Chunk,
    /// Where a result goes.
    Out,
    /// What is read and then changed.
    InOut,
    Number,
    /// Of memory that is reserved at once.
    Reservation,
    Half,
    Time,
    Bool,
    PoolHandle,
    Descriptor,
    Address,
    Clock,
    Visitor,
    Null,
}

impl Parameter {
    /// By its type, its name, and the function's.
    fn of(kind: &str, name: &str, function: &str) -> Self {
        let target = kind.trim_start_matches("const ").trim_start_matches("struct ").trim_end_matches(['*', ' ']);
        let depth = kind.matches('*').count();
        if let Some(kind) = Kind::of(target) {
            return if depth == 2 { Self::HandleOut(kind) } else { Self::Handle(kind) };
        }
        let inner =
            !function.starts_with("shm_segment") && !function.starts_with("speculo") && function != "shm_open_segment";
        match (target, depth, name) {
            ("char", 1, "name" | "prefix") if inner => Self::InnerName,
            ("char", 1, "name" | "prefix") => Self::OuterName,
            ("char", 1, "path") if function.starts_with("shm_segment") => Self::Path,
            ("char", 1, "directory" | "path") => Self::Directory,
            (options, 1, _) if options.ends_with("_options") => {
                if kind.starts_with("const") {
                    Self::Options { of_segment: options == "shm_segment_options" }
                } else {
                    Self::Out
                }
            }
            ("void", 1, "element" | "elements") => Self::Elements,
            ("void", 1, "data" | "buffer") => Self::Bytes,
            ("void", 1, "start") => Self::Address,
            ("void", 1, "context") => Self::Null,
            ("void", 2, _) | ("char", 2, _) => Self::Out,
            ("shm_message", 1, _) => Self::Records(32),
            ("shm_participant", 1, _) => Self::Records(48),
            ("speculo_area_name", 1, _) => Self::Records(264),
            ("uint64_t", 1, "handles") => Self::Records(8),
            ("shm_queue_slot", 1, _) => Self::Slot { out: !kind.starts_with("const") },
            ("speculo_chunk", 1, _) => Self::Chunk,
            (_, 1, "expected" | "cursor") => Self::InOut,
            (target, 1, _) if kind.contains('(') => panic!("{function} takes a {target}"),
            (_, 1, _) => Self::Out,
            ("uint64_t", 0, "size" | "bytes") if !inner && function != "speculo_area_write" => Self::Reservation,
            ("size_t", 0, "length") => Self::NameLength,
            ("size_t", 0, "count" | "capacity" | "size") => Self::Count,
            ("uint64_t", 0, "length" | "size") => Self::Count,
            ("uint64_t", 0, "timeout_ns" | "spin_ns") => Self::Time,
            ("uint64_t", 0, "handle") => Self::PoolHandle,
            ("uint64_t" | "size_t", 0, _) | ("union shm_atomic_value", 0, _) => Self::Number,
            ("uint32_t", 0, _) => Self::Half,
            ("bool", 0, _) => Self::Bool,
            ("int", 0, _) => Self::Descriptor,
            ("clock", 0, _) => Self::Clock,
            ("shm_visit", 0, _) => Self::Visitor,
            _ => panic!("{function} takes a {kind} {name}, of which nothing is known"),
        }
    }
}

/// What a successful call handed out, and how far it must be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    Nothing,
    /// Address and length in these parameters; with the size of a step, if it has one.
    Range(usize, usize, Option<usize>),
    /// An address in this parameter, as long as that number asked for.
    Reserved {
        data: usize,
        asked: usize,
    },
    Messages {
        out: usize,
        done: Option<usize>,
    },
    Slot(usize),
    Object(usize),
    Text(usize),
    View(usize),
    PoolHandles {
        out: usize,
        done: Option<usize>,
    },
}

#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    address: usize,
    parameters: Vec<Parameter>,
    promise: Promise,
}

impl Function {
    pub fn is(&self, action: &str) -> bool {
        self.name.ends_with(action)
    }

    fn of(name: &'static str, address: usize, parameters: &[(String, String)]) -> Self {
        let at = |wanted: &str| parameters.iter().position(|(_, name)| name == wanted);
        let typed =
            |wanted: &str| parameters.iter().position(|(kind, _)| kind.contains(wanted) && !kind.starts_with("const"));
        let mut known: Vec<_> = parameters.iter().map(|(kind, given)| Parameter::of(kind, given, name)).collect();
        let has_memory =
            known.iter().any(|known| matches!(known, Parameter::Elements | Parameter::Bytes | Parameter::Records(_)));
        if !has_memory {
            // A length of nothing of ours.
            known.iter_mut().filter(|known| **known == Parameter::Count).for_each(|known| *known = Parameter::Number);
        }
        let data = parameters.iter().position(|(kind, _)| kind.matches('*').count() == 2 && kind.contains("void"));
        let promise = if let Some(out) = typed("shm_message") {
            Promise::Messages { out, done: at("done") }
        } else if let Some(out) = typed("shm_queue_slot") {
            Promise::Slot(out)
        } else if let Some(out) = typed("speculo_view") {
            Promise::View(out)
        } else if let Some(out) = parameters.iter().position(|(kind, _)| kind.contains("char **")) {
            Promise::Text(out)
        } else if name == "shm_pool_get" {
            Promise::Object(2)
        } else if name == "shm_pool_acquire" || name == "shm_pool_next" {
            Promise::PoolHandles { out: parameters.len() - 1, done: None }
        } else if name == "shm_pool_acquire_batch" {
            Promise::PoolHandles { out: 1, done: at("done") }
        } else if let (Some(data), Some(length)) = (data, at("bytes").filter(|at| parameters[*at].0.contains('*'))) {
            Promise::Range(data, length, None)
        } else if let (Some(data), Some(length)) = (data, at("there")) {
            Promise::Range(data, length, None)
        } else if let (Some(data), Some(length)) = (data, at("stride")) {
            Promise::Range(data, at("count").unwrap(), Some(length))
        } else if let (Some(data), Some(asked)) = (data, at("bytes").or(at("size"))) {
            Promise::Reserved { data, asked }
        } else {
            Promise::Nothing
        };
        Self { name, address, parameters: known, promise }
    }
}

/// What the header declares: names, and types and names of parameters.
fn prototypes() -> BTreeMap<String, Vec<(String, String)>> {
    let mut text = String::new();
    let mut rest = HEADER;
    while let Some(start) = rest.find("/*") {
        text.push_str(&rest[..start]);
        rest = &rest[start + rest[start..].find("*/").unwrap() + 2..];
    }
    text.push_str(rest);
    let declarations =
        text.split(';').filter_map(|part| part.rsplit('\n').find_map(|_| part.split_once("\nshm_status ")));
    declarations
        .map(|(_, declaration)| {
            let flat = declaration.split_whitespace().collect::<Vec<_>>().join(" ");
            let (name, parameters) = flat.trim_end_matches(')').split_once('(').unwrap();
            (name.to_owned(), split_parameters(parameters))
        })
        .collect()
}

fn split_parameters(text: &str) -> Vec<(String, String)> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in text.chars() {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        if letter == ',' && depth == 0 { parts.push(String::new()) } else { parts.last_mut().unwrap().push(letter) }
    }
    let parameter = |part: &String| {
        let part = part.trim();
        if part.contains("(*") {
            return ("clock".to_owned(), "now".to_owned());
        }
        let end = part.rfind(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap() + 1;
        let (kind, name) = part.split_at(end);
        (kind.trim().to_owned(), name.to_owned())
    };
    parts.iter().filter(|part| part.trim() != "void").map(parameter).collect()
}

/// Every function, with all that is known of it.
pub fn catalogue() -> &'static [Function] {
    static CATALOGUE: OnceLock<Vec<Function>> = OnceLock::new();
    CATALOGUE.get_or_init(|| {
        let mut declared = prototypes();
        let known = functions().into_iter().map(|(name, address)| {
            let parameters = declared.remove(name).unwrap_or_else(|| panic!("{name} is not in include/shmds.h"));
            Function::of(name, address, &parameters)
        });
        let known = known.collect();
        assert!(declared.is_empty(), "not in tests/malice/functions.rs: {:?}", declared.keys());
        known
    })
}

/// The function of this name.
pub fn function(name: &str) -> &'static Function {
    catalogue().iter().find(|function| function.name == name).unwrap_or_else(|| panic!("there is no {name}"))
}

/// Says what went wrong and where, and ends the run.
macro_rules! finding {
    ($watch:expr, $($arg:tt)*) => { panic!("malice: {}: {}", $watch.place(), format_args!($($arg)*)) };
}

type Call = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64, u64, u64) -> i32;

extern "C" fn clock(_: *mut c_void) -> u64 {
    static NOW: AtomicU32 = AtomicU32::new(1);
    NOW.fetch_add(1, Ordering::Relaxed).into()
}

/// Reads what is told of a finding of `shm_segment_verify`: `severity` and `kind`, `offset`, then two texts.
extern "C" fn visit(finding: *const [u64; 4], _: *mut c_void) {
    // SAFETY: live while this is called.
    let [_, _, name, sentence] = unsafe { finding.read() };
    for text in [name, sentence] {
        // SAFETY: as above.
        let text = unsafe { CStr::from_ptr(std::ptr::with_exposed_provenance(text as usize)) };
        assert!(text.to_str().is_ok(), "a text that is none");
    }
}

/// An open handle.
#[derive(Clone, Debug)]
pub struct Handle {
    pub pointer: u64,
    pub kind: Kind,
    /// Where its segment is mapped, and how much of it; 0 where that is nobody's business.
    base: usize,
    len: usize,
    /// Of its structure.
    pub bytes: u64,
    elem: u64,
    count: u64,
    flags: u64,
    writable: bool,
}

/// Memory of ours with nothing behind it.
struct Arena {
    base: *mut u8,
}

const ARENA: usize = 1 << 18;
const PAGE: usize = 4096;

impl Arena {
    fn new() -> Self {
        // SAFETY: a fresh mapping, the last page of which nobody may touch.
        unsafe {
            let (all, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let base = libc::mmap(std::ptr::null_mut(), ARENA + PAGE, all, shared, -1, 0);
            assert!(base != libc::MAP_FAILED);
            assert_eq!(libc::mprotect(base.byte_add(ARENA), PAGE, libc::PROT_NONE), 0);
            Self { base: base.cast() }
        }
    }

    /// So many bytes at its very end.
    fn last(&self, bytes: usize) -> *mut u8 {
        // SAFETY: inside.
        unsafe { self.base.add(ARENA - bytes) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: mapped above.
        unsafe { libc::munmap(self.base.cast(), ARENA + PAGE) };
    }
}

/// Names of our own that go with it.
pub struct Home {
    prefix: String,
    pub directory: PathBuf,
}

impl Home {
    pub fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("shmds-malice-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let directory = PathBuf::from("/dev/shm").join(format!("{prefix}.d"));
        std::fs::create_dir(&directory).unwrap();
        Self { prefix, directory }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
        for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            let ours = entry
                .file_name()
                .to_string_lossy()
                .strip_prefix(&self.prefix)
                .is_some_and(|rest| rest.starts_with(['-', '.']));
            if ours {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// More are not opened.
const MOST_HANDLES: usize = 24;
/// Never between what there is room for and what nobody has.
const SIZES: [u64; 12] =
    [1 << 16, 1 << 16, 1 << 17, 1 << 18, 1 << 15, 0, 1, 100, 4096, 1 << 50, u64::MAX, i64::MAX as u64];
const OUTS: usize = 8;
const UNTOUCHED: u64 = 0xa5a5_a5a5_a5a5_a5a5;

/// What the library is called with, and what it has given.
pub struct Machine {
    pub home: Home,
    pub watch: Watch,
    pub handles: Vec<Handle>,
    pub calls: u64,
    /// How often each status came.
    pub statuses: BTreeMap<i32, u64>,
    /// Whether the bytes of segments are scribbled over where they are open.
    pub scribbles: bool,
    pub mutations: u64,
    /// Functions, each as often as it is worth.
    menu: Vec<&'static Function>,
    arena: Arena,
    outs: Box<[[u64; 64]; OUTS]>,
    options: Box<[u64; 512]>,
    slots: [[u64; 2]; 4],
    chunks: Box<[[u64; 16]; 2]>,
    pool_handles: [u64; 16],
    inner_names: Vec<CString>,
    outer_names: Vec<CString>,
    paths: Vec<CString>,
    directories: Vec<CString>,
    descriptors: Vec<i32>,
}

impl Machine {
    /// A caller of all functions to which `worth` gives a number that is not 0.
    pub fn new(worth: impl Fn(&Function) -> usize) -> Self {
        let home = Home::new();
        let text = |text: String| CString::new(text).unwrap();
        let inner = ["a", "b", "c", "d", "sixteen letters!", "seventeen letters", "", "\u{1}", "\u{e4}"];
        let mut inner_names: Vec<_> = inner.map(|name| text(name.to_owned())).into();
        inner_names.push(text("x".repeat(300)));
        inner_names.push(CString::new(b"\xff\xfe".as_slice()).unwrap());
        let prefix = &home.prefix;
        let outer_names = (0..3).map(|number| text(format!("{prefix}-{number}"))).chain([
            text(format!("/{prefix}-0")),
            text(format!("{prefix}-0/..")),
            text(String::new()),
            text(format!("{prefix}-{}", "y".repeat(300))),
            CString::new([prefix.as_bytes(), b"-\xff"].concat()).unwrap(),
        ]);
        let outer_names = outer_names.collect();
        let directory = home.directory.to_str().unwrap();
        let paths = ["f0", "f1", "", "no/where"].map(|file| text(format!("{directory}/{file}"))).into();
        let directories = vec![text(directory.to_owned()), text(format!("{directory}/no")), text(String::new())];
        let worth = |function: &'static Function| std::iter::repeat_n(function, worth(function));
        let mut sockets = [0; 2];
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: room for two descriptors.
        assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, sockets.as_mut_ptr()) }, 0);
        Self {
            menu: catalogue().iter().flat_map(worth).collect(),
            home,
            watch: Watch::new(),
            handles: Vec::new(),
            calls: 0,
            statuses: BTreeMap::new(),
            scribbles: false,
            mutations: 0,
            arena: Arena::new(),
            outs: Box::new([[0; 64]; OUTS]),
            options: Box::new([0; 512]),
            slots: [[0; 2]; 4],
            chunks: Box::new([[0; 16]; 2]),
            pool_handles: [0; 16],
            inner_names,
            outer_names,
            paths,
            directories,
            descriptors: sockets.into(),
        }
    }

    /// One call of something.
    pub fn step(&mut self, dice: &mut Dice<'_>) -> i32 {
        let function = self.menu[dice.below(self.menu.len() as u64) as usize];
        let opens = function.parameters.iter().any(|parameter| matches!(parameter, Parameter::HandleOut(_)));
        if opens && self.handles.len() >= MOST_HANDLES {
            return 0;
        }
        self.call(function, dice, None)
    }

    /// A call with exactly these arguments, but for what goes out, to a function that opens something of `parent`.
    pub fn open(
        &mut self,
        name: &str,
        words: &[u64],
        kind: Kind,
        parent: Option<Handle>,
        writable: bool,
    ) -> Result<usize, i32> {
        let function = function(name);
        let mut all = [0; 8];
        all[..words.len()].copy_from_slice(words);
        let mut out = UNTOUCHED;
        all[words.len()] = (&raw mut out).expose_provenance() as u64;
        self.watch.begin(function.name);
        // SAFETY: as in `call`.
        let status = unsafe {
            let call: Call =
                std::mem::transmute::<*const (), Call>(std::ptr::with_exposed_provenance(function.address));
            call(all[0], all[1], all[2], all[3], all[4], all[5], all[6], all[7])
        };
        self.watch.end();
        self.calls += 1;
        *self.statuses.entry(status).or_default() += 1;
        if !(INTERNAL + 1..=6).contains(&status) {
            finding!(self.watch, "status {status}: {}", self.last_error());
        }
        if status != 0 {
            return Err(status);
        }
        self.adopt(out, kind, parent, writable);
        Ok(self.handles.len() - 1)
    }

    /// Opens the structure called `name` in an open segment, whatever it is.
    pub fn open_structure(&mut self, segment: usize, name: &CStr, kind: u32) -> Result<usize, i32> {
        let (function, kind) = match kind {
            1 => ("shm_span_open", Kind::Span),
            2 => ("shm_array_open", Kind::Array),
            3 => ("shm_atomic_open", Kind::Atomic),
            4 => ("shm_queue_open", Kind::Queue),
            5 => ("shm_pool_open", Kind::Pool),
            6 => ("shm_ring_open", Kind::Ring),
            _ => ("shm_byte_queue_open", Kind::ByteQueue),
        };
        let parent = self.handles[segment].clone();
        let name = name.as_ptr().expose_provenance() as u64;
        if kind == Kind::Span {
            return self.open(function, &[parent.pointer, name], kind, Some(parent), true);
        }
        let types = if kind == Kind::Atomic { 1..=7 } else { 0..=0 };
        let mut outcome = Err(0);
        for expected in types {
            outcome = outcome
                .or_else(|_| self.open(function, &[parent.pointer, name, expected], kind, Some(parent.clone()), true));
        }
        outcome
    }

    /// A handle of this kind: any one, or with luck none.
    fn any(&self, kind: Kind, dice: &mut Dice<'_>) -> Option<usize> {
        let count = self.handles.iter().filter(|handle| handle.kind == kind).count();
        if count == 0 || dice.once_in(64) {
            return None;
        }
        let chosen = dice.below(count as u64) as usize;
        self.handles.iter().enumerate().filter(|(_, handle)| handle.kind == kind).nth(chosen).map(|(index, _)| index)
    }

    fn fill_options(&mut self, function: &Function, of_segment: bool, dice: &mut Dice<'_>) -> u32 {
        self.options.fill(0);
        let options: *mut u8 = self.options.as_mut_ptr().cast();
        let half = |at: usize, value: u32| {
            // SAFETY: inside the options.
            unsafe { options.add(at).cast::<u32>().write(value) }
        };
        let whole = |at: usize, value: u64| {
            // SAFETY: inside the options.
            unsafe { options.add(at).cast::<u64>().write(value) }
        };
        let flags = dice.one_of(&[0, 0, 0, 0, 1, 2, 4, 8, 16, 64, 256, 512, 1024, 2048, 3072, 0xffff_ffff]);
        half(4, flags);
        if of_segment {
            half(0, 72);
            whole(8, dice.one_of(&SIZES));
            half(16, dice.one_of(&[0o600, 0o600, 0o600, 0o644, 0, 0o7777]));
            half(20, dice.one_of(&[1, 1, 1, 4, 4, 0, 2, 5, u32::MAX]));
            whole(24, dice.one_of(&[u64::MAX, u64::MAX, u64::MAX, 0, u32::MAX.into(), 1 << 40]));
            half(32, dice.one_of(&[16, 1, 0, 256, 257, u32::MAX]));
            half(36, dice.one_of(&[16, 1, 0, 100, 65_535, 65_536, u32::MAX]));
            whole(40, dice.one_of(&[0, 0, 0, 1, 4096, u64::MAX]));
            half(48, dice.one_of(&[4, 4, 64, 1, 0, 4096, 4097, u32::MAX]));
            half(52, dice.one_of(&[0, 1, 10]));
            // Moving memory is slow.
            half(56, if dice.once_in(64) { dice.one_of(&[0, 1, i32::MIN]) } else { -1 } as u32);
        } else {
            half(
                0,
                if function.name.contains("byte_queue") {
                    40 - 8 * u32::from(dice.once_in(64))
                } else {
                    48 - 8 * u32::from(dice.once_in(64))
                },
            );
            let capacity = match dice.below(4) {
                0 => dice.nasty(&[4096, 1 << 16]),
                1 => dice.one_of(&[1, 4096, 8192, 16384]),
                _ => 1 + dice.below(100),
            };
            whole(8, capacity);
            let sizes = [1, 2, 3, 4, 7, 8, 8, 8, 12, 16, 24, 40, 64, 100, 320, 4096];
            let elem = if dice.once_in(16) { dice.nasty(&[]) } else { dice.one_of(&sizes) };
            let align = dice.one_of(&[0, 0, 0, 1, 4, 8, 16, 64, 4096, 3, 8192, u32::MAX]);
            let tag = dice.below(8) / 7;
            if function.name.contains("byte_queue") {
                half(16, align);
                whole(24, tag);
            } else {
                whole(16, elem);
                half(24, align);
                whole(32, tag);
            }
        }
        if dice.once_in(64) {
            half(0, dice.one_of(&[0, 1, 8, 4096, 4097, u32::MAX]));
        }
        flags
    }

    /// One call of this function, of this handle if it is told.
    pub fn call(&mut self, function: &'static Function, dice: &mut Dice<'_>, told: Option<usize>) -> i32 {
        let mut words = [0_u64; 8];
        let mut subject = None;
        let mut flags = 0;
        let mut room = 0_usize;
        let mut outs = 0;
        // Lengths of our memory depend on the sizes of elements, so handles first.
        for (at, parameter) in function.parameters.iter().enumerate() {
            if let Parameter::Handle(kind) = parameter {
                let chosen = told.filter(|told| self.handles[*told].kind == *kind).or_else(|| self.any(*kind, dice));
                words[at] = chosen.map_or(0, |index| self.handles[index].pointer);
                subject = subject.or(chosen);
            }
        }
        let of = subject.map(|index| self.handles[index].clone());
        let (elem, limits) = of
            .as_ref()
            .map_or((8, vec![]), |of| (of.elem, vec![of.bytes, of.count, of.count / 2, of.elem, of.len as u64]));
        let unit = function.parameters.iter().find_map(|parameter| match parameter {
            Parameter::Elements => Some(elem as usize),
            Parameter::Bytes => Some(1),
            Parameter::Records(bytes) => Some(*bytes),
            _ => None,
        });
        let mut count = 1;
        if let Some(unit) = unit {
            if unit > ARENA {
                return 0;
            }
            if function.parameters.contains(&Parameter::Count) {
                let most = ARENA / unit.max(1);
                count = match dice.below(16) {
                    0 => dice.nasty(&limits).min(most as u64) as usize,
                    1 => 0,
                    _ => dice.below(24).min(most as u64) as usize,
                };
            }
            room = unit * count;
        }
        // What an area's open chunk means ends with the area.
        if function.name == "speculo_area_close" {
            let area = words[0];
            self.chunks.iter_mut().filter(|chunk| chunk[0] == area).for_each(|chunk| *chunk = [0; 16]);
        }
        for (at, parameter) in function.parameters.iter().enumerate() {
            words[at] = match *parameter {
                Parameter::Handle(_) => continue,
                _ if dice.once_in(256) && !matches!(parameter, Parameter::Count | Parameter::Number) => 0,
                Parameter::HandleOut(_) | Parameter::Out | Parameter::InOut => {
                    let out = &mut self.outs[outs];
                    outs += 1;
                    out.fill(UNTOUCHED);
                    if *parameter == Parameter::InOut {
                        out[0] = if dice.once_in(4) { dice.nasty(&limits) } else { dice.below(20) };
                    }
                    out.as_mut_ptr().expose_provenance() as u64
                }
                Parameter::InnerName => self.pick(&self.inner_names, dice, 4),
                Parameter::OuterName => self.pick(&self.outer_names, dice, 3),
                Parameter::NameLength if words[at - 1] == 0 => 0,
                Parameter::NameLength => {
                    let name = std::ptr::with_exposed_provenance(words[at - 1] as usize);
                    // SAFETY: one of our own.
                    dice.below(unsafe { CStr::from_ptr(name) }.count_bytes() as u64 + 2)
                }
                Parameter::Path => self.pick(&self.paths, dice, 2),
                Parameter::Directory if dice.once_in(4) => 0,
                Parameter::Directory => self.pick(&self.directories, dice, 1),
                Parameter::Options { of_segment } => {
                    flags = self.fill_options(function, of_segment, dice);
                    if !of_segment && dice.once_in(2) && function.is("_open") {
                        0
                    } else {
                        self.options.as_ptr().expose_provenance() as u64
                    }
                }
                Parameter::Elements | Parameter::Bytes | Parameter::Records(_) => {
                    self.arena.last(room).expose_provenance() as u64
                }
                Parameter::Count => count as u64,
                Parameter::Slot { .. } => {
                    let chosen = dice.below(4) as usize;
                    let slot = &mut self.slots[chosen];
                    if dice.once_in(32) {
                        slot[1] = dice.nasty(&limits);
                    }
                    slot.as_mut_ptr().expose_provenance() as u64
                }
                Parameter::Chunk => self.chunks[dice.below(2) as usize].as_mut_ptr().expose_provenance() as u64,
                Parameter::Reservation => dice.one_of(&SIZES),
                Parameter::Number if dice.once_in(2) => dice.below(24),
                Parameter::Number => dice.nasty(&limits),
                Parameter::Half if dice.once_in(4) => u64::from(dice.nasty(&limits) as u32),
                Parameter::Half => dice.below(9),
                Parameter::Time => dice.below(2000) * if dice.once_in(16) { 50 } else { 1 },
                Parameter::Bool => dice.below(2),
                Parameter::PoolHandle if dice.once_in(16) => dice.nasty(&limits),
                Parameter::PoolHandle => dice.one_of(&self.pool_handles),
                Parameter::Descriptor => match dice.below(8) {
                    0 => dice.one_of(&[-1_i32, i32::MIN, i32::MAX, 1 << 20]) as u64,
                    _ => dice.one_of(&self.descriptors) as u64,
                },
                Parameter::Address => of.as_ref().map_or(0, |of| (of.base as u64).wrapping_add(dice.nasty(&limits))),
                Parameter::Clock if dice.once_in(4) => 0,
                Parameter::Clock => clock as *const () as u64,
                Parameter::Visitor if dice.once_in(4) => 0,
                Parameter::Visitor => visit as *const () as u64,
                Parameter::Null => 0,
            };
        }
        if let (Some(at), "shm_pool_release_batch") =
            (function.parameters.iter().position(|p| *p == Parameter::Records(8)), function.name)
            && words[at] != 0
        {
            let handles = self.arena.last(room).cast::<u64>();
            for index in 0..count {
                // SAFETY: in the arena, and aligned, as it ends at a page's end.
                unsafe { handles.add(index).write(self.pool_handles[index % 16]) };
            }
        }
        self.watch.begin(function.name);
        // SAFETY: the function takes words only, at most eight; more than it takes do no harm in the C ABIs of Linux. The arguments are
        // what its contract allows: what is a handle is open, what is memory has the length that is told.
        let status = unsafe {
            let call: Call =
                std::mem::transmute::<*const (), Call>(std::ptr::with_exposed_provenance(function.address));
            call(words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7])
        };
        self.calls += 1;
        *self.statuses.entry(status).or_default() += 1;
        if !(INTERNAL + 1..=6).contains(&status) {
            finding!(self.watch, "status {status}: {}", self.last_error());
        }
        if status < 0 && dice.once_in(16) {
            let sentence = self.last_error();
            if sentence.is_empty() {
                finding!(self.watch, "status {status} without a sentence");
            }
        }
        self.keep_books(function, &words, status, subject, flags, count, dice);
        self.watch.end();
        status
    }

    pub fn last_error(&self) -> String {
        unsafe extern "C" {
            fn shm_last_error() -> *const c_char;
        }
        // SAFETY: a string, until the thread's next call.
        unsafe { CStr::from_ptr(shm_last_error()) }.to_string_lossy().into_owned()
    }

    fn pick(&self, texts: &[CString], dice: &mut Dice<'_>, good: u64) -> u64 {
        let chosen = if dice.once_in(16) { dice.below(texts.len() as u64) } else { dice.below(good) };
        texts[chosen as usize].as_ptr().expose_provenance() as u64
    }

    /// The first word of what a parameter of this call points to.
    fn result(words: &[u64; 8], at: usize, word: usize) -> u64 {
        // SAFETY: an out-parameter of the call that `words` are of, not NULL as the call succeeded.
        unsafe { std::ptr::with_exposed_provenance::<u64>(words[at] as usize).add(word).read() }
    }

    /// Notes what was opened and closed, and checks what was handed out.
    #[expect(clippy::too_many_arguments, reason = "one call and its outcome")]
    fn keep_books(
        &mut self,
        function: &'static Function,
        words: &[u64; 8],
        status: i32,
        subject: Option<usize>,
        flags: u32,
        count: usize,
        dice: &mut Dice<'_>,
    ) {
        if status < 0 {
            // Of the functions that tell something also when they fail, their comments say so.
            let tells = ["shm_byte_queue_receive_into", "shm_pool_release_batch"].contains(&function.name)
                || function.is("_verify");
            for (at, parameter) in function.parameters.iter().enumerate().filter(|_| !tells) {
                let handed = matches!(parameter, Parameter::HandleOut(_) | Parameter::Out) && words[at] != 0;
                if handed && Self::result(words, at, 0) != UNTOUCHED {
                    finding!(self.watch, "status {status}, and yet parameter {at} was written");
                }
            }
            return;
        }
        if function.is("_close")
            && let Some(index) = subject
        {
            self.handles.swap_remove(index);
            return;
        }
        if status != 0 {
            return;
        }
        for (at, parameter) in function.parameters.iter().enumerate() {
            if let Parameter::HandleOut(kind) = parameter {
                let pointer = Self::result(words, at, 0);
                let of = subject.map(|index| self.handles[index].clone());
                self.adopt(pointer, *kind, of, flags & 2 == 0);
            }
        }
        if function.name == "shm_segment_fd" {
            self.descriptors.push(Self::result(words, 1, 0) as u32 as i32);
        }
        if dice.once_in(32) && self.scribbles {
            return;
        }
        let of = subject.map(|index| self.handles[index].clone());
        match function.promise {
            Promise::Nothing => {}
            Promise::Range(data, length, step) => {
                let bytes =
                    Self::result(words, length, 0).checked_mul(step.map_or(1, |step| Self::result(words, step, 0)));
                let Some(bytes) = bytes else { finding!(self.watch, "a range longer than memory") };
                self.touch(of.as_ref(), Self::result(words, data, 0), bytes, false);
            }
            Promise::Reserved { data, asked } => {
                self.touch(of.as_ref(), Self::result(words, data, 0), words[asked], true)
            }
            Promise::Messages { out, done } => {
                let done = done.map_or(1, |done| Self::result(words, done, 0));
                if done > count as u64 {
                    finding!(self.watch, "{done} messages where {count} were asked for");
                }
                for message in 0..done as usize {
                    let (data, length) =
                        (Self::result(words, out, message * 4), Self::result(words, out, message * 4 + 1));
                    self.touch(of.as_ref(), data, length, false);
                }
            }
            Promise::Slot(slot) => {
                let data = Self::result(words, slot, 0);
                let claimed = function.name.contains("claim");
                // Small elements of an SPSC queue are shown in the handle's own memory.
                let own = !claimed && of.as_ref().is_some_and(|of| of.flags & 0x100 != 0);
                if own {
                    self.touch_each(data, of.as_ref().map_or(0, |of| of.elem), false);
                    return;
                }
                self.touch(of.as_ref(), data, of.as_ref().map_or(0, |of| of.elem), claimed);
            }
            Promise::Object(data) => {
                self.touch(of.as_ref(), Self::result(words, data, 0), of.as_ref().map_or(0, |of| of.elem), true);
            }
            Promise::Text(text) => {
                let text = Self::result(words, text, 0);
                // SAFETY: what it handed out.
                let read = text == 0
                    || unsafe { CStr::from_ptr(std::ptr::with_exposed_provenance(text as usize)) }.to_str().is_ok();
                if !read {
                    finding!(self.watch, "a text that is none");
                }
            }
            Promise::View(view) => {
                let (data, length) = (Self::result(words, view, 0), Self::result(words, view, 1));
                self.touch(None, data, length, false);
            }
            Promise::PoolHandles { out, done } => {
                let done = done.map_or(1, |done| Self::result(words, done, 0));
                if done > count as u64 {
                    finding!(self.watch, "{done} objects where {count} were asked for");
                }
                for index in 0..done.min(16) as usize {
                    self.pool_handles[dice.below(16) as usize] = Self::result(words, out, index);
                }
            }
        }
    }

    /// Notes an open handle, and asks it what it is of.
    pub fn adopt(&mut self, pointer: u64, kind: Kind, parent: Option<Handle>, writable: bool) {
        if pointer == 0 || pointer == UNTOUCHED {
            finding!(self.watch, "a success that hands out the handle {pointer:#x}");
        }
        let mut handle = Handle { pointer, kind, base: 0, len: 0, bytes: 0, elem: 8, count: 0, flags: 0, writable };
        if let Some(parent) = &parent {
            handle = Handle { pointer, kind, writable: parent.writable, ..parent.clone() };
        }
        let prefix = match kind {
            Kind::Segment => "shm_segment",
            Kind::Array => "shm_array",
            Kind::Atomic => "shm_atomic",
            Kind::ByteQueue => "shm_byte_queue",
            Kind::Pool => "shm_pool",
            Kind::Queue => "shm_queue",
            Kind::Ring => "shm_ring",
            Kind::Span => "shm_span",
            Kind::RingReader | Kind::Area | Kind::Reader => {
                self.handles.push(handle);
                return;
            }
        };
        let (mut data, mut bytes, mut entry) = (0_u64, 0_u64, [0_u64; 64]);
        let address =
            |name: &str| functions().into_iter().find(|(known, _)| *known == name).map(|(_, address)| address);
        let span = address(&format!("{prefix}_span")).or_else(|| address(&format!("{prefix}_data")));
        let [span, tell] = [span, address(&format!("{prefix}_entry"))];
        let ask = |address: Option<usize>, first: *mut u64, second: *mut u64| {
            let Some(address) = address else { return };
            // SAFETY: a handle that is open, and room for what is handed out.
            unsafe {
                let call: Call = std::mem::transmute::<*const (), Call>(std::ptr::with_exposed_provenance(address));
                call(pointer, first.expose_provenance() as u64, second.expose_provenance() as u64, 0, 0, 0, 0, 0);
            }
        };
        ask(span, &raw mut data, &raw mut bytes);
        ask(tell, entry.as_mut_ptr(), std::ptr::null_mut());
        if kind == Kind::Segment {
            (handle.base, handle.len) = (data as usize, bytes as usize);
        } else {
            // kind and flags, offset, size, elem_size, elem_align and users, count
            (handle.flags, handle.elem, handle.count) = (entry[0] >> 32, entry[3], entry[5]);
            self.touch(Some(&handle), data, bytes, false);
        }
        handle.bytes = bytes;
        self.handles.push(handle);
    }

    /// Touches memory that was handed out, from its first byte to its last.
    fn touch(&self, of: Option<&Handle>, data: u64, bytes: u64, write: bool) {
        if bytes == 0 {
            return;
        }
        let Some(of) = of else { return self.touch_each(data, bytes, write) };
        let doubled = of.kind == Kind::ByteQueue;
        let start = data.wrapping_sub(of.base as u64);
        let inside = start < of.len as u64 && bytes <= of.len as u64 - start;
        if of.len != 0 && !doubled && !inside {
            finding!(self.watch, "{bytes} bytes at {start:#x} of a segment of {:#x}", of.len);
        }
        if doubled && of.bytes != 0 && bytes > of.bytes {
            finding!(self.watch, "{bytes} bytes of a queue of {}", of.bytes);
        }
        self.touch_each(data, bytes, write && of.writable);
    }

    fn touch_each(&self, data: u64, bytes: u64, write: bool) {
        let base: *mut u8 = std::ptr::with_exposed_provenance_mut(data as usize);
        let step = (bytes / 64).clamp(64, 1024) as usize;
        for at in (0..bytes as usize).step_by(step).chain([bytes as usize - 1]) {
            // SAFETY: none but the library's word, which is what this is about.
            unsafe {
                let byte = base.add(at).read_volatile();
                if write {
                    base.add(at).write_volatile(byte ^ 0x55);
                }
            }
        }
    }

    /// Scribbles over one of the open segments through the library's own mapping.
    pub fn scribble(&mut self, dice: &mut Dice<'_>) {
        let Some(index) = self.any(Kind::Segment, dice) else { return };
        let segment = &self.handles[index];
        if !segment.writable || segment.len == 0 {
            return;
        }
        // SAFETY: open, and it may be written to.
        let mut scribbler = unsafe { Scribbler::new(std::ptr::with_exposed_provenance_mut(segment.base), segment.len) };
        scribbler.study_segment();
        for _ in 0..1 + dice.below(4) {
            scribbler.scribble(dice);
        }
        self.mutations += scribbler.mutations;
    }

    /// Has an area's handle lead to `directory`, small, and opens it.
    pub fn prepare_area(&mut self, area: u64, directory: u64) {
        for (name, word) in [
            ("speculo_area_set_directory", directory),
            ("speculo_area_set_max_size", 1 << 15),
            ("speculo_area_set_min_size", 4096),
            ("speculo_area_create", 0),
        ] {
            let function = function(name);
            self.watch.begin(function.name);
            // SAFETY: as in `call`.
            let status = unsafe {
                let call: Call =
                    std::mem::transmute::<*const (), Call>(std::ptr::with_exposed_provenance(function.address));
                call(area, word, 0, 0, 0, 0, 0, 0)
            };
            self.watch.end();
            if status == INTERNAL {
                finding!(self.watch, "{}", self.last_error());
            }
        }
    }

    /// Closes what is open, the youngest first or last.
    pub fn close_all(&mut self, dice: &mut Dice<'_>) {
        while !self.handles.is_empty() {
            let index = dice.below(self.handles.len() as u64) as usize;
            let kind = self.handles[index].kind;
            let close = match kind {
                Kind::Segment => "shm_segment_close",
                Kind::Array => "shm_array_close",
                Kind::Atomic => "shm_atomic_close",
                Kind::ByteQueue => "shm_byte_queue_close",
                Kind::Pool => "shm_pool_close",
                Kind::Queue => "shm_queue_close",
                Kind::Ring => "shm_ring_close",
                Kind::RingReader => "shm_ring_reader_close",
                Kind::Span => "shm_span_close",
                Kind::Area => "speculo_area_close",
                Kind::Reader => "speculo_reader_close",
            };
            let status = self.call(function(close), dice, Some(index));
            assert!(status >= 0, "{close}: {}", self.last_error());
        }
        // The two sockets stay.
        for descriptor in self.descriptors.drain(2..) {
            // SAFETY: ours.
            unsafe { libc::close(descriptor) };
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.close_all(&mut Dice::fed(&[]));
        }
        for descriptor in &self.descriptors {
            // SAFETY: ours.
            unsafe { libc::close(*descriptor) };
        }
    }
}

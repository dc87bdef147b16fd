//! That the matrix is complete: each function of the header has an operation here, or stores nothing, which is counted.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use shmds::speculo::{Area, AreaOptions, Reader, ReaderOptions};
use shmds::{
    Array, Atomic, ByteQueue, ByteQueueOptions, Pool, Queue, QueueOptions, Ring, RingOptions, RingReader, RingStart,
    Segment, SegmentOptions, Span, VerifyOptions, kill_points,
};

use super::support::{AreaName, Name, Peer, fresh, role_words};
use super::{operations, speculo};

/// What becomes of a function.
enum How {
    /// It is in these operations, up to what is told by their names.
    In(&'static [&'static str]),
    /// It stores nothing to shared memory: this does what it does.
    StoresNothing(fn(&Bench)),
    /// It is told of no segment and of no area.
    KnowsNone,
    /// Why there is no operation for it.
    Because(&'static str),
}
use How::{Because, In, KnowsNone, StoresNothing};

/// One of everything, used before, so that whatever has an end has it.
struct Bench {
    segment: Segment,
    queue: Queue<u64>,
    spsc: Queue<u64>,
    ring: Ring<u64>,
    reader: RefCell<RingReader<u64>>,
    bytes: ByteQueue,
    pool: Pool<u64>,
    array: Array<u64>,
    atomic: Atomic<u64>,
    span: Span,
    area: RefCell<Area>,
    chunks: RefCell<Reader>,
    area_name: String,
}

impl Bench {
    fn new(segment: &str, area: &str) -> Self {
        let segment = Segment::open(segment, &SegmentOptions::new()).unwrap();
        let queue = Queue::create(&segment, "queue", &QueueOptions::new(8)).unwrap();
        let spsc = Queue::create(&segment, "spsc", &QueueOptions::new(8).spsc()).unwrap();
        for queue in [&queue, &spsc] {
            assert_eq!(queue.enqueue_bulk(&[1, 2, 3]).unwrap(), 3);
            assert_eq!(queue.dequeue().unwrap(), Some(1));
        }
        let ring = Ring::create(&segment, "ring", &RingOptions::new(8)).unwrap();
        assert_eq!(ring.push_bulk(&[1, 2, 3]).unwrap(), 3);
        assert_eq!(ring.pop().unwrap(), Some(1));
        let reader = RefCell::new(ring.reader(RingStart::Oldest).unwrap());
        let bytes = ByteQueue::create(&segment, "bytes", &ByteQueueOptions::new(4000)).unwrap();
        assert!(bytes.send(b"one", 1).unwrap() && bytes.send(b"two", 2).unwrap());
        drop(bytes.receive().unwrap());
        let pool = Pool::create(&segment, "pool", 70).unwrap();
        assert_eq!(pool.acquire_batch(2).unwrap().len(), 2);
        let array = Array::create(&segment, "array", 12).unwrap();
        let atomic = Atomic::create(&segment, "atomic", 5).unwrap();
        let span = Span::create(&segment, "span", 100, 0, false).unwrap();
        let mut writer = Area::create(area, &AreaOptions::new()).unwrap();
        writer.write(b"chunk", 0).unwrap();
        let chunks = RefCell::new(Reader::open(area, &ReaderOptions::new()).unwrap());
        let (area, area_name) = (RefCell::new(writer), area.to_owned());
        Self { segment, queue, spsc, ring, reader, bytes, pool, array, atomic, span, area, chunks, area_name }
    }

    fn object(&self) -> shmds::Handle {
        self.pool.handles().next().unwrap()
    }
}

#[rustfmt::skip]
const TABLE: &[(&str, How)] = &[
    ("shm_abi_version", KnowsNone),
    ("shm_last_error", KnowsNone),
    ("shm_status_string", KnowsNone),
    ("shm_version", KnowsNone),

    ("shm_array_abandon_write", In(&["array:write-abandon"])),
    ("shm_array_begin_write", In(&["array:write-fill", "array:write-abandon"])),
    ("shm_array_close", In(&["segment:close", "segment:detach"])),
    ("shm_array_create", In(&["segment:create-Array"])),
    ("shm_array_data", StoresNothing(|bench| _ = bench.array.as_ptr())),
    ("shm_array_end_write", In(&["array:write-fill"])),
    ("shm_array_entry", StoresNothing(|bench| _ = bench.array.entry())),
    ("shm_array_fill", In(&["array:write-fill"])),
    ("shm_array_get", StoresNothing(|bench| _ = bench.array.get(3).unwrap())),
    ("shm_array_get_stats", StoresNothing(|bench| _ = bench.array.writings())),
    ("shm_array_load", StoresNothing(|bench| bench.array.copy_to_slice(0, &mut [0; 12]).unwrap())),
    ("shm_array_open", In(&["segment:open"])),
    ("shm_array_options_init", KnowsNone),
    ("shm_array_set", In(&["array:write-set"])),
    ("shm_array_size", KnowsNone),
    ("shm_array_snapshot", StoresNothing(|bench| assert!(bench.array.snapshot(0, &mut [0; 12], super::SOON).unwrap()))),
    ("shm_array_span", StoresNothing(|bench| _ = bench.array.span())),
    ("shm_array_store", In(&["array:write-copy"])),

    ("shm_atomic_close", In(&["segment:close", "segment:detach"])),
    ("shm_atomic_compare_exchange", In(&["atomic:compare-exchange", "atomic:compare-exchange-in-vain"])),
    ("shm_atomic_create", In(&["segment:create-Atomic"])),
    ("shm_atomic_entry", StoresNothing(|bench| _ = bench.atomic.entry())),
    ("shm_atomic_exchange", In(&["atomic:exchange"])),
    ("shm_atomic_fetch", In(&["atomic:fetch-add", "atomic:fetch-sub", "atomic:fetch-and", "atomic:fetch-xor", "atomic:fetch-or-bool",
        "atomic:fetch-max", "atomic:fetch-min-f32", "atomic:fetch-add-f64"])),
    ("shm_atomic_get_type", StoresNothing(|bench| _ = bench.atomic.entry().flags)),
    ("shm_atomic_load", StoresNothing(|bench| _ = bench.atomic.load(Ordering::SeqCst).unwrap())),
    ("shm_atomic_notify_all", In(&["atomic:store-notify"])),
    ("shm_atomic_notify_one", In(&["atomic:notify-one"])),
    ("shm_atomic_open", In(&["segment:open"])),
    ("shm_atomic_pointer", StoresNothing(|bench| _ = bench.atomic.as_ptr())),
    ("shm_atomic_size", KnowsNone),
    ("shm_atomic_span", StoresNothing(|bench| _ = bench.atomic.span())),
    ("shm_atomic_store", In(&["atomic:store"])),
    ("shm_atomic_wait", In(&["atomic:wait-in-vain"])),

    ("shm_byte_queue_abort", In(&["bytes:framed:reserve-write-abort", "bytes:stream:reserve-abort"])),
    ("shm_byte_queue_available", StoresNothing(|bench| _ = bench.bytes.available().unwrap())),
    ("shm_byte_queue_close", In(&["bytes:framed:drop-producer", "bytes:framed:drop-consumer", "bytes:stream:drop-both"])),
    ("shm_byte_queue_commit", In(&["bytes:framed:reserve-write-commit", "bytes:stream:reserve-commit"])),
    ("shm_byte_queue_consume", In(&["bytes:stream:consume", "bytes:stream:consume-all"])),
    ("shm_byte_queue_create", In(&["segment:create-ByteQueue"])),
    ("shm_byte_queue_end", In(&["bytes:framed:end", "bytes:stream:end"])),
    ("shm_byte_queue_entry", StoresNothing(|bench| _ = bench.bytes.entry())),
    ("shm_byte_queue_get_stats", StoresNothing(|bench| _ = bench.bytes.stats().unwrap())),
    ("shm_byte_queue_open", In(&["bytes:framed:open-send-receive-close"])),
    ("shm_byte_queue_options_init", KnowsNone),
    ("shm_byte_queue_peek", In(&["bytes:stream:look-and-consume-nothing"])),
    ("shm_byte_queue_peek_wait", In(&["bytes:stream:consume-wait"])),
    ("shm_byte_queue_receive", In(&["bytes:framed:become-consumer", "bytes:framed:receive-of-nothing"])),
    ("shm_byte_queue_receive_batch", In(&["bytes:framed:receive-batch-release", "bytes:framed:receive-batch-hold"])),
    ("shm_byte_queue_receive_batch_wait", In(&["bytes:framed:receive-batch-release", "bytes:framed:receive-wait-release"])),
    ("shm_byte_queue_receive_into", In(&["bytes:framed:receive-into"])),
    ("shm_byte_queue_receive_wait", In(&["bytes:framed:receive-wait-release", "bytes:framed:receive-wait-in-vain"])),
    ("shm_byte_queue_release", In(&["bytes:framed:receive-release", "bytes:framed:wake-a-producer"])),
    ("shm_byte_queue_reserve", In(&["bytes:framed:reserve-write"])),
    ("shm_byte_queue_reserve_wait", In(&["bytes:framed:reserve-wait-in-vain"])),
    ("shm_byte_queue_send", In(&["bytes:framed:send", "bytes:timed:send", "bytes:framed:wake-a-consumer"])),
    ("shm_byte_queue_send_wait", In(&["bytes:framed:send-wait"])),
    ("shm_byte_queue_set_spin", StoresNothing(|bench| bench.bytes.set_spin(super::SOON))),
    ("shm_byte_queue_size", KnowsNone),
    ("shm_byte_queue_span", StoresNothing(|bench| _ = bench.bytes.span())),

    ("shm_pool_acquire", In(&["pool:acquire", "pool:acquire-with"])),
    ("shm_pool_acquire_batch", In(&["pool:acquire-batch", "pool:acquire-more-than-there-are"])),
    ("shm_pool_adopt", In(&["pool:adopt"])),
    ("shm_pool_close", In(&["pool:close-while-owning"])),
    ("shm_pool_create", In(&["segment:create-Pool"])),
    ("shm_pool_entry", StoresNothing(|bench| _ = bench.pool.entry())),
    ("shm_pool_get", StoresNothing(|bench| _ = bench.pool.get(bench.object()).unwrap())),
    ("shm_pool_get_stats", StoresNothing(|bench| _ = bench.pool.stats())),
    ("shm_pool_hand_over", In(&["pool:hand-over"])),
    ("shm_pool_is_valid", StoresNothing(|bench| assert!(bench.pool.is_valid(bench.object())))),
    ("shm_pool_next", StoresNothing(|bench| assert_eq!(bench.pool.handles().count(), 2))),
    ("shm_pool_open", In(&["segment:open"])),
    ("shm_pool_options_init", KnowsNone),
    ("shm_pool_owner", StoresNothing(|bench| _ = bench.pool.owner(bench.object()).unwrap())),
    ("shm_pool_release", In(&["pool:release"])),
    ("shm_pool_release_batch", In(&["pool:release-batch"])),
    ("shm_pool_size", KnowsNone),
    ("shm_pool_span", StoresNothing(|bench| _ = bench.pool.span())),

    ("shm_queue_abort", In(&["mpmc:claim-abort", "spsc:claim-abort"])),
    ("shm_queue_claim", In(&["mpmc:claim", "spsc:claim"])),
    ("shm_queue_claim_wait", In(&["mpmc:claim-wait-commit", "spsc:claim-wait-commit"])),
    ("shm_queue_close", In(&["spsc:drop-producer", "spsc:drop-consumer", "mpmc:drop-producer"])),
    ("shm_queue_commit", In(&["mpmc:claim-commit", "spsc:claim-commit"])),
    ("shm_queue_create", In(&["segment:create-Queue"])),
    ("shm_queue_dequeue", In(&["mpmc:dequeue", "spsc:dequeue", "spsc:dequeue-again", "mpmc:dequeue-of-nothing"])),
    ("shm_queue_dequeue_bulk", In(&["mpmc:dequeue-bulk", "spsc:dequeue-bulk", "spsc:dequeue-bulk-all"])),
    ("shm_queue_dequeue_bulk_wait", In(&["mpmc:dequeue-bulk-wait", "spsc:dequeue-bulk-wait"])),
    ("shm_queue_dequeue_wait", In(&["mpmc:dequeue-wait", "spsc:dequeue-wait", "mpmc:dequeue-wait-in-vain", "spsc:dequeue-wait-in-vain"])),
    ("shm_queue_enqueue", In(&["mpmc:enqueue", "spsc:enqueue", "spsc:enqueue-again", "mpmc:enqueue-without-room"])),
    ("shm_queue_enqueue_bulk", In(&["mpmc:enqueue-bulk", "spsc:enqueue-bulk", "spsc:enqueue-bulk-without-room-for-all"])),
    ("shm_queue_enqueue_bulk_wait", In(&["mpmc:enqueue-bulk-wait", "spsc:enqueue-bulk-wait"])),
    ("shm_queue_enqueue_wait", In(&["mpmc:enqueue-wait", "spsc:enqueue-wait", "mpmc:enqueue-wait-in-vain", "spsc:enqueue-wait-in-vain"])),
    ("shm_queue_entry", StoresNothing(|bench| _ = bench.queue.entry())),
    ("shm_queue_get_inline", Because("it tells C++ where an end's private state is; the stores made with it are those of enqueue and dequeue")),
    ("shm_queue_get_stats", StoresNothing(|bench| _ = (bench.queue.stats(), bench.spsc.stats()))),
    ("shm_queue_open", In(&["segment:open"])),
    ("shm_queue_options_init", KnowsNone),
    ("shm_queue_peek", In(&["mpmc:peek", "spsc:peek"])),
    ("shm_queue_peek_wait", In(&["mpmc:peek-wait-release", "spsc:peek-wait-release"])),
    ("shm_queue_release", In(&["mpmc:peek-release", "spsc:peek-release"])),
    ("shm_queue_set_spin", StoresNothing(|bench| bench.queue.set_spin(super::SOON))),
    ("shm_queue_shutdown", In(&["mpmc:shutdown", "spsc:shutdown"])),
    ("shm_queue_size", KnowsNone),
    ("shm_queue_span", StoresNothing(|bench| _ = bench.queue.span())),
    ("shm_queue_wake", In(&["mpmc:wake-a-consumer", "spsc:wake-a-consumer"])),

    ("shm_ring_clear", In(&["ring:clear", "overwriting-ring:clear"])),
    ("shm_ring_close", In(&["ring:drop-writer", "ring:drop-consumer"])),
    ("shm_ring_create", In(&["segment:create-Ring"])),
    ("shm_ring_entry", StoresNothing(|bench| _ = bench.ring.entry())),
    ("shm_ring_get_stats", StoresNothing(|bench| _ = bench.ring.stats().unwrap())),
    ("shm_ring_last", StoresNothing(|bench| assert_eq!(bench.ring.last(&mut [0; 2]).unwrap(), 2))),
    ("shm_ring_open", In(&["segment:open"])),
    ("shm_ring_options_init", KnowsNone),
    ("shm_ring_peek", StoresNothing(|bench| assert_eq!(bench.ring.peek(0, &mut [0; 2]).unwrap(), 2))),
    ("shm_ring_pop", In(&["ring:pop", "overwriting-ring:pop", "ring:pop-again"])),
    ("shm_ring_pop_bulk", In(&["ring:pop-bulk", "overwriting-ring:pop-bulk"])),
    ("shm_ring_pop_bulk_wait", In(&["ring:pop-bulk-wait"])),
    ("shm_ring_pop_wait", In(&["ring:pop-wait"])),
    ("shm_ring_push", In(&["ring:push", "overwriting-ring:push", "ring:push-again"])),
    ("shm_ring_push_bulk", In(&["ring:push-bulk", "overwriting-ring:push-bulk"])),
    ("shm_ring_push_bulk_wait", In(&["ring:push-bulk-wait"])),
    ("shm_ring_push_wait", In(&["ring:push-wait"])),
    ("shm_ring_reader_close", StoresNothing(|bench| drop(bench.ring.reader(RingStart::Newest).unwrap()))),
    ("shm_ring_reader_get_stats", StoresNothing(|bench| _ = bench.reader.borrow().lag().unwrap())),
    ("shm_ring_reader_open", In(&["segment:open"])),
    ("shm_ring_reader_peek", StoresNothing(|bench| _ = bench.reader.borrow().peek(0, &mut [0; 2]).unwrap())),
    ("shm_ring_reader_read", StoresNothing(|bench| assert!(bench.reader.borrow_mut().read().unwrap().is_some()))),
    ("shm_ring_reader_read_wait", In(&["ring:reader-read-wait-in-vain", "overwriting-ring:reader-read-wait-in-vain"])),
    ("shm_ring_reader_seek", StoresNothing(|bench| bench.reader.borrow_mut().seek(RingStart::Oldest).unwrap())),
    ("shm_ring_reader_set_spin", StoresNothing(|bench| bench.reader.borrow().set_spin(super::SOON))),
    ("shm_ring_reader_skip", StoresNothing(|bench| _ = bench.reader.borrow_mut().skip(1).unwrap())),
    ("shm_ring_set_spin", StoresNothing(|bench| bench.ring.set_spin(super::SOON))),
    ("shm_ring_size", KnowsNone),
    ("shm_ring_skip", In(&["ring:skip", "overwriting-ring:skip"])),
    ("shm_ring_span", StoresNothing(|bench| _ = bench.ring.span())),

    ("shm_open_segment", In(&["segment:create-segment", "segment:attach"])),
    ("shm_segment_close", In(&["segment:detach", "segment:detach-last"])),
    ("shm_segment_count", StoresNothing(|bench| assert!(bench.segment.count() > 0))),
    ("shm_segment_create", In(&["segment:create-segment", "segment:find-it-dead-and-create-it"])),
    ("shm_segment_create_file", In(&["segment:create-file"])),
    ("shm_segment_create_memfd", In(&["segment:create-memfd"])),
    ("shm_segment_fd", StoresNothing(|bench| _ = bench.segment.fd().unwrap())),
    ("shm_segment_get_stats", In(&["segment:stats"])),
    ("shm_segment_name", StoresNothing(|bench| _ = bench.segment.name())),
    ("shm_segment_open", In(&["segment:attach", "segment:reap-by-attaching"])),
    ("shm_segment_open_fd", In(&["segment:attach-by-descriptor"])),
    ("shm_segment_open_file", In(&["segment:attach-to-file"])),
    ("shm_segment_options_init", KnowsNone),
    ("shm_segment_participants", StoresNothing(|bench| _ = bench.segment.participants())),
    ("shm_segment_reap", In(&["segment:reap"])),
    ("shm_segment_receive", In(&["segment:attach-by-descriptor"])),
    ("shm_segment_send", StoresNothing(|bench| {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        bench.segment.send(ours).unwrap();
    })),
    ("shm_segment_size", KnowsNone),
    ("shm_segment_span", StoresNothing(|bench| _ = bench.segment.span())),
    ("shm_segment_sync", StoresNothing(|bench| bench.segment.sync().unwrap())),
    ("shm_segment_sync_range", StoresNothing(|bench| bench.segment.sync_range(bench.array.as_ptr().cast(), 8).unwrap())),
    ("shm_segment_unavailable", StoresNothing(|bench| _ = bench.segment.unavailable())),
    ("shm_segment_unavailable_reason", StoresNothing(|bench| _ = bench.segment.unavailable())),
    ("shm_segment_unlink", In(&["segment:unlink"])),
    ("shm_segment_unlink_file", In(&["segment:unlink"])),
    ("shm_segment_verify", StoresNothing(|bench| {
        for options in [VerifyOptions::new(), VerifyOptions::new().at_rest()] {
            assert_eq!(bench.segment.verify(options, |finding| panic!("{finding:?}")).unwrap().checked, 8);
        }
    })),

    ("shm_span_close", In(&["segment:close", "segment:detach"])),
    ("shm_span_create", In(&["segment:create-Span"])),
    ("shm_span_data", StoresNothing(|bench| _ = bench.span.as_ptr())),
    ("shm_span_entry", StoresNothing(|bench| _ = bench.span.entry())),
    ("shm_span_open", In(&["segment:open"])),
    ("shm_span_size", KnowsNone),

    ("shm_table_clear_interrupted", In(&["segment:clear-interrupted"])),
    ("shm_table_find_sized", StoresNothing(|bench| assert!(bench.segment.find("pool").unwrap().is_some()))),
    ("shm_table_find", StoresNothing(|bench| assert!(bench.segment.find("pool").unwrap().is_some()))),
    ("shm_table_next", StoresNothing(|bench| assert_eq!(bench.segment.entries().count(), 8))),
    ("shm_table_remove", In(&["segment:remove", "segment:remove-and-close", "segment:remove-and-create"])),
    ("shm_table_remove_all", In(&["segment:remove-all"])),
    ("shm_table_wait", StoresNothing(|bench| assert!(bench.segment.wait_for("none", super::AN_INSTANT).unwrap().is_none()))),

    ("speculo_area_close", In(&["speculo:close", "speculo:close-with-a-draft"])),
    ("speculo_area_collect", In(&["speculo:collect", "speculo:shrink"])),
    ("speculo_area_create", In(&["speculo:create"])),
    ("speculo_area_get_stats", StoresNothing(|bench| _ = bench.area.borrow_mut().stats())),
    ("speculo_area_list", StoresNothing(|bench| assert_eq!(Area::list(&bench.area_name, &AreaOptions::new()).unwrap().len(), 1))),
    ("speculo_area_new", KnowsNone),
    ("speculo_area_obsolete", In(&["speculo:obsolete"])),
    ("speculo_area_open", In(&["speculo:open"])),
    ("speculo_area_set_clock", Because("it comes before there is an area")),
    ("speculo_area_set_directory", Because("it comes before there is an area")),
    ("speculo_area_set_gc_threshold", Because("it comes before there is an area")),
    ("speculo_area_set_max_pinned", Because("it comes before there is an area")),
    ("speculo_area_set_max_size", Because("it comes before there is an area")),
    ("speculo_area_set_min_size", Because("it comes before there is an area")),
    ("speculo_area_set_mode", Because("it comes before there is an area")),
    ("speculo_area_unlink", In(&["speculo:unlink"])),
    ("speculo_area_unlink_name", In(&["speculo:unlink-name"])),
    ("speculo_area_verify", StoresNothing(|bench| {
        let at_rest = VerifyOptions::new().at_rest();
        let found = Area::verify_name(&bench.area_name, &AreaOptions::new(), at_rest, |finding| panic!("{finding:?}"));
        assert_eq!(found.unwrap().checked, 1);
    })),
    ("speculo_area_write", In(&["speculo:write"])),
    ("speculo_chunk_allocate", In(&["speculo:allocate", "speculo:grow"])),
    ("speculo_chunk_commit", In(&["speculo:commit", "speculo:commit-update"])),
    ("speculo_chunk_discard", In(&["speculo:discard"])),
    ("speculo_chunk_init", Because("it fills the caller's memory")),
    ("speculo_chunk_set_expiration", Because("of a draft it is one store, which is nobody's business until the commit")),
    ("speculo_chunk_update", In(&["speculo:allocate-update", "speculo:update-twice", "speculo:update-expired"])),
    ("speculo_now", KnowsNone),
    ("speculo_reader_close", StoresNothing(|bench| drop(Reader::open(&bench.area_name, &ReaderOptions::new()).unwrap()))),
    ("speculo_reader_get", StoresNothing(|bench| assert!(bench.chunks.borrow_mut().get(1).unwrap().is_some()))),
    ("speculo_reader_get_stats", StoresNothing(|bench| _ = bench.chunks.borrow().stats())),
    ("speculo_reader_next", StoresNothing(|bench| _ = bench.chunks.borrow_mut().next().unwrap())),
    ("speculo_reader_next_valid", StoresNothing(|bench| _ = bench.chunks.borrow_mut().next_valid(0).unwrap())),
    ("speculo_reader_next_wait", StoresNothing(|bench| _ = bench.chunks.borrow_mut().next_wait(super::AN_INSTANT).unwrap())),
    ("speculo_reader_open", StoresNothing(|bench| _ = Reader::open(&bench.area_name, &ReaderOptions::new()).unwrap())),
    ("speculo_reader_seek", StoresNothing(|bench| bench.chunks.borrow_mut().seek(0))),
    ("speculo_reader_set_clock", Because("it comes before anything is read, and a reader maps nothing that it could write to")),
];

/// The names and parameters of the functions in the header.
fn prototypes() -> Vec<(String, String)> {
    let header = include_str!("../../include/shmds.h");
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").unwrap().1;
    }
    code.push_str(rest);
    let named = |statement: &str| {
        let (before, parameters) = statement.split_once('(')?;
        let name = before.rsplit([' ', '*', '\n']).next()?;
        let ours = name.starts_with("shm_") || name.starts_with("speculo_");
        ours.then(|| (name.to_owned(), parameters.to_owned()))
    };
    code.split(';').filter(|statement| !statement.contains("typedef")).filter_map(named).collect()
}

#[test]
fn every_function_dies_at_every_store_or_has_none() {
    let prototypes = prototypes();
    assert!(prototypes.len() > 200, "only {} functions were found in the header", prototypes.len());
    let inside: BTreeSet<&str> = prototypes.iter().map(|(name, _)| name.as_str()).collect();
    let listed: BTreeSet<&str> = TABLE.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed.len(), TABLE.len(), "a function is listed twice");
    let (missing, gone): (Vec<_>, Vec<_>) =
        (inside.difference(&listed).collect(), listed.difference(&inside).collect());
    assert!(missing.is_empty(), "the matrix of deaths has nothing for {missing:?}");
    assert!(gone.is_empty(), "the header has no {gone:?}");

    let all: BTreeSet<String> =
        operations().into_iter().map(|operation| operation.name).chain(speculo::names()).collect();
    for (name, how) in TABLE {
        match how {
            In(names) => {
                let unknown: Vec<_> = names.iter().filter(|name| !all.contains(**name)).collect();
                assert!(unknown.is_empty() && !names.is_empty(), "{name}: there is no operation {unknown:?}");
            }
            KnowsNone => {
                let (_, parameters) = prototypes.iter().find(|(prototype, _)| prototype == name).unwrap();
                let told = ["segment *", "queue *", "pool *", "ring *", "array *", "atomic *", "span *", "reader *"];
                assert!(!told.iter().any(|handle| parameters.contains(handle)), "{name} is told of something");
            }
            Because(reason) => assert!(reason.len() > 20),
            StoresNothing(_) => {}
        }
    }
}

#[test]
#[ignore = "not a test: a process that tests start"]
fn counting() {
    let Some(words) = role_words() else { return };
    println!();
    let bench = Bench::new(&words[0], &words[1]);
    for (name, how) in TABLE {
        if let StoresNothing(call) = how {
            kill_points::arm(0);
            call(&bench);
            assert_eq!(kill_points::disarm(), 0, "{name} stores");
        }
    }
    kill_points::arm(0);
    assert!(bench.queue.enqueue(&7).unwrap());
    assert!(kill_points::disarm() > 0, "stores are counted");
    bench.area.into_inner().unlink().unwrap();
    println!("counted");
}

#[test]
fn what_is_said_to_store_nothing_stores_nothing() {
    let (name, area) = (Name::new(), AreaName::new());
    let _segment = fresh(&name);
    let mut peer = Peer::role("coverage::counting", &format!("{} {}", &*name, &*area));
    peer.line("counted");
    peer.finish();
}

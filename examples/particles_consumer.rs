//! The consumer of the particle demo: receives the simulation's events and surveys, takes snapshots of its state, checks
//! every one of them, and steers the simulation now and then.
//!
//! ```text
//! particles_consumer SEGMENT [SECONDS [SUMMARY_FILE]]
//! ```
//!
//! It ends after so many seconds (10) or on SIGINT: it asks the simulation to stop, receives what is still on its way,
//! and sums up. Exit code 1: something was lost, torn or out of order.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, process, slice, thread};

use bytemuck::{Pod, Zeroable};
use shmds::{Array, Atomic, Handle, Pool, Queue, Segment, SegmentOptions, Status};

// ---- the same bytes as in particles.h ------------------------------------------------------------------------------

const PARTICLES: usize = 10_240;
const SPEED_CLASSES: usize = 120;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Particle {
    x: f32,
    y: f32,
    vx: f32,
    vy: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Frame {
    checksum: u64,
    step: u64,
    time_ns: u64,
    surveys_sent: u64,
    events_sent: u64,
    events_delayed: u64,
    events_dropped: u64,
    simulation: u32,
    gravity: f32,
    particles: [[Particle; 1024]; PARTICLES / 1024], // nested, as bytemuck knows arrays of up to 4096
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Event {
    time_ns: u64,
    number: u64,
    simulation: u32,
    particle: u32,
    wall: u32,
    speed: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Survey {
    frame: u64,
    simulation: u32,
    fastest: f32,
    particles: [u32; SPEED_CLASSES],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Control {
    kind: u32,
    number: u32,
    value: f64,
}

const WALLS: u32 = 4;
const GRAVITY: u32 = 1;
const PAUSE: u32 = 2;
const STOP: u32 = 3;

const _: () = assert!(size_of::<Frame>() == 64 + PARTICLES * 16);
const _: () = assert!(size_of::<Event>() == 32 && size_of::<Control>() == 16 && size_of::<Survey>() == 496);

impl Frame {
    /// Two running sums over all words but the first, as `frame_checksum` in particles.h.
    fn true_checksum(&self) -> u64 {
        let words: &[u64] = bytemuck::cast_slice(slice::from_ref(self));
        let (mut a, mut b) = (1u64, 0u64);
        for word in &words[1..] {
            a = a.wrapping_add(*word);
            b = b.wrapping_add(a);
        }
        a ^ b.rotate_left(32)
    }

    /// Mean energy of a particle in joules, and the centre of mass.
    fn physics(&self) -> Physics {
        let (mut energy, mut x, mut y) = (0.0, 0.0, 0.0);
        for p in self.particles.as_flattened() {
            energy += f64::from(p.vx * p.vx + p.vy * p.vy) / 2.0 + f64::from(self.gravity * p.y);
            x += f64::from(p.x);
            y += f64::from(p.y);
        }
        let n = PARTICLES as f64;
        Physics { energy: energy / n, x: x / n, y: y / n }
    }
}

#[derive(Clone, Copy, Default)]
struct Physics {
    energy: f64,
    x: f64,
    y: f64,
}

// ---- what is counted -----------------------------------------------------------------------------------------------

/// Latencies by size: sixteen classes to each power of two, so that percentiles are right to about 3 %.
struct Latencies {
    classes: [u64; 1024],
    count: u64,
    max: u64,
}

impl Latencies {
    const NONE: Self = Self { classes: [0; 1024], count: 0, max: 0 };

    fn add(&mut self, ns: u64) {
        let class = if ns < 16 { ns } else { u64::from(ns.ilog2() - 3) * 16 + (ns >> (ns.ilog2() - 4)) % 16 };
        self.classes[class as usize] += 1;
        self.count += 1;
        self.max = self.max.max(ns);
    }

    /// The latency that `share` of all stay below.
    fn percentile(&self, share: f64) -> u64 {
        let wanted = (share * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (class, count) in (0u64..).zip(&self.classes) {
            seen += count;
            if seen >= wanted {
                let middle = if class < 16 { class } else { ((2 * (16 + class % 16) + 1) << (class / 16)) / 4 };
                return middle.min(self.max);
            }
        }
        self.max
    }

    fn line(&self) -> String {
        let [p50, p99, max] = [self.percentile(0.50), self.percentile(0.99), self.max].map(duration);
        format!("p50 {p50}  p99 {p99}  max {max}")
    }
}

/// Everything known about the events so far, and what was wrong, with events or frames.
struct Tally {
    /// Events that an earlier consumer took: this one comes in the middle.
    taken_before: u64,
    second: Latencies,
    total: Latencies,
    simulation: u32,
    simulations: u32,
    number: u64,
    time_ns: u64,
    faults: u64,
}

impl Tally {
    fn receive(&mut self, event: &Event, now_ns: u64) {
        if event.simulation != self.simulation {
            self.simulations += 1;
            if self.simulations > 1 {
                let silence = duration(event.time_ns.saturating_sub(self.time_ns));
                println!("events come again, from process {}, after {} of silence", event.simulation, silence.trim());
            }
            self.simulation = event.simulation;
            let middle = self.simulations == 1 && self.taken_before > 0;
            self.number = if middle { event.number.wrapping_sub(1) } else { 0 };
        }
        let before = self.number;
        if event.number != before.wrapping_add(1) {
            self.fault(format_args!("event {} came after event {before}", event.number));
        }
        if event.time_ns < self.time_ns || event.time_ns > now_ns {
            self.fault(format_args!("event {} is out of time", event.number));
        }
        if event.particle as usize >= PARTICLES || event.wall >= WALLS || !event.speed.is_finite() {
            self.fault(format_args!("event {} makes no sense", event.number));
        }
        self.number = event.number;
        self.time_ns = event.time_ns;
        let latency = now_ns.saturating_sub(event.time_ns);
        self.second.add(latency);
        self.total.add(latency);
    }

    fn fault(&mut self, what: std::fmt::Arguments) {
        self.faults += 1;
        if self.faults <= 10 {
            println!("FAULT: {what}");
        }
    }
}

/// Everything known about the state so far.
#[derive(Default)]
struct States {
    /// How many snapshots were taken.
    received: u64,
    simulation: u32,
    step: u64,
    events_sent: u64,
    surveys_sent: u64,
    physics: Physics,
    gravity: f32,
    reference_energy: f64,
}

impl States {
    fn receive(&mut self, frame: &Frame, tally: &Mutex<Tally>) {
        if frame.checksum != frame.true_checksum() {
            lock(tally).fault(format_args!("the snapshot of step {} is torn: its checksum is wrong", frame.step));
        }
        if frame.simulation != self.simulation {
            *self = Self { received: self.received, simulation: frame.simulation, ..Self::default() };
        }
        if frame.step < self.step {
            lock(tally).fault(format_args!("step {} came after step {}", frame.step, self.step));
        }
        self.received += 1;
        self.step = frame.step;
        self.events_sent = frame.events_sent;
        self.surveys_sent = frame.surveys_sent;

        self.physics = frame.physics();
        if self.gravity != frame.gravity {
            self.gravity = frame.gravity;
            self.reference_energy = self.physics.energy;
        }
    }

    fn line(&self) -> String {
        let Physics { energy, x, y } = self.physics;
        let drift = (energy / self.reference_energy - 1.0).abs() * 1e6;
        format!("centre ({x:.2}, {y:.2}) m  energy {energy:5.2} J, drift {drift:.2} ppm")
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---- time and signals ----------------------------------------------------------------------------------------------

/// Set by SIGINT and SIGTERM.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_: libc::c_int) {
    INTERRUPTED.store(true, Relaxed);
}

/// CLOCK_MONOTONIC, the same in all processes.
fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writing; this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// In eight columns, with three digits.
fn duration(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns:5} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s "),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:5.decimals$} {unit}")
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

// ---- the program ---------------------------------------------------------------------------------------------------

/// What the simulation is told, one each 1.5 seconds.
const ORDERS: [(&str, u32, f64); 6] = [
    ("gravity of the Moon", GRAVITY, 1.62),
    ("gravity of Jupiter", GRAVITY, 24.79),
    ("gravity of Mars", GRAVITY, 3.71),
    ("a short pause", PAUSE, 0.2),
    ("gravity of the Earth", GRAVITY, 9.81),
    ("no gravity", GRAVITY, 0.0),
];

const ORDER_INTERVAL: Duration = Duration::from_millis(1500);
const SILENCE: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(1);

/// The simulation makes the segment and the queues; wait for it, at most five seconds.
fn attach(name: &str) -> shmds::Result<Segment> {
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        match Segment::open(name, &SegmentOptions::new()) {
            Err(e) if e.status() == Status::NotFound && Instant::now() < patience && !INTERRUPTED.load(Relaxed) => {
                thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

/// The first thread: receives events until there will be no more.
fn receive_events(events: Queue<Event>, tally: &Mutex<Tally>, give_up: &AtomicBool) -> shmds::Result<()> {
    if thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
        events.set_spin(Duration::from_micros(1500)); // a step and a half: asleep only when the simulation is
    }
    loop {
        match events.dequeue_wait(Duration::from_millis(20)) {
            Ok(Some(event)) => lock(tally).receive(&event, now_ns()),
            Ok(None) if give_up.load(Relaxed) => return Ok(()),
            Ok(None) => {}
            Err(e) if e.status() == Status::Closed => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// The second thread: takes snapshots and surveys, steers the simulation, and reports each second.
struct Watcher<'a> {
    frame: Atomic<u64>,
    state: Array<Frame>,
    /// Room for a snapshot.
    copy: Box<[Frame]>,
    surveys: Pool<Survey>,
    mail: Queue<u64>,
    control: Queue<Control>,
    tally: &'a Mutex<Tally>,
    /// Set when no more events will come.
    over: &'a AtomicBool,
    states: States,
    states_before: u64,
    surveys_received: u64,
    /// Surveys of a simulation that died before they were ours.
    surveys_withdrawn: u64,
    fastest: f32,
    messages: u32,
}

impl Watcher<'_> {
    fn watch(&mut self, seconds: Duration) -> shmds::Result<()> {
        let start = Instant::now();
        let mut reported = start;
        let mut orders = ORDERS.iter();
        let mut next_order = start + ORDER_INTERVAL;
        let mut heard = None; // when the last step was
        let mut seen = 0; // its number
        let mut patience = None; // until when the simulation may end
        loop {
            match self.frame.wait(seen, Duration::from_millis(20))? {
                Some(frame) => {
                    seen = frame;
                    heard = Some(Instant::now());
                    self.look()?;
                }
                None => {
                    if heard.take_if(|heard| heard.elapsed() > SILENCE).is_some() {
                        println!("the simulation has fallen silent");
                    }
                }
            }
            self.receive_surveys()?;
            if self.over.load(Relaxed) {
                return Ok(());
            }
            let now = Instant::now();
            if now - reported >= Duration::from_secs(1) {
                self.report(now - reported);
                reported = now;
            }
            match patience {
                None if INTERRUPTED.load(Relaxed) || now - start >= seconds => {
                    self.send("stop", STOP, 0.0)?;
                    patience = Some(now + PATIENCE);
                }
                None if now >= next_order => {
                    if let Some((what, kind, value)) = orders.next() {
                        self.send(what, *kind, *value)?;
                    }
                    next_order += ORDER_INTERVAL;
                }
                Some(end) if now >= end => {
                    if !INTERRUPTED.load(Relaxed) {
                        lock(self.tally).fault(format_args!("the simulation did not end when told to"));
                    }
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Takes a snapshot of the newest step: the simulation goes on meanwhile.
    fn look(&mut self) -> shmds::Result<()> {
        match self.state.snapshot(0, &mut self.copy, Duration::from_millis(20)) {
            Ok(true) => self.states.receive(&self.copy[0], self.tally),
            Ok(false) => println!("the simulation leaves no gap for a snapshot"),
            Err(e) if e.status() == Status::Torn => println!("{e}; the next step mends it"),
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Reads surveys where they lie, and gives them back.
    fn receive_surveys(&mut self) -> shmds::Result<()> {
        loop {
            let handle = match self.mail.dequeue() {
                Ok(Some(bits)) => Handle::from_bits(bits),
                Ok(None) => return Ok(()),
                Err(e) if e.status() == Status::Closed => return Ok(()),
                Err(e) => return Err(e),
            };
            if self.surveys.adopt(handle).is_err() {
                self.surveys_withdrawn += 1;
                continue;
            }
            let survey = self.surveys.read(handle)?;
            let particles: u64 = survey.particles.iter().map(|count| u64::from(*count)).sum();
            if particles != PARTICLES as u64 {
                lock(self.tally)
                    .fault(format_args!("the survey of step {} counts {particles} particles", survey.frame));
            }
            self.fastest = survey.fastest;
            self.surveys.release(handle)?;
            self.surveys_received += 1;
        }
    }

    fn send(&mut self, what: &str, kind: u32, value: f64) -> shmds::Result<()> {
        self.messages += 1;
        let sent = self.control.enqueue(&Control { kind, number: self.messages, value })?;
        println!(
            "control message {}: {what}{}",
            self.messages,
            if sent { "" } else { " (not sent: the queue is full)" }
        );
        Ok(())
    }

    fn report(&mut self, period: Duration) {
        let second = std::mem::replace(&mut lock(self.tally).second, Latencies::NONE);
        let per_second = |count: u64| (count as f64 / period.as_secs_f64()).round() as u64;
        let states = self.states.received - self.states_before;
        self.states_before = self.states.received;
        if second.count > 0 {
            println!("events {:>7}/s  {}", grouped(per_second(second.count)), second.line());
            let (states, line, fastest) = (grouped(per_second(states)), self.states.line(), self.fastest);
            println!("states {states:>7}/s  {line}  fastest {fastest:.1} m/s");
        }
    }
}

/// Receives until the end; the result is the summary, and how many things were wrong.
fn run(name: &str, seconds: Duration) -> Result<(String, u64), Box<dyn Error>> {
    let segment = attach(name)?;
    for structure in ["state", "frame", "events", "surveys", "mail", "control"] {
        let found = segment.wait_for(structure, Duration::from_secs(5))?;
        found.ok_or_else(|| format!("nothing called '{structure}' appears"))?;
    }
    let events = Queue::<Event>::open(&segment, "events")?;
    let taken_before = events.stats().dequeued;
    let tally = Mutex::new(Tally {
        taken_before,
        second: Latencies::NONE,
        total: Latencies::NONE,
        simulation: 0,
        simulations: 0,
        number: 0,
        time_ns: 0,
        faults: 0,
    });
    let over = AtomicBool::new(false);
    let mut watcher = Watcher {
        frame: Atomic::open(&segment, "frame")?,
        state: Array::open(&segment, "state")?,
        copy: vec![Frame::zeroed(); 1].into_boxed_slice(),
        surveys: Pool::open(&segment, "surveys")?,
        mail: Queue::open(&segment, "mail")?,
        control: Queue::open(&segment, "control")?,
        tally: &tally,
        over: &over,
        states: States::default(),
        states_before: 0,
        surveys_received: 0,
        surveys_withdrawn: 0,
        fastest: 0.0,
        messages: 0,
    };
    println!("process {} receives on segment {name}", process::id());

    let give_up = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let received = receive_events(events, &tally, &give_up);
            over.store(true, Relaxed);
            received
        });
        let watched = watcher.watch(seconds);
        give_up.store(true, Relaxed);
        receiver.join().expect("the receiving thread does not panic")?;
        watched
    })?;

    watcher.look()?;
    watcher.receive_surveys()?;

    // The books: every position of the queue was received, but at most one for each process that was killed, which
    // died while it wrote or read there; the last simulation's own counts of what it sent agree; and every survey is back.
    let Watcher { states, surveys, surveys_received, surveys_withdrawn, messages, .. } = watcher;
    let mut tally = tally.into_inner()?;
    let entered = Queue::<Event>::open(&segment, "events")?.stats().enqueued - taken_before;
    let missing = entered.saturating_sub(tally.total.count);
    let killed = u64::from(tally.simulations.saturating_sub(1)) + u64::from(taken_before > 0);
    if missing > killed || states.simulation == tally.simulation && states.events_sent > tally.number {
        tally.fault(format_args!("{missing} of {entered} events are lost"));
    }
    let kept = surveys.stats().allocated;
    let unsettled = kept > 0 || states.surveys_sent > surveys_received + surveys_withdrawn;
    if unsettled && !INTERRUPTED.load(Relaxed) {
        tally
            .fault(format_args!("{kept} surveys never came back, of {} the last simulation sent", states.surveys_sent));
    }
    let in_flight = match missing {
        0 => "none was lost".to_owned(),
        _ => format!("{missing} was in the hands of a killed process"),
    };
    let withdrawn = match surveys_withdrawn {
        0 => String::new(),
        _ => format!(", {surveys_withdrawn} withdrawn with the killed process"),
    };
    let mut summary = String::new();
    let mut line = |what: &str, text: String| writeln!(summary, "  {what:<18}{text}");
    line("simulations", format!("{} in turn, on one segment", tally.simulations))?;
    line("events", format!("{} entered, {} received: {in_flight}", grouped(entered), grouped(tally.total.count)))?;
    line("event latency", tally.total.line())?;
    let bytes = grouped(size_of::<Frame>() as u64);
    line("state", format!("{} snapshots of {bytes} bytes, each of one moment", grouped(states.received)))?;
    line("surveys", format!("{surveys_received} received in place and given back{withdrawn}"))?;
    line("control messages", format!("{messages} sent"))?;
    line("faults", tally.faults.to_string())?;
    Ok((summary, tally.faults))
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let seconds = arguments.get(1).map_or(Some(10), |text| text.parse().ok());
    let (Some(name), Some(seconds), 1..=3) = (arguments.first(), seconds, arguments.len()) else {
        eprintln!("usage: particles_consumer SEGMENT [SECONDS [SUMMARY_FILE]]");
        process::exit(2);
    };
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, on_signal as *const () as libc::sighandler_t) };
    }
    let outcome = run(name, Duration::from_secs(seconds)).and_then(|(summary, faults)| {
        match arguments.get(2) {
            Some(file) => fs::write(file, summary)?,
            None => print!("{summary}"),
        }
        Ok(faults)
    });
    match outcome {
        Ok(0) => {}
        Ok(_) => process::exit(1),
        Err(e) => {
            eprintln!("particles_consumer: {e}");
            process::exit(1);
        }
    }
}

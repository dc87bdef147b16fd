// The simulation of the particle demo: particles bouncing in a box, stepped in real time.
//
//   particles_sim SEGMENT
//
// Each step is published as the state, for snapshots, and as a line of telemetry; each hit against a wall as an event; now
// and then a survey of speeds is filled in place and sent. Control messages change gravity, pause or stop the simulation.
// If it is killed, the next one attaches to the same segment and takes over.

#include <shmds.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include "particles.h"

using namespace std::chrono_literals;
using std::chrono::steady_clock;  // CLOCK_MONOTONIC

namespace {

volatile std::sig_atomic_t interrupted = 0;

std::uint64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

/// The physics: free fall and perfectly elastic walls. A particle that crossed a wall in a step is put back on it
/// with the speed that keeps its energy, so the total is constant but for rounding.
class box {
 public:
  explicit box(unsigned seed) : particles_(PARTICLES) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> place(0.05f, 0.95f);
    std::normal_distribution<float> speed(0, 3);
    for (auto& p : particles_) p = {place(random), place(random), speed(random), speed(random)};
  }

  float gravity = GRAVITY;

  [[nodiscard]] const std::vector<particle>& particles() const { return particles_; }

  /// Mean energy of a particle in joules.
  [[nodiscard]] double energy() const {
    double sum = 0;
    for (const auto& p : particles_) sum += (p.vx * p.vx + p.vy * p.vy) / 2 + gravity * p.y;
    return sum / PARTICLES;
  }

  void step(float dt, auto&& on_hit) {
    for (std::uint32_t i = 0; i < particles_.size(); ++i) {
      auto& p = particles_[i];
      p.x += p.vx * dt;
      p.y += (p.vy - gravity * dt / 2) * dt;
      p.vy -= gravity * dt;
      if (p.x < 0 || p.x > 1) [[unlikely]] {
        on_hit(i, p.x < 0 ? WALL_LEFT : WALL_RIGHT, std::abs(p.vx));
        p.x = p.x < 0 ? -p.x : 2 - p.x;
        p.vx = -p.vx;
      }
      if (p.y < 0 || p.y > 1) [[unlikely]] {
        const float wall = p.y < 0 ? 0 : 1;
        const float speed = std::sqrt(std::max(0.0f, p.vy * p.vy + 2 * gravity * (p.y - wall)));
        on_hit(i, p.y < 0 ? WALL_FLOOR : WALL_CEILING, speed);
        p.vy = p.y < 0 ? speed : -speed;
        p.y = wall;
      }
    }
  }

 private:
  std::vector<particle> particles_;
};

/// What goes out and comes in, and the counts of this simulation.
class connection {
 public:
  explicit connection(const shmds::segment& segment)
      : state_(shmds::array<frame>::create(segment, "state", {.count = 1})),
        frame_(shmds::atomic_uint64_t::create(segment, "frame")),
        steps_(shmds::ring<step>::create(segment, "steps", {.capacity = STEPS_CAPACITY, .overwrite = true})),
        events_(shmds::queue<event>::create(segment, "events", {.capacity = EVENTS_CAPACITY})),
        surveys_(shmds::pool<survey>::create(segment, "surveys", {.capacity = SURVEYS_CAPACITY})),
        mail_(shmds::queue<handle>::create(segment, "mail", {.capacity = MAIL_CAPACITY, .single = true})),
        control_(shmds::queue<control>::create(segment, "control", {.capacity = CONTROL_CAPACITY})) {}

  /// What it all takes in a segment.
  static std::uint64_t size() {
    return shmds::segment_size({}, {shmds::array_size<frame>(1), shmds::atomic_size(),
                                    shmds::ring_size<step>(STEPS_CAPACITY), shmds::queue_size<event>(EVENTS_CAPACITY),
                                    shmds::pool_size<survey>(SURVEYS_CAPACITY),
                                    shmds::queue_size<handle>(MAIL_CAPACITY, true),
                                    shmds::queue_size<control>(CONTROL_CAPACITY)});
  }

  std::uint64_t steps = 0, surveys_sent = 0, events_sent = 0, events_delayed = 0, events_dropped = 0;

  [[nodiscard]] shmds::queue_stats earlier() const { return events_.stats(); }

  /// A full queue is waited for, but not long; and while nobody takes anything out, not again for each event.
  void send_event(std::uint32_t particle, wall hit, float speed) {
    const event e{now_ns(), events_sent + 1, pid_, particle, hit, speed};
    bool sent = events_.enqueue(e);
    if (!sent && !stuck_) {
      ++events_delayed;
      sent = events_.enqueue_for(e, 2ms);
    }
    stuck_ = !sent;
    ++(sent ? events_sent : events_dropped);
    ++hits_;
  }

  /// The state for whoever wants it whole, a line of telemetry, and a wake-up for those who wait for the next step.
  void publish(const box& from) {
    newest_->step = ++steps;
    newest_->time_ns = now_ns();
    newest_->surveys_sent = surveys_sent;
    newest_->events_sent = events_sent;
    newest_->events_delayed = events_delayed;
    newest_->events_dropped = events_dropped;
    newest_->simulation = pid_;
    newest_->gravity = from.gravity;
    std::ranges::copy(from.particles(), newest_->particles);
    newest_->checksum = frame_checksum(newest_.get());
    {
      const auto writing = state_.write();
      state_.set(0, *newest_);
    }
    const std::uint64_t number = ++frame_;
    static_cast<void>(steps_.push({number, newest_->time_ns, from.energy(), std::exchange(hits_, 0), pid_}));  // never full
    frame_.notify_all();
    if (steps % STEPS_PER_SURVEY == 0) send_survey(from, number);
  }

  [[nodiscard]] std::optional<control> receive() { return control_.dequeue(); }

  /// Nothing more will come; the consumer takes what is there and then knows.
  void say_goodbye() {
    mail_.shutdown();
    events_.shutdown();
  }

 private:
  using handle = shmds::pool_handle;

  /// Filled where the consumer will read it. If the consumer lags, it misses one.
  void send_survey(const box& from, std::uint64_t number) {
    const auto acquired = surveys_.acquire_construct();
    if (!acquired) return;
    survey& s = surveys_[*acquired];
    s.frame = number;
    s.simulation = pid_;
    for (const auto& p : from.particles()) {
      const float speed = std::hypot(p.vx, p.vy);
      s.fastest = std::max(s.fastest, speed);
      ++s.particles[std::min(static_cast<std::size_t>(speed * 4), std::size_t{SPEED_CLASSES - 1})];
    }
    if (mail_.enqueue(*acquired)) ++surveys_sent;
    else surveys_.release(*acquired);
  }

  shmds::array<frame> state_;
  shmds::atomic_uint64_t frame_;
  shmds::ring<step> steps_;
  shmds::queue<event> events_;
  shmds::pool<survey> surveys_;
  shmds::queue<handle> mail_;
  shmds::queue<control> control_;
  std::unique_ptr<frame> newest_ = std::make_unique<frame>();
  std::uint32_t pid_ = static_cast<std::uint32_t>(getpid());
  std::uint32_t hits_ = 0;
  bool stuck_ = false;
};

/// One line a second.
class reporter {
 public:
  void report_if_due(const connection& to) {
    const auto now = steady_clock::now();
    if (now < next_) return;
    const double seconds = std::chrono::duration<double>(now - last_).count();
    std::printf("steps %5.0f/s  events %6.0f/s, %llu delayed, %llu dropped  surveys %llu\n",
                static_cast<double>(to.steps - steps_) / seconds, static_cast<double>(to.events_sent - events_) / seconds,
                static_cast<unsigned long long>(to.events_delayed), static_cast<unsigned long long>(to.events_dropped),
                static_cast<unsigned long long>(to.surveys_sent));
    steps_ = to.steps;
    events_ = to.events_sent;
    last_ = now;
    next_ = now + 1s;
  }

 private:
  std::uint64_t steps_ = 0, events_ = 0;
  steady_clock::time_point last_ = steady_clock::now(), next_ = last_ + 1s;
};

/// False when the message is to stop.
bool obey(const control& message, box& world) {
  switch (message.kind) {
    case CONTROL_GRAVITY:
      world.gravity = static_cast<float>(message.value);
      std::printf("control message %u: gravity is %.2f m/s² now\n", message.number, message.value);
      return true;
    case CONTROL_PAUSE:
      std::printf("control message %u: pause of %.1f s\n", message.number, message.value);
      std::this_thread::sleep_for(std::chrono::duration<double>(std::clamp(message.value, 0.0, 10.0)));
      return true;
    case CONTROL_STOP:
      std::printf("control message %u: stop\n", message.number);
      return false;
    default:
      return true;  // of a newer consumer
  }
}

void run(const char* name) {
  const auto segment = shmds::segment::create(name, {.size = connection::size()});
  connection to(segment);
  if (const auto earlier = to.earlier(); earlier.enqueued > 0) {
    std::printf("process %d takes over after %llu events of an earlier one, %llu still queued\n", getpid(),
                static_cast<unsigned long long>(earlier.enqueued), static_cast<unsigned long long>(earlier.size));
  } else {
    std::printf("process %d simulates %d particles at %d steps/s\n", getpid(), PARTICLES, STEPS_PER_SECOND);
  }

  box world(static_cast<unsigned>(getpid()));
  reporter reporter;
  const auto period = std::chrono::nanoseconds(1s) / STEPS_PER_SECOND;
  auto due = steady_clock::now();
  for (bool going = true; going && !interrupted;) {
    while (const auto message = to.receive()) going = obey(*message, world) && going;
    world.step(1.0f / STEPS_PER_SECOND, [&](std::uint32_t particle, wall hit, float speed) {
      to.send_event(particle, hit, speed);
    });
    to.publish(world);
    reporter.report_if_due(to);
    due = std::max(due + period, steady_clock::now() - 10 * period);  // catch up a little, not for ever
    std::this_thread::sleep_until(due);
  }
  to.say_goodbye();
  std::printf("process %d ends after %llu steps and %llu events\n", getpid(), static_cast<unsigned long long>(to.steps),
              static_cast<unsigned long long>(to.events_sent));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: particles_sim SEGMENT\n");
    return 2;
  }
  std::signal(SIGINT, [](int) { interrupted = 1; });
  std::signal(SIGTERM, [](int) { interrupted = 1; });
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  try {
    run(argv[1]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "particles_sim: %s\n", e.what());
    return 1;
  }
}

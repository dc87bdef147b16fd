// The loops whose time is taken between processes: as src/measure.rs has them, number by number.
#pragma once

#include "control.hpp"

constexpr std::uint64_t span = 30'000'000, span_crowded = 150'000'000, longest_warm_up = 5'000'000;
constexpr std::uint64_t least_chunk = 8192, batch = 16;
constexpr std::size_t handed_over = 20'000, not_counted = 1000;
constexpr std::uint64_t apart = 1000;
constexpr unsigned producer_bit = 56;

class pauses {
 public:
  explicit pauses(const test_case& of) : crowded_(of.sides() > 2) {}
  /// There was something to do.
  void over() { times_ = 0; }
  void pause() {
    if (crowded_ && ++times_ % 64 == 0) {
      sched_yield();
    } else {
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("isb");
#endif
    }
  }

 private:
  bool crowded_;
  unsigned times_ = 0;
};

inline bool is_exact(const test_case& of) { return of.test == "throughput" && of.sides() == 2; }

/// For links that move one message a call.
template <class M, class Link>
std::size_t send_bulk(Link& link, const M* messages, std::size_t count) {
  if constexpr (requires { link.send_bulk(messages, count); }) {
    return link.send_bulk(messages, count);
  } else {
    std::size_t sent = 0;
    while (sent < count && link.send(messages[sent])) sent++;
    return sent;
  }
}

template <class M, class Link>
std::size_t receive_bulk(Link& link, M* messages, std::size_t count) {
  if constexpr (requires { link.receive_bulk(messages, count); }) {
    return link.receive_bulk(messages, count);
  } else {
    std::size_t got = 0;
    while (got < count && link.receive(messages[got])) got++;
    return got;
  }
}

template <class M, class Link>
void produce(control_page& control, const test_case& of, std::size_t index, Link& link) {
  std::uint64_t sequence = static_cast<std::uint64_t>(index) << producer_bit;
  auto& count = control.counts[of.consumers + index].word;
  const bool exact = is_exact(of);
  const std::size_t bulk = of.bulk;
  pauses pauses(of);
  M messages[most_in_bulk];
  for (;;) {
    for (std::size_t n = 0; n < bulk; n++) messages[n] = M(sequence + n);
    for (std::size_t sent = 0; sent < bulk;) {
      const std::size_t now = bulk == 1 ? link.send(messages[0]) : send_bulk(link, messages + sent, bulk - sent);
      sent += now;
      if (now != 0) {
        pauses.over();
        continue;
      }
      if (control.stopped()) return;
      pauses.pause();
    }
    sequence += bulk;
    if (!exact && sequence % 64 == 0) {
      count.store(sequence & ((UINT64_C(1) << producer_bit) - 1), std::memory_order_relaxed);
      if (control.stopped()) return;
    }
  }
}

/// Runs `work` until the time is up, at least three times; how many nanoseconds each took.
std::vector<double> samples(std::uint64_t span, auto&& work) {
  std::vector<double> times;
  times.reserve(1 << 18);
  const auto begin = now();
  for (auto before = begin; times.size() < 3 || before - begin < span;) {
    work();
    const auto time = now();
    times.push_back(static_cast<double>(time - before));
    before = time;
  }
  return times;
}

double sample(std::uint64_t span, auto&& work) {
  auto times = samples(span, work);
  return median(times);
}

void warm_up(auto&& work) {
  const auto end = now() + longest_warm_up;
  for (int n = 0; n < 1600 && now() <= end; n++) work();
}

template <class M, class Link>
void consume_all(control_page& control, const test_case& of, Link& link) {
  std::uint64_t expected = 0;
  const std::uint64_t chunk = std::max<std::uint64_t>(least_chunk, of.capacity);
  const std::size_t bulk = of.bulk;
  pauses pauses(of);
  M messages[most_in_bulk];
  const auto receive_chunk = [&] {
    for (const auto end = expected + chunk; expected < end;) {
      const std::size_t got = bulk == 1 ? link.receive(messages[0]) : receive_bulk(link, messages, most_in_bulk);
      for (std::size_t n = 0; n < got; n++) {
        check(messages[n].sequence() == expected, "a message is lost or out of order");
        expected++;
      }
      if (got == 0) pauses.pause();
    }
  };
  receive_chunk();
  control.finish({static_cast<double>(chunk) * 1000 / sample(span, receive_chunk)});
}

template <class M, class Link>
void consume_shared(control_page& control, const test_case& of, std::size_t index, Link& link) {
  std::uint64_t last[8] = {}, got = 0, read = 0, written = 0;
  const auto length = of.sides() > 2 ? span_crowded : span;
  const auto sum = [&](std::size_t from, std::size_t count) {
    std::uint64_t all = 0;
    for (std::size_t n = 0; n < count; n++) all += control.counts[from + n].word.load(std::memory_order_relaxed);
    return all;
  };
  pauses pauses(of);
  auto begin = now() + length / 8;  // what comes before is a warm-up
  bool begun = false;
  M taken;
  while (!control.stopped()) {
    if (link.receive(taken)) {
      const auto sequence = taken.sequence();
      auto& before = last[sequence >> producer_bit];
      check(sequence + 1 > before, "a message is out of order, or there twice");
      before = sequence + 1;
      pauses.over();
      if (++got % 64 != 0) continue;
    } else {
      pauses.pause();
    }
    control.counts[index].word.store(got, std::memory_order_relaxed);
    if (index != 0) continue;
    const auto time = now();
    if (!begun && time >= begin) {
      begun = true;
      begin = time;
      read = sum(0, of.consumers);
      written = sum(of.consumers, of.producers);
    } else if (begun && time >= begin + length) {
      read = sum(0, of.consumers) - read;
      written = sum(of.consumers, of.producers) - written;
      check(read > 0, "nothing arrives");
      const auto rate = [&](std::uint64_t count) { return static_cast<double>(count) * 1000 / static_cast<double>(time - begin); };
      control.finish({rate(read), rate(written)});
    }
  }
}

template <class M, class Link>
void consume(control_page& control, const test_case& of, std::size_t index, Link& link) {
  if (is_exact(of)) consume_all<M>(control, of, link);
  else consume_shared<M>(control, of, index, link);
}

inline bool is_turn(const control_page& control, std::uint64_t turn) {
  while (control.ping.word.load(std::memory_order_acquire) != turn) {
    if (control.stopped()) return false;
  }
  return true;
}

template <class M, class Link>
void fill(control_page& control, Link& link) {
  for (std::uint64_t round = 0; is_turn(control, 2 * round); round++) {
    const auto begin = now();
    for (auto number = round * apart; number < (round + 1) * apart; number++) {
      const M message(number);
      while (!link.send(message)) {
      }
    }
    control.counts[0].word.store(now() - begin, std::memory_order_relaxed);
    control.ping.word.store(2 * round + 1, std::memory_order_release);
  }
}

template <class M, class Link>
void empty(control_page& control, Link& link) {
  std::vector<double> filling, emptying;
  const auto begin = now();
  M taken;
  for (std::uint64_t round = 0;; round++) {
    check(is_turn(control, 2 * round + 1), "only this side stops");
    const auto first = now();
    for (auto number = round * apart; number < (round + 1) * apart; number++) {
      check(link.receive(taken), "all of them are there");
      check(taken.sequence() == number, "a message is lost or out of order");
    }
    const auto last = now();
    if (round > 0) {
      filling.push_back(static_cast<double>(control.counts[0].word.load(std::memory_order_relaxed)) / apart);
      emptying.push_back(static_cast<double>(last - first) / apart);
    }
    if (round > 8 && last - begin > span) break;
    control.ping.word.store(2 * round + 2, std::memory_order_release);
  }
  control.finish({median(filling), median(emptying)});
}

template <class M, class Link>
void ping(control_page& control, Link& there, Link& back) {
  std::uint64_t sequence = 0;
  M answer;
  const auto trip = [&] {
    const M question(sequence);
    while (!there.send(question)) {
    }
    while (!back.receive(answer)) {
    }
    check(answer.sequence() == sequence, "a message did not come back");
    sequence++;
  };
  warm_up(trip);
  const double batched = sample(span, [&] {
    for (std::uint64_t n = 0; n < batch; n++) trip();
  });
  auto single = samples(span, trip);
  control.finish({batched / batch, percentile(single, 0.99), percentile(single, 0.999)});
}

template <class M, class Link>
void echo(control_page& control, Link& there, Link& back) {
  M taken;
  while (!control.stopped()) {
    if (!there.receive(taken)) continue;
    while (!back.send(taken)) {
    }
  }
}

template <class M, class Link>
void wake(control_page& control, Link& there, Link& back) {
  std::uint64_t sequence = 0;
  std::vector<double> calls;
  M answer;
  const auto trip = [&] {
    const auto begin = now();
    there.send_waking(M(sequence));
    calls.push_back(static_cast<double>(now() - begin));
    back.receive_asleep(answer);
    check(answer.sequence() == sequence, "a message did not come back");
    sequence++;
  };
  warm_up(trip);
  const double trips = sample(span, trip);
  control.finish({trips, median(calls)});
  there.send_waking(M(0));  // for the other side to see that it is over
}

template <class M, class Link>
void woken(control_page& control, Link& there, Link& back) {
  for (M taken;;) {
    there.receive_asleep(taken);
    if (control.stopped()) return;
    back.send_waking(taken);
  }
}

template <class M, class Link>
void hand_over(control_page& control, Link& link) {
  std::uint64_t random = 7;
  for (std::size_t n = 0; n < handed_over; n++) {
    random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    const auto due = now() + 200 + (random >> 40) % 4000;
    while (now() < due) {
    }
    const auto time = now();
    check(link.send(M(time)), "there is room for one");
    while (control.pong.word.load(std::memory_order_acquire) != time) {
    }
  }
}

template <class M, class Link>
void take_over(control_page& control, Link& link) {
  std::vector<double> ages;
  M taken;
  for (std::size_t n = 0; n < handed_over; n++) {
    link.receive_asleep(taken);
    const auto time = now(), sent = taken.sequence();
    if (n >= not_counted) ages.push_back(time > sent ? static_cast<double>(time - sent) : 0);
    control.pong.word.store(sent, std::memory_order_release);
  }
  control.finish({percentile(ages, 0.5), percentile(ages, 0.99), percentile(ages, 0.999)});
}

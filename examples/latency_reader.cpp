// The other half of latency_writer.cpp: takes its messages, prints how long they were under way, and draws a histogram.
//
//   latency_reader [FILE.svg [SEGMENT]]    latency.svg, "latency"
#include <shmds.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

struct summary {
  double mean = 0, deviation = 0, median = 0, percentile = 0;  // nanoseconds; the 99th percentile
};

/// Of latencies in order.
summary summarize(const std::vector<double>& sorted) {
  const auto count = static_cast<double>(sorted.size());
  const auto rank = [&](double part) { return sorted[static_cast<std::size_t>(part * (count - 1))]; };
  summary s;
  s.mean = std::accumulate(sorted.begin(), sorted.end(), 0.0) / count;
  for (const double latency : sorted) s.deviation += (latency - s.mean) * (latency - s.mean);
  s.deviation = std::sqrt(s.deviation / count);
  s.median = rank(0.5);
  s.percentile = rank(0.99);
  return s;
}

std::string text(const char* format, auto... values) {
  char line[400];
  std::snprintf(line, sizeof line, format, values...);
  return line;
}

std::string duration(double ns) {
  return ns < 1e3 ? text("%.3g ns", ns) : ns < 1e6 ? text("%.3g µs", ns / 1e3) : text("%.3g ms", ns / 1e6);
}

/// Both axes are logarithmic: ten bars to each power of ten of time, and powers of ten of messages.
void draw(const std::string& file, const std::vector<double>& sorted, const summary& of, std::size_t bytes) {
  constexpr int a_decade = 10;
  constexpr double left = 80, right = 780, top = 70, bottom = 380;
  const auto decade = [](double ns) { return std::log10(std::max(ns, 1.0)); };
  const int first = static_cast<int>(std::floor(decade(sorted.front())));
  const int last = std::max(static_cast<int>(std::ceil(decade(sorted.back()))), first + 1);
  std::vector<std::size_t> bars(static_cast<std::size_t>((last - first) * a_decade));
  for (const double latency : sorted) {
    const auto bar = static_cast<std::size_t>((decade(latency) - first) * a_decade);
    bars[std::min(bar, bars.size() - 1)]++;
  }
  const double decades = std::floor(std::log10(static_cast<double>(*std::ranges::max_element(bars)))) + 1;
  const auto x = [&](double log) { return left + (log - first) / (last - first) * (right - left); };
  // A bar for one message is a tenth of a power of ten high, so that it can be seen.
  const auto y = [&](double count) { return bottom - (std::log10(count) + 0.1) / (decades + 0.1) * (bottom - top); };

  std::ofstream svg(file);
  svg << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"820\" height=\"450\" viewBox=\"0 0 820 450\" "
         "font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"820\" height=\"450\" fill=\"white\"/>\n";
  svg << text("<text x=\"430\" y=\"28\" text-anchor=\"middle\" font-size=\"18\">One-way latency of %zu messages of %zu "
              "bytes</text>\n",
              sorted.size(), bytes);
  svg << "<text x=\"430\" y=\"50\" text-anchor=\"middle\" fill=\"#555\">mean " << duration(of.mean) << ", standard deviation "
      << duration(of.deviation) << ", median " << duration(of.median) << ", 99th percentile "
      << duration(of.percentile) << "</text>\n";
  for (double power = 0; power <= decades; power++) {
    const double at = y(std::pow(10, power));
    svg << text("<path d=\"M%g %gH%g\" stroke=\"#ddd\"/><text x=\"%g\" y=\"%g\" text-anchor=\"end\">%.0f</text>\n", left, at,
                right, left - 8, at + 4, std::pow(10, power));
  }
  for (std::size_t bar = 0; bar < bars.size(); bar++) {
    if (bars[bar] == 0) continue;
    const double from = x(first + static_cast<double>(bar) / a_decade), to = x(first + static_cast<double>(bar + 1) / a_decade);
    const double height = y(static_cast<double>(bars[bar]));
    svg << text("<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"#4878a8\"/>\n", from + 0.5, height,
                to - from - 1, bottom - height);
  }
  for (int power = first; power <= last; power++) {
    svg << text("<path d=\"M%g %gv6\" stroke=\"black\"/><text x=\"%g\" y=\"%g\" text-anchor=\"middle\">", x(power), bottom,
                x(power), bottom + 22)
        << duration(std::pow(10, power)) << "</text>\n";
  }
  for (const auto& [name, value, color] : {std::tuple("median", of.median, "#c03028"), {"99 %", of.percentile, "#e08020"}}) {
    svg << text("<path d=\"M%g %gV%g\" stroke=\"%s\" stroke-dasharray=\"5 3\"/><text x=\"%g\" y=\"%g\" fill=\"%s\">%s</text>\n",
                x(decade(value)), top - 2, bottom, color, x(decade(value)) + 4, top + 8, color, name);
  }
  svg << text("<path d=\"M%g %gV%gH%g\" fill=\"none\" stroke=\"black\"/>\n", left, top, bottom, right);
  svg << "<text x=\"430\" y=\"430\" text-anchor=\"middle\">time from sending to receiving (logarithmic)</text>\n"
         "<text x=\"24\" y=\"225\" text-anchor=\"middle\" transform=\"rotate(-90 24 225)\">messages (logarithmic)</text>\n"
         "</svg>\n";
  if (!svg.flush()) throw std::runtime_error("cannot write " + file);
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string file = argc > 1 ? argv[1] : "latency.svg", name = argc > 2 ? argv[2] : "latency";
  const auto segment = [&] {
    for (int looks = 0;; looks++) {
      try {
        return shmds::segment::open(name);
      } catch (const shmds::error& e) {
        if (e.status() != shmds::status::not_found || looks == 10'000) throw;
        std::this_thread::sleep_for(1ms);
      }
    }
  }();
  if (!segment.wait_for("messages", 10s)) throw std::runtime_error("nobody has created the queue");
  auto queue = shmds::byte_queue::open(segment, "messages");
  queue.set_spin(1ms);

  std::vector<double> latencies;
  std::size_t bytes = 0;
  while (const auto message = queue.receive_for(10s)) {
    const std::chrono::nanoseconds now = std::chrono::steady_clock::now().time_since_epoch();
    latencies.push_back(static_cast<double>((now - message->time()).count()));
    bytes = message->size();
  }
  if (latencies.empty() || !queue.ended()) throw std::runtime_error("the writer stopped in the middle");
  std::ranges::sort(latencies);
  const auto of = summarize(latencies);
  std::printf("received %zu messages of %zu bytes\n", latencies.size(), bytes);
  std::printf("mean %s, standard deviation %s, median %s, 99th percentile %s\n", duration(of.mean).c_str(),
              duration(of.deviation).c_str(), duration(of.median).c_str(), duration(of.percentile).c_str());
  draw(file, latencies, of, bytes);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "latency_reader: %s\n", e.what());
  return 1;
}

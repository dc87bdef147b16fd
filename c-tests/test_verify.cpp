// The C++ face of verifying.
#include "support.hpp"

#include <cstring>

namespace {

void findings_are_values() {
  const auto segment = shmds::segment::create(new_name(), {.size = 1 << 20, .exclusive = true});
  auto array = shmds::array<int>::create(segment, "a", {.count = 10});
  const auto sound = segment.verify(shmds::verify_when::at_rest);
  CHECK(sound.sound() && sound.clean() && sound.checked == 1 && sound.findings.empty());

  const std::uint64_t torn = 1;
  auto* bytes = const_cast<std::byte*>(segment.bytes().data());
  std::memcpy(bytes + segment.find("a")->offset, &torn, sizeof torn);
  CHECK(segment.verify().clean());
  const auto left = segment.verify(shmds::verify_when::at_rest);
  CHECK(left.sound() && !left.clean() && left.leftovers == 1 && left.findings.size() == 1);
  CHECK(left.findings[0].severity == shmds::severity::leftover && left.findings[0].kind == SHM_KIND_ARRAY);
  CHECK(left.findings[0].name == "a" && left.findings[0].sentence.find("torn") != std::string::npos);

  const std::uint32_t nobody = 5000;
  std::memcpy(bytes + segment.find("a")->offset + 8, &nobody, sizeof nobody);
  const auto broken = segment.verify();
  CHECK(!broken.sound() && broken.damage == 1);
  CHECK(broken.findings[0].severity == shmds::severity::damage);
  CHECK(broken.findings[0].sentence.find("participant 5000") != std::string::npos);
}

void what_cannot_be_looked_at_throws() {
  throws([] { (void)shmds::segment().verify(); }, shmds::status::invalid, "segment");
  throws([] { (void)shmds::speculo_area::verify("shmds-test-none"); }, shmds::status::not_found, "shmds-test-none");
}

void an_area_is_verified_while_it_is_written() {
  const std::string name = std::string(new_name()).substr(1) + "-area";
  auto area = shmds::speculo_area::create(name);
  const auto found = shmds::speculo_area::verify(name, shmds::verify_when::at_rest);
  CHECK(found.clean() && found.checked == 0);
  area.unlink();
}

}  // namespace

int main() {
  support_start(60);
  RUN(findings_are_values);
  RUN(what_cannot_be_looked_at_throws);
  RUN(an_area_is_verified_while_it_is_written);
  return 0;
}

// What the C++ tests share, beside what they share with C.
#pragma once

#include "support.h"

#include "shmds.hpp"

#include <string_view>

/// The call throws this status, and the sentence has this in it.
inline void throws(auto call, shmds::status status, std::string_view part) {
  try {
    call();
  } catch (const shmds::error& e) {
    if (e.status() != status) FAIL("threw %d: %s", static_cast<int>(e.status()), e.what());
    if (std::string_view(e.what()).find(part) == std::string_view::npos) FAIL("lacks it: %s", e.what());
    return;
  }
  FAIL("did not throw");
}

# shmds_strict(<target> <shmds library>): how our own programs are built. Headers are not SYSTEM here, so that a warning
# in them is an error too; assert stays on in every build type.
find_package(Threads REQUIRED)
function(shmds_strict target library)
  target_link_libraries(${target} PRIVATE ${library} Threads::Threads)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Werror -UNDEBUG)
  set_target_properties(${target} PROPERTIES
    C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF
    CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF
    NO_SYSTEM_FROM_IMPORTED ON)
endfunction()

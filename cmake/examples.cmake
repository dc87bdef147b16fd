# Every C and C++ file in examples/ is a program of its own: hello.c becomes hello_c, beside hello_cpp and cargo's hello.
include(cmake/warnings.cmake)
file(GLOB examples CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/examples/*.c" "${PROJECT_SOURCE_DIR}/examples/*.cpp")
foreach(source IN LISTS examples)
  cmake_path(GET source FILENAME file)
  string(REPLACE "." "_" name "${file}")
  add_executable(example_${name} "${source}")
  shmds_strict(example_${name} shmds::shmds)
  set_target_properties(example_${name} PROPERTIES
    OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/examples")
endforeach()

# Those that need no second program are tests; and two that are each other's.
if(SHMDS_BUILD_TESTS)
  add_test(NAME example_blocks COMMAND example_blocks_cpp)
  set_tests_properties(example_blocks PROPERTIES TIMEOUT 60 PASS_REGULAR_EXPRESSION "^read 200000 numbers from 196 blocks\n$")
  add_test(NAME example_latency WORKING_DIRECTORY "${PROJECT_BINARY_DIR}/examples"
    COMMAND sh -c "./latency_writer_cpp 2000 64 20000 latency-$$ & ./latency_reader_cpp latency.svg latency-$$ && wait $! && grep -c '</svg>' latency.svg")
  set_tests_properties(example_latency PROPERTIES TIMEOUT 60 PASS_REGULAR_EXPRESSION "99th percentile [0-9].*s\n1\n$")
endif()

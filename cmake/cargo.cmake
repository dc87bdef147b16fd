# Builds the library through cargo and stages it in ${PROJECT_BINARY_DIR}/lib as it will be installed, so that programs
# linked in the build tree find libshmds.so under its SONAME.
find_program(SHMDS_CARGO cargo HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin" DOC "cargo, which builds libshmds")
if(NOT SHMDS_CARGO)
  message(FATAL_ERROR "libshmds is built by cargo, which was not found: see https://rustup.rs, or set SHMDS_CARGO")
endif()
set(SHMDS_CARGO_DIR "${PROJECT_BINARY_DIR}/cargo" CACHE PATH "Cargo's target directory")
set(SHMDS_RUST_TARGET "" CACHE STRING "Rust target triple, where it is not cargo's default")

set(cargo_arguments build --locked --release --lib --target-dir "${SHMDS_CARGO_DIR}")
set(cargo_output "${SHMDS_CARGO_DIR}/release")
if(SHMDS_RUST_TARGET)
  list(APPEND cargo_arguments --target "${SHMDS_RUST_TARGET}")
  set(cargo_output "${SHMDS_CARGO_DIR}/${SHMDS_RUST_TARGET}/release")
endif()
set(SHMDS_STAGE "${PROJECT_BINARY_DIR}/lib")
set(shared_file libshmds.so.${PROJECT_VERSION})
set(soname libshmds.so.${SHMDS_ABI})
file(MAKE_DIRECTORY "${SHMDS_STAGE}")

# Runs on every build: cargo knows best what is out of date, and files that did not change are not copied.
add_custom_target(shmds_build ALL
  COMMAND "${CMAKE_COMMAND}" -E env --unset=CARGO_BUILD_TARGET "${SHMDS_CARGO}" ${cargo_arguments}
  COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${cargo_output}/libshmds.a" "${SHMDS_STAGE}/libshmds.a"
  COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${cargo_output}/libshmds.so" "${SHMDS_STAGE}/${shared_file}"
  COMMAND "${CMAKE_COMMAND}" -E create_symlink ${shared_file} "${SHMDS_STAGE}/${soname}"
  COMMAND "${CMAKE_COMMAND}" -E create_symlink ${soname} "${SHMDS_STAGE}/libshmds.so"
  BYPRODUCTS
    "${SHMDS_STAGE}/libshmds.a" "${SHMDS_STAGE}/${shared_file}" "${SHMDS_STAGE}/${soname}" "${SHMDS_STAGE}/libshmds.so"
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
  COMMENT "Building libshmds with cargo"
  USES_TERMINAL VERBATIM)

include("${CMAKE_CURRENT_LIST_DIR}/shmds-targets.cmake")
shmds_import_targets("${SHMDS_STAGE}" "${PROJECT_SOURCE_DIR}/include" ${PROJECT_VERSION} ${SHMDS_ABI} GLOBAL)
add_dependencies(shmds::shmds shmds_build)
add_dependencies(shmds::shmds_static shmds_build)

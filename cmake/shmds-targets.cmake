# What the targets of libshmds are, in the build tree and in the installed package alike.

# System libraries behind libshmds.a, as rustc reports them; scripts/check-native-libs.sh compares.
set(SHMDS_SYSTEM_LIBRARIES gcc_s util rt pthread m dl c)

# shmds_import_targets(<library directory> <include directory> <version> <ABI number> [GLOBAL])
function(shmds_import_targets libdir includedir version abi)
  add_library(shmds::shmds SHARED IMPORTED ${ARGN})
  set_target_properties(shmds::shmds PROPERTIES
    IMPORTED_LOCATION "${libdir}/libshmds.so.${version}"
    IMPORTED_SONAME "libshmds.so.${abi}"
    INTERFACE_INCLUDE_DIRECTORIES "${includedir}")
  add_library(shmds::shmds_static STATIC IMPORTED ${ARGN})
  set_target_properties(shmds::shmds_static PROPERTIES
    IMPORTED_LOCATION "${libdir}/libshmds.a"
    IMPORTED_LINK_INTERFACE_LANGUAGES C
    INTERFACE_INCLUDE_DIRECTORIES "${includedir}"
    INTERFACE_LINK_LIBRARIES "${SHMDS_SYSTEM_LIBRARIES}")
endfunction()

# Installs the library, its headers, a CMake package and a pkg-config file. Every path in them is relative to the file
# that says it, so the prefix can be moved.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/shmds")
set(generated "${PROJECT_BINARY_DIR}/package")

install(PROGRAMS "${SHMDS_STAGE}/libshmds.so.${PROJECT_VERSION}" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES "${SHMDS_STAGE}/libshmds.so.${SHMDS_ABI}" "${SHMDS_STAGE}/libshmds.so" "${SHMDS_STAGE}/libshmds.a"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES "${PROJECT_SOURCE_DIR}/include/shmds.h" "${PROJECT_SOURCE_DIR}/include/shmds.hpp"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/shmds-config.cmake.in" "${generated}/shmds-config.cmake"
  INSTALL_DESTINATION "${package_dir}" PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file("${generated}/shmds-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_LIST_DIR}/shmds-targets.cmake"
  "${generated}/shmds-config.cmake" "${generated}/shmds-config-version.cmake" DESTINATION "${package_dir}")

file(RELATIVE_PATH pc_to_prefix "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
file(RELATIVE_PATH pc_libdir "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_LIBDIR}")
file(RELATIVE_PATH pc_includedir "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
list(TRANSFORM SHMDS_SYSTEM_LIBRARIES PREPEND "-l" OUTPUT_VARIABLE pc_system_libraries)
list(JOIN pc_system_libraries " " pc_system_libraries)
configure_file("${CMAKE_CURRENT_LIST_DIR}/shmds.pc.in" "${generated}/shmds.pc" @ONLY)
install(FILES "${generated}/shmds.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

# `cmake --install`: library, headers, models, find_package(edgeface) and pkg-config.
include(CMakePackageConfigHelpers)

file(GLOB _headers ${CMAKE_CURRENT_SOURCE_DIR}/include/edgeface/*.h)
file(GLOB _kernels ${CMAKE_CURRENT_SOURCE_DIR}/../edgeface/cuda/*.h)
install(TARGETS edgeface EXPORT edgefaceTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/edgeface)
install(FILES ${_kernels} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/edgeface/cuda)
install(FILES ${EDGEFACE_MODELS}/detector.onnx ${EDGEFACE_MODELS}/attributes.onnx
  DESTINATION ${CMAKE_INSTALL_DATADIR}/edgeface)

set_target_properties(edgeface PROPERTIES INSTALL_RPATH "$ORIGIN" INSTALL_RPATH_USE_LINK_PATH ON)
if(ONNXRuntime_TO_INSTALL)
  install(FILES ${ONNXRuntime_TO_INSTALL} DESTINATION ${CMAKE_INSTALL_LIBDIR} RENAME ${ONNXRuntime_SONAME})
endif()

set(_config ${CMAKE_INSTALL_LIBDIR}/cmake/edgeface)
install(EXPORT edgefaceTargets NAMESPACE edgeface:: DESTINATION ${_config})
configure_package_config_file(cmake/edgefaceConfig.cmake.in edgefaceConfig.cmake INSTALL_DESTINATION ${_config}
  PATH_VARS CMAKE_INSTALL_DATADIR)
write_basic_package_version_file(edgefaceConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/edgefaceConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/edgefaceConfigVersion.cmake
  DESTINATION ${_config})

configure_file(cmake/edgeface.pc.in edgeface.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/edgeface.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# ONNX Runtime's C API: target ONNXRuntime::ONNXRuntime. Headers and library are looked for under ONNXRUNTIME_ROOT and in
# the system's places. A Python wheel holds the library alone: with ONNXRUNTIME_ROOT at its onnxruntime/capi folder, say
# where the headers are with ONNXRUNTIME_INCLUDE_DIR.
find_path(ONNXRUNTIME_INCLUDE_DIR onnxruntime_c_api.h
  HINTS ${ONNXRUNTIME_ROOT} ENV ONNXRUNTIME_ROOT
  PATH_SUFFIXES include include/onnxruntime include/onnxruntime/core/session onnxruntime onnxruntime/core/session)
find_library(ONNXRUNTIME_LIBRARY onnxruntime
  HINTS ${ONNXRUNTIME_ROOT} ENV ONNXRUNTIME_ROOT
  PATH_SUFFIXES lib lib64)
if(NOT ONNXRUNTIME_LIBRARY)  # a wheel's library has no name without a version
  foreach(_root "${ONNXRUNTIME_ROOT}" "$ENV{ONNXRUNTIME_ROOT}")
    file(GLOB _candidates "${_root}/libonnxruntime.so.*" "${_root}/lib/libonnxruntime.so.*")
    if(_root AND _candidates)
      list(GET _candidates 0 _first)
      set(ONNXRUNTIME_LIBRARY "${_first}" CACHE FILEPATH "ONNX Runtime's shared library" FORCE)
    endif()
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(ONNXRuntime REQUIRED_VARS ONNXRUNTIME_LIBRARY ONNXRUNTIME_INCLUDE_DIR)
mark_as_advanced(ONNXRUNTIME_LIBRARY ONNXRUNTIME_INCLUDE_DIR)

if(ONNXRuntime_FOUND AND NOT TARGET ONNXRuntime::ONNXRuntime)
  file(REAL_PATH "${ONNXRUNTIME_LIBRARY}" _library)
  get_filename_component(_folder "${_library}" DIRECTORY)
  string(REGEX MATCH "libonnxruntime\\.so\\.[0-9]+" _soname "${_library}")
  if(_soname AND NOT EXISTS "${_folder}/${_soname}")  # the wheel again: the loader asks for this name
    set(ONNXRuntime_TO_INSTALL "${_library}")
    set(ONNXRuntime_SONAME "${_soname}")
    file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/onnxruntime")
    file(CREATE_LINK "${_library}" "${CMAKE_BINARY_DIR}/onnxruntime/${_soname}" SYMBOLIC)
    set(_library "${CMAKE_BINARY_DIR}/onnxruntime/${_soname}")
  endif()
  add_library(ONNXRuntime::ONNXRuntime SHARED IMPORTED)
  set_target_properties(ONNXRuntime::ONNXRuntime PROPERTIES
    IMPORTED_LOCATION "${_library}"
    IMPORTED_SONAME "${_soname}"
    INTERFACE_INCLUDE_DIRECTORIES "${ONNXRUNTIME_INCLUDE_DIR}")
endif()

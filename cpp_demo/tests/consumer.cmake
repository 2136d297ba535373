# Installs the build into a folder of its own, then builds the example there by find_package and by pkg-config and runs both
# (with MODELS, the tiny ones, where the shipped models do not run).
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE _failed OUTPUT_VARIABLE _out ERROR_VARIABLE _out)
  if(_failed)
    message(FATAL_ERROR "${ARGN}\n${_out}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/installed)
run(${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/build -DCMAKE_PREFIX_PATH=${WORK}/installed)
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/build/consumer ${MODELS})

file(GLOB_RECURSE _description ${WORK}/installed/*/edgeface.pc)
get_filename_component(_folder ${_description} DIRECTORY)
find_program(_pkg_config pkg-config)
if(_pkg_config)
  set(_query env PKG_CONFIG_PATH=${_folder} ${_pkg_config} --define-prefix edgeface)
  execute_process(COMMAND ${_query} --cflags --libs OUTPUT_VARIABLE _flags OUTPUT_STRIP_TRAILING_WHITESPACE)
  separate_arguments(_flags)
  get_filename_component(_libraries ${_folder} DIRECTORY)
  run(cc -DMODELS="${WORK}/installed/share/edgeface" ${SOURCE}/main.c -o ${WORK}/by_pkg_config ${_flags}
    -Wl,-rpath,${_libraries})
  run(${WORK}/by_pkg_config ${MODELS})
endif()

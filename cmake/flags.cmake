# i2i_flags: what every target of ours compiles with. i2i_embed: a text file as a C++ string.
add_library(i2i_flags INTERFACE)
target_include_directories(i2i_flags INTERFACE "${CMAKE_SOURCE_DIR}" "${CMAKE_BINARY_DIR}/generated")
target_compile_options(i2i_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror)
target_link_libraries(i2i_flags INTERFACE libtorch Threads::Threads)
# A hundred programs are linked: LLVM's linker takes a quarter of GNU's time.
find_program(LLD ld.lld)
if(LLD)
  target_link_options(i2i_flags INTERFACE -fuse-ld=lld)
endif()
if(I2I_SANITIZE)
  target_compile_options(i2i_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(i2i_flags INTERFACE -fsanitize=address,undefined)
  # The preset debug takes clang: in two thirds of g++'s time, with warnings that g++ has not, and with the counters that
  # libFuzzer steers by, so that one build serves tests and fuzz targets.
  if(CMAKE_CXX_COMPILER_ID STREQUAL Clang)
    set(I2I_COUNTERS -fsanitize=fuzzer-no-link)
    target_compile_definitions(i2i_flags INTERFACE __SANITIZE_ADDRESS__=1)  # g++ says so by itself, clang does not
  endif()
endif()

# One precompiled header for all targets that see tensors: a file with libtorch's headers costs 20 s without it. Not in it:
# torch/nn, which five files of the reference need and which would cost every other file 2 s.
add_library(i2i_pch STATIC "${CMAKE_SOURCE_DIR}/cmake/pch.cpp")
target_link_libraries(i2i_pch PRIVATE i2i_flags)
target_compile_options(i2i_pch PRIVATE ${I2I_COUNTERS})
if(I2I_PCH)
  target_precompile_headers(i2i_pch PRIVATE
    <ATen/ATen.h> "${CMAKE_SOURCE_DIR}/cmake/json.h" <fmt/format.h> <algorithm> <map> <optional> <string> <vector>)
endif()
add_library(json_functions STATIC "${CMAKE_SOURCE_DIR}/cmake/json.cpp")
target_link_libraries(json_functions PRIVATE i2i_flags)

# i2i_library(NAME sources...) / i2i_executable(NAME sources...): a target with our flags and the shared precompiled header.
function(i2i_configure_target name)
  target_link_libraries(${name} PUBLIC i2i_flags json_functions)
  target_compile_options(${name} PRIVATE ${I2I_COUNTERS})
  if(I2I_PCH)
    target_precompile_headers(${name} REUSE_FROM i2i_pch)
  endif()
endfunction()
function(i2i_library name)
  add_library(${name} STATIC ${ARGN})
  add_library(i2i::${name} ALIAS ${name})
  i2i_configure_target(${name})
endfunction()
function(i2i_executable name)
  add_executable(${name} ${ARGN})
  i2i_configure_target(${name})
endfunction()

# i2i_light(TARGET): compiled with -O1 in place of -O3, for what is compiled often and takes no time when it runs.
function(i2i_light name)
  target_compile_options(${name} PRIVATE -O1)
endfunction()

# i2i_nvtx(FILES...): the files' stages become NVTX ranges where the toolkit's headers are; header-only, nothing to link.
find_path(NVTX_HEADERS nvtx3/nvtx3.hpp PATHS /usr/local/cuda/include)
function(i2i_nvtx)
  if(NVTX_HEADERS)
    set_source_files_properties(${ARGN} PROPERTIES COMPILE_DEFINITIONS I2I_NVTX
      COMPILE_OPTIONS "-isystem;${NVTX_HEADERS}")
  endif()
endfunction()

# i2i_embed(TARGET FILE SYMBOL): makes "generated/SYMBOL.h" with `inline constexpr std::string_view SYMBOL` holding the file.
function(i2i_embed target file symbol)
  set(output "${CMAKE_BINARY_DIR}/generated/${symbol}.h")
  add_custom_command(OUTPUT "${output}"
    COMMAND ${CMAKE_COMMAND} -DINPUT=${CMAKE_CURRENT_SOURCE_DIR}/${file} -DOUTPUT=${output} -DSYMBOL=${symbol}
            -P "${CMAKE_SOURCE_DIR}/cmake/embed.cmake"
    DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${CMAKE_SOURCE_DIR}/cmake/embed.cmake" VERBATIM)
  add_custom_target(generate_${symbol} DEPENDS "${output}")
  add_dependencies(${target} generate_${symbol})
  add_dependencies(generated_headers generate_${symbol})
endfunction()
# All embedded files at once, for tools that read sources without building them (clang-tidy).
add_custom_target(generated_headers)

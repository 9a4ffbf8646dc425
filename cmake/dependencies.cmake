# Everything borrowed, as targets. libtorch comes from .deps (ci/setup), the rest from Debian.
set(TORCH_ROOT "${I2I_DEPS}/torch")
if(NOT EXISTS "${TORCH_ROOT}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "libtorch is missing under ${TORCH_ROOT}: run ci/setup first")
endif()

# libtorch_cpu alone: the wheel's own CMake package would ask for the whole CUDA stack.
add_library(libtorch INTERFACE)
target_include_directories(libtorch SYSTEM INTERFACE
  "${TORCH_ROOT}/include" "${TORCH_ROOT}/include/torch/csrc/api/include")
target_link_directories(libtorch INTERFACE "${TORCH_ROOT}/lib")
target_link_libraries(libtorch INTERFACE torch_cpu c10)
target_link_options(libtorch INTERFACE
  "-Wl,--allow-shlib-undefined" "-Wl,-rpath,${TORCH_ROOT}/lib" "-Wl,--disable-new-dtags")
# fmt 12 stands in libtorch's include folder, before any other, so that no file sees two versions.
add_library(fmt_functions STATIC cmake/fmt.cpp)
target_include_directories(fmt_functions SYSTEM PRIVATE "${TORCH_ROOT}/include")
set_target_properties(fmt_functions PROPERTIES POSITION_INDEPENDENT_CODE ON)
target_link_libraries(libtorch INTERFACE fmt_functions)

find_package(Threads REQUIRED)
find_package(OpenCV 4 REQUIRED COMPONENTS core imgproc imgcodecs)
add_library(opencv INTERFACE)
target_include_directories(opencv SYSTEM INTERFACE ${OpenCV_INCLUDE_DIRS})
target_link_libraries(opencv INTERFACE opencv_core opencv_imgproc opencv_imgcodecs)

find_package(CURL REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc data)
find_package(SQLite3 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)

# Kernels over rows of channels: each has a file that compiles it for the CPU and a test. Included by CMakeLists.txt.
set(ROW_KERNELS group_norm_silu layer_norm)
list(TRANSFORM ROW_KERNELS PREPEND emulated_ OUTPUT_VARIABLE ROW_KERNEL_FILES)
list(TRANSFORM ROW_KERNEL_FILES APPEND .cpp)
add_library(emulated_row_kernels STATIC ${ROW_KERNEL_FILES})
target_link_libraries(emulated_row_kernels PUBLIC cuda_on_cpu_runtime)
target_compile_definitions(emulated_row_kernels PRIVATE I2I_CUDA_ON_CPU)
target_compile_options(emulated_row_kernels PRIVATE -O1 -g1 -fno-pie -fno-strict-aliasing -fsanitize=thread
  -Wno-unknown-pragmas)
foreach(kernel ${ROW_KERNELS})
  i2i_test(${kernel}_test LIBRARIES emulated_row_kernels LABELS unit)
endforeach()

# Kernels over rows of channels and pixels: each has a file that compiles it for the CPU and a test. Included by
# CMakeLists.txt.
set(ROW_KERNELS group_norm_silu layer_norm pixels unet_input concat_channels conv_epilogue timestep_embedding)
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
i2i_test(guided_step_test LIBRARIES emulated_kernels LABELS unit)
# Host code alone.
i2i_test(folded_upsample_test LIBRARIES i2i_flags LABELS unit)

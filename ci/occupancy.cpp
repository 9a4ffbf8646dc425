// Occupancy without a GPU: NVIDIA's calculator from the toolkit, with device properties from the CUDA programming
// guide's table of compute capabilities. Reads lines of "threads registers static-shared dynamic-shared architecture",
// prints for each the GPUs that run this architecture's code, as "GPU=percent:what-limits-it". Called by ci/kernels.
#include <cuda_occupancy.h>

#include <cstdio>
#include <string>

struct Gpu {
  const char* name;
  int runs;  // code of this architecture
  int major, minor;
  size_t shared_of_multiprocessor, shared_of_block;
  int threads_of_multiprocessor;
};

static std::string percent(const Gpu& gpu, int threads, int registers, size_t fixed, size_t dynamic) {
  cudaOccDeviceProp device;
  device.computeMajor = gpu.major;
  device.computeMinor = gpu.minor;
  device.maxThreadsPerBlock = 1024;
  device.maxThreadsPerMultiprocessor = gpu.threads_of_multiprocessor;
  device.regsPerBlock = device.regsPerMultiprocessor = 65536;
  device.warpSize = 32;
  device.sharedMemPerBlock = 49152;
  device.sharedMemPerMultiprocessor = gpu.shared_of_multiprocessor;
  device.sharedMemPerBlockOptin = gpu.shared_of_block;
  device.reservedSharedMemPerBlock = 1024;
  device.numSms = 1;
  cudaOccFuncAttributes kernel;
  kernel.maxThreadsPerBlock = threads;
  kernel.numRegs = registers;
  kernel.sharedSizeBytes = fixed;
  kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
  kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  kernel.maxDynamicSharedSizeBytes = dynamic;
  kernel.numBlockBarriers = 1;
  cudaOccDeviceState state;
  cudaOccResult result;
  if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, dynamic) != CUDA_OCC_SUCCESS)
    return "0:nothing-is-known";
  const unsigned limits = result.limitingFactors;
  const char* what = limits & OCC_LIMIT_SHARED_MEMORY ? "shared-memory"
                     : limits & OCC_LIMIT_REGISTERS   ? "registers"
                     : limits & OCC_LIMIT_WARPS       ? "threads"
                                                      : "blocks";
  const int percent = 100 * result.activeBlocksPerMultiprocessor * threads / gpu.threads_of_multiprocessor;
  return std::to_string(percent) + ":" + what;
}

int main() {
  constexpr Gpu kGpus[] = {{"A100", 80, 8, 0, 167936, 166912, 2048},
                           {"H100", 90, 9, 0, 233472, 232448, 2048},
                           {"L4", 80, 8, 9, 102400, 101376, 1536},
                           {"RTX4090", 80, 8, 9, 102400, 101376, 1536}};
  int threads, registers, architecture;
  size_t fixed, dynamic;
  while (std::scanf("%d %d %zu %zu %d", &threads, &registers, &fixed, &dynamic, &architecture) == 5) {
    for (const Gpu& gpu : kGpus) {
      if (gpu.runs == architecture)
        std::printf("%s=%s ", gpu.name, percent(gpu, threads, registers, fixed, dynamic).c_str());
    }
    std::printf("\n");
  }
}

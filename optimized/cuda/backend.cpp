#include "optimized/cuda/backend.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>

#include "interface/error.h"

namespace i2i {
namespace {

CudaBackend*& emulated_backend() {
  static CudaBackend* backend = nullptr;
  return backend;
}

/// The folder of the running program: the shared object lies beside it.
std::filesystem::path program_folder() {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
}

struct Loaded {
  CudaBackend* backend = nullptr;
  std::string missing;
};

Loaded load_gpu_backend() {
  if (!std::filesystem::exists("/dev/nvidiactl")) return {nullptr, "there is no NVIDIA GPU here (/dev/nvidiactl)"};
  const std::filesystem::path object = program_folder() / "libi2i_cuda.so";
  if (!std::filesystem::exists(object))
    return {nullptr, fmt::format("{} is not there: build the cuda preset", object.string())};
  // libtorch's CUDA half first, by name, so that its operators are registered and the message names what is absent.
  for (const char* library : {"libc10_cuda.so", "libtorch_cuda.so"}) {
    if (dlopen(library, RTLD_NOW | RTLD_GLOBAL) == nullptr)
      return {nullptr, fmt::format("libtorch's CUDA half cannot be loaded: {}", dlerror())};
  }
  void* const loaded = dlopen(object.c_str(), RTLD_NOW);
  if (loaded == nullptr) return {nullptr, dlerror()};
  const auto make = reinterpret_cast<CudaBackend* (*)()>(dlsym(loaded, "i2i_make_cuda_backend"));
  if (make == nullptr) return {nullptr, dlerror()};
  try {
    return {make(), ""};
  } catch (const std::exception& error) {
    return {nullptr, error.what()};
  }
}

const Loaded& gpu_backend() {
  static const Loaded loaded = load_gpu_backend();
  return loaded;
}

}  // namespace

void provide_emulated_cuda_backend(CudaBackend* backend) { emulated_backend() = backend; }

std::string missing_for_cuda(const std::string& device) {
  if (device == "cuda") return gpu_backend().missing;
  return emulated_backend() != nullptr
             ? ""
             : "this program has no emulated kernels: build and run the target i2i_emulated instead";
}

CudaBackend& cuda_backend(const std::string& device) {
  if (const std::string missing = missing_for_cuda(device); !missing.empty())
    throw Error(ErrorCode::kUsage, fmt::format("device {}: {}", device, missing));
  return device == "cuda" ? *gpu_backend().backend : *emulated_backend();
}

}  // namespace i2i

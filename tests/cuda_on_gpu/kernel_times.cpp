// Times our kernels on the shapes of SDXL at 1024 and SD 1.5 at 512 pixels (two rows of guidance, bf16), with CUDA
// events; the second-level cache is overwritten before each run. Prints a JSON line a case: name, the median, the
// lowest and the highest microseconds, bytes and floating-point operations, as the kernels' headers count them. Needs a
// GPU; `--list` prints the same lines without one, all times 0. Numbers are never checked here: the tests come first.
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "optimized/ops/cuda/attention.h"
#include "optimized/ops/cuda/concat_channels.h"
#include "optimized/ops/cuda/conv_epilogue.h"
#include "optimized/ops/cuda/cross_attention.h"
#include "optimized/ops/cuda/gated_gelu.h"
#include "optimized/ops/cuda/geglu.h"
#include "optimized/ops/cuda/group_norm_silu.h"
#include "optimized/ops/cuda/interleave_upsampled.h"
#include "optimized/ops/cuda/layer_norm.h"
#include "optimized/ops/cuda/linear.h"
#include "optimized/ops/cuda/vae_attention.h"

namespace i2i::cuda {
namespace {

constexpr auto kType = ElementType::kBFloat16;
constexpr double kElement = 2;  // bytes
constexpr int kRuns = 20;

void require(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "kernel_times: %s: %s\n", what.c_str(), cudaGetErrorString(error));
  std::exit(1);
}

/// Device memory for one case, zero-filled: times of these kernels do not depend on the values (but a GPU's clock does
/// a little, upwards).
struct Memory {
  std::vector<void*> pieces;
  template <typename T = void>
  T* of(double bytes) {
    void* piece = nullptr;
    require(cudaMalloc(&piece, static_cast<std::size_t>(bytes)), "cudaMalloc");
    require(cudaMemset(piece, 0, static_cast<std::size_t>(bytes)), "cudaMemset");
    pieces.push_back(piece);
    return static_cast<T*>(piece);
  }
  ~Memory() {
    for (void* piece : pieces) cudaFree(piece);
  }
};

struct Case {
  std::string name;
  double bytes, flops;
  std::function<std::function<cudaError_t()>(Memory&)> prepare;
};

Case group_norm_case(int images, int pixels, int channels) {
  const double elements = double(images) * pixels * channels;
  return {"group_norm_silu " + std::to_string(images) + "x" + std::to_string(pixels) + "x" + std::to_string(channels),
          2 * elements * kElement, 0, [=](Memory& memory) {
            GroupNormSilu call{};
            call.input = memory.of(elements * kElement);
            call.type = kType;
            call.weight = memory.of<float>(channels * 4.0);
            call.bias = memory.of<float>(channels * 4.0);
            call.out = memory.of(elements * kElement);
            call.images = images;
            call.pixels = pixels;
            call.channels = channels;
            call.groups = 32;
            call.eps = 1e-5f;
            call.silu = true;
            call.workspace = memory.of<float>(double(group_norm_silu_workspace_bytes(call)) + 4);
            return [=] { return group_norm_silu(call, nullptr); };
          }};
}

Case layer_norm_case(int rows, int channels) {
  const double elements = double(rows) * channels;
  return {"layer_norm " + std::to_string(rows) + "x" + std::to_string(channels), 2 * elements * kElement, 0,
          [=](Memory& memory) {
            LayerNorm call{};
            call.input = memory.of(elements * kElement);
            call.type = kType;
            call.weight = memory.of<float>(channels * 4.0);
            call.bias = memory.of<float>(channels * 4.0);
            call.out = memory.of(elements * kElement);
            call.rows = rows;
            call.channels = channels;
            call.eps = 1e-5f;
            return [=] { return layer_norm(call, nullptr); };
          }};
}

Case attention_case(const char* name, int images, int tokens, int heads, int head_size) {
  const double elements = double(images) * tokens * heads * head_size;
  return {std::string(name) + " " + std::to_string(images) + "x" + std::to_string(tokens) + "x" +
              std::to_string(heads) + "x" + std::to_string(head_size),
          4 * elements * kElement, 4 * elements * tokens, [=](Memory& memory) {
            const Attention call = self_attention_of(memory.of(3 * elements * kElement), memory.of(elements * kElement),
                                                     kType, images, tokens, heads, head_size, false);
            return [=] { return head_size == 512 ? vae_attention(call, nullptr) : attention(call, nullptr); };
          }};
}

Case cross_attention_case(int images, int tokens, int heads, int head_size) {
  const double elements = double(images) * tokens * heads * head_size, keys = 77;
  const double text = 2.0 * images * keys * heads * head_size;
  return {"cross_attention " + std::to_string(images) + "x" + std::to_string(tokens) + "x" + std::to_string(heads) +
              "x" + std::to_string(head_size),
          (2 * elements + text) * kElement, 4 * elements * keys, [=](Memory& memory) {
            const Attention call =
                cross_attention_of(memory.of(elements * kElement), memory.of(text * kElement),
                                   memory.of(elements * kElement), kType, images, images, tokens, 77, heads, head_size);
            return [=] { return cross_attention(call, nullptr); };
          }};
}

/// `gated`: geglu, whose product is twice as wide as its output.
Case product_case(bool gated, int rows, int in_channels, int out_channels) {
  const double in = double(rows) * in_channels, out = double(rows) * out_channels;
  const double weights = double(in_channels) * out_channels * (gated ? 2 : 1);
  return {std::string(gated ? "geglu " : "linear ") + std::to_string(rows) + "x" + std::to_string(in_channels) + "x" +
              std::to_string(out_channels),
          (in + weights + out) * kElement, 2 * rows * weights, [=](Memory& memory) {
            const Linear call{memory.of(in * kElement),
                              memory.of(weights * kElement),
                              memory.of(out_channels * 2 * kElement),
                              nullptr,
                              memory.of(out * kElement),
                              kType,
                              rows,
                              in_channels,
                              out_channels,
                              Activation::kNone};
            return [=] { return gated ? geglu(call, nullptr) : linear(call, nullptr); };
          }};
}

Case gated_gelu_case(int rows, int channels) {
  const double elements = double(rows) * channels;
  return {
      "gated_gelu " + std::to_string(rows) + "x" + std::to_string(channels), 3 * elements * kElement, 0,
      [=](Memory& memory) {
        const GatedGelu call{memory.of(2 * elements * kElement), memory.of(elements * kElement), kType, rows, channels};
        return [=] { return gated_gelu(call, nullptr); };
      }};
}

Case epilogue_case(int images, int pixels, int channels) {
  const double elements = double(images) * pixels * channels;
  return {"conv_epilogue " + std::to_string(images) + "x" + std::to_string(pixels) + "x" + std::to_string(channels),
          3 * elements * kElement, 0, [=](Memory& memory) {
            const ConvEpilogue call{memory.of(elements * kElement),
                                    memory.of(channels * kElement),
                                    memory.of(elements * kElement),
                                    memory.of(elements * kElement),
                                    kType,
                                    images,
                                    1,
                                    pixels,
                                    channels,
                                    false};
            return [=] { return conv_epilogue(call, nullptr); };
          }};
}

Case interleave_case(int images, int height, int width, int channels) {
  const double elements = 4.0 * images * height * width * channels;
  return {"interleave_upsampled " + std::to_string(images) + "x" + std::to_string(height) + "x" +
              std::to_string(width) + "x" + std::to_string(channels),
          2 * elements * kElement, 0, [=](Memory& memory) {
            const InterleaveUpsampled call{memory.of(4.0 * images * (height + 1) * (width + 1) * channels * kElement),
                                           memory.of(channels * kElement),
                                           nullptr,
                                           memory.of(elements * kElement),
                                           kType,
                                           images,
                                           1,
                                           height,
                                           width,
                                           channels};
            return [=] { return interleave_upsampled(call, nullptr); };
          }};
}

Case concat_case(int rows, int a, int b) {
  const double elements = double(rows) * (a + b);
  return {"concat_channels " + std::to_string(rows) + "x" + std::to_string(a) + "+" + std::to_string(b),
          2 * elements * kElement, 0, [=](Memory& memory) {
            const ConcatChannels call{memory.of(double(rows) * a * kElement),
                                      memory.of(double(rows) * b * kElement),
                                      memory.of(elements * kElement),
                                      kType,
                                      rows,
                                      a,
                                      b};
            return [=] { return concat_channels(call, nullptr); };
          }};
}

std::vector<Case> all_cases() {
  return {group_norm_case(2, 128 * 128, 320),
          group_norm_case(2, 64 * 64, 640),
          group_norm_case(2, 32 * 32, 1280),
          group_norm_case(1, 1024 * 1024, 128),
          layer_norm_case(2 * 4096, 640),
          layer_norm_case(2 * 1024, 1280),
          attention_case("attention", 2, 4096, 10, 64),
          attention_case("attention", 2, 1024, 20, 64),
          attention_case("attention", 2, 4096, 8, 40),
          attention_case("attention", 2, 1024, 8, 80),
          attention_case("vae_attention", 1, 128 * 128, 1, 512),
          cross_attention_case(2, 4096, 10, 64),
          cross_attention_case(2, 1024, 20, 64),
          cross_attention_case(2, 4096, 8, 40),
          product_case(true, 2 * 4096, 640, 2560),
          product_case(true, 2 * 1024, 1280, 5120),
          gated_gelu_case(2 * 4096, 2560),
          gated_gelu_case(2 * 1024, 5120),
          product_case(false, 2 * 1024, 1280, 3840),
          product_case(false, 2 * 1024, 5120, 1280),
          epilogue_case(2, 64 * 64, 640),
          interleave_case(2, 32, 32, 1280),
          interleave_case(1, 512, 512, 256),
          concat_case(2 * 64 * 64, 640, 640)};
}

/// @param times  sorted, microseconds
void print_case(const Case& c, const std::vector<float>& times) {
  std::printf(
      "{\"name\": \"%s\", \"median_us\": %.2f, \"lowest_us\": %.2f, \"highest_us\": %.2f, \"bytes\": %.0f, "
      "\"flops\": %.0f}\n",
      c.name.c_str(), double(times[times.size() / 2]), double(times.front()), double(times.back()), c.bytes, c.flops);
}

void time_case(const Case& c, void* flush, std::size_t flush_bytes) {
  Memory memory;
  const auto run = c.prepare(memory);
  cudaEvent_t begin, end;
  require(cudaEventCreate(&begin), "cudaEventCreate");
  require(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> times;
  for (int i = -3; i < kRuns; ++i) {  // three to warm up
    require(cudaMemsetAsync(flush, i & 0xff, flush_bytes, nullptr), "cudaMemsetAsync");
    require(cudaEventRecord(begin, nullptr), "cudaEventRecord");
    require(run(), c.name);
    require(cudaEventRecord(end, nullptr), "cudaEventRecord");
    require(cudaEventSynchronize(end), c.name);
    float ms = 0;
    require(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
    if (i >= 0) times.push_back(1000 * ms);
  }
  std::sort(times.begin(), times.end());
  print_case(c, times);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
}

int run_all(bool list) {
  const std::vector<Case> cases = all_cases();
  if (list) {
    for (const Case& c : cases) print_case(c, {0});
    return 0;
  }
  constexpr std::size_t kFlushBytes = std::size_t{256} << 20;  // several second-level caches
  Memory memory;
  void* flush = memory.of(double(kFlushBytes));
  for (const Case& c : cases) time_case(c, flush, kFlushBytes);
  return 0;
}

}  // namespace
}  // namespace i2i::cuda

int main(int argc, char** argv) { return i2i::cuda::run_all(argc > 1 && std::strcmp(argv[1], "--list") == 0); }

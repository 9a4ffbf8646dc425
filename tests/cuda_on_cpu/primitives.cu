// Primitives as device.cuh and device_mma.cuh wrap them; see primitives.h. Compiled by nvcc and, for the goldens, by
// g++ against the CPU runtime.
#include <cstring>

#include "optimized/ops/cuda/device_mma.cuh"
#include "optimized/ops/cuda/rows.cuh"
#include "tests/cuda_on_cpu/primitives.h"

namespace i2i::cuda {
namespace {

// --- what the host fills in: a linear congruential generator (Numerical Recipes), the same on every machine.
struct Draws {
  unsigned state;
  unsigned next() { return state = 1664525u * state + 1013904223u; }
  int small() { return static_cast<int>(next() >> 28) - 8; }
  float unit() { return static_cast<float>(next() >> 8) / 8388608.0f - 1.0f; }
};

template <typename To, typename From>
To bits_of(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To bits;
  std::memcpy(&bits, static_cast<const void*>(&value), sizeof(bits));
  return bits;
}

template <typename T, typename Draw>
unsigned pair_of(Draw draw) {
  // Constructors, since a device function that the host calls is compiled by nvcc, silently, to exit(1).
  const T low(draw()), high(draw());
  return bits_of<std::uint16_t>(low) | static_cast<unsigned>(bits_of<std::uint16_t>(high)) << 16;
}

std::vector<unsigned> random_words(unsigned seed, int count) {
  Draws draws{seed};
  std::vector<unsigned> words;
  for (int i = 0; i < count; ++i) words.push_back(draws.next());
  return words;
}

/// Fragments a[32][4], b[32][2], c[32][4] of small integers, whose sums every order of adding gives exactly.
template <typename T>
std::vector<unsigned> integer_fragments() {
  Draws draws{7};
  std::vector<unsigned> words;
  for (int i = 0; i < 32 * 6; ++i) words.push_back(pair_of<T>([&] { return static_cast<float>(draws.small()); }));
  for (int i = 0; i < 32 * 4; ++i) words.push_back(bits_of<unsigned>(static_cast<float>(draws.small())));
  return words;
}
template <typename T>
std::vector<unsigned> real_fragments() {
  Draws draws{8};
  std::vector<unsigned> words;
  for (int i = 0; i < 32 * 6; ++i) words.push_back(pair_of<T>([&] { return draws.unit(); }));
  for (int i = 0; i < 32 * 4; ++i) words.push_back(bits_of<unsigned>(draws.unit()));
  return words;
}
std::vector<unsigned> byte_fragments() { return random_words(9, 32 * 10); }
std::vector<unsigned> matrix_words() { return random_words(10, 32 * 4); }
std::vector<unsigned> lane_words() { return random_words(11, 64); }
std::vector<unsigned> copy_words() { return random_words(12, 64 * 4 + 16); }
std::vector<unsigned> floats_between(float low, float high) {
  std::vector<unsigned> words;
  for (int i = 0; i < 64; ++i) words.push_back(bits_of<unsigned>(low + (high - low) * static_cast<float>(i) / 63.0f));
  return words;
}
std::vector<unsigned> exponents() { return floats_between(-30.0f, 12.0f); }
std::vector<unsigned> angles() { return floats_between(-0.25f, 0.25f); }
std::vector<unsigned> activations() { return floats_between(-12.0f, 12.0f); }
/// Ties, overflow, subnormal results and signed zeros among ordinary numbers.
std::vector<unsigned> roundings() {
  std::vector<unsigned> words;
  for (const float value : {0.0f, -0.0f, 1.0f, 1.00048828125f, 1.00146484375f, 1.00390625f, 1.01171875f, 65504.0f,
                            65519.0f, 65520.0f, -70000.0f, 6.1e-5f, 5.96e-8f, 2.98e-8f, 2.99e-8f, 3.4e38f})
    words.push_back(bits_of<unsigned>(value));
  Draws draws{13};
  while (words.size() < 64) words.push_back(bits_of<unsigned>(draws.unit() * 100.0f));
  return words;
}

// --- kernels: one block each; `in` and `out` as primitives() lists them.
template <typename T>
I2I_GLOBAL __launch_bounds__(32) product_kernel(const unsigned* in, unsigned* out) {
  const unsigned lane = threadIdx.x;
  const unsigned a[4] = {in[4 * lane], in[4 * lane + 1], in[4 * lane + 2], in[4 * lane + 3]};
  const unsigned* b = in + 128 + 2 * lane;
  float sum[4];
  for (unsigned i = 0; i < 4; ++i) memcpy(&sum[i], &in[192 + 4 * lane + i], sizeof(float));
  mma_16816<T>(sum, a, b[0], b[1]);
  for (unsigned i = 0; i < 4; ++i) memcpy(&out[4 * lane + i], &sum[i], sizeof(float));
}

I2I_GLOBAL __launch_bounds__(32) byte_product_kernel(const unsigned* in, unsigned* out) {
  const unsigned lane = threadIdx.x;
  const unsigned a[4] = {in[4 * lane], in[4 * lane + 1], in[4 * lane + 2], in[4 * lane + 3]};
  const unsigned* b = in + 128 + 2 * lane;
  int sum[4];
  for (unsigned i = 0; i < 4; ++i) sum[i] = static_cast<int>(in[192 + 4 * lane + i] >> 8);
  mma_s8_16832(sum, a, b[0], b[1]);
  for (unsigned i = 0; i < 4; ++i) out[4 * lane + i] = static_cast<unsigned>(sum[i]);
}

/// Every form of ldmatrix, from the same 32 rows of 16 bytes: 1 + 2 + 2 + 4 + 4 registers a lane.
I2I_GLOBAL __launch_bounds__(32) load_matrices_kernel(const unsigned* in, unsigned* out) {
  struct alignas(16) Rows {
    unsigned word[32][4];
  };
  Rows& rows = dyn_smem<Rows>();
  const unsigned lane = threadIdx.x;
  for (unsigned i = 0; i < 4; ++i) rows.word[lane][i] = in[4 * lane + i];
  __syncthreads();
  const void* row = rows.word[lane];
  unsigned r1 = 0, r2[2] = {}, t2[2] = {}, r4[4] = {}, t4[4] = {};
  ldmatrix_x1(r1, row);
  ldmatrix_x2(r2, row);
  ldmatrix_x2_trans(t2, row);
  ldmatrix_x4(r4, row);
  ldmatrix_x4_trans(t4, row);
  unsigned* to = out + 13 * lane;
  to[0] = r1;
  for (unsigned i = 0; i < 2; ++i) to[1 + i] = r2[i], to[3 + i] = t2[i];
  for (unsigned i = 0; i < 4; ++i) to[5 + i] = r4[i], to[9 + i] = t4[i];
}

I2I_GLOBAL __launch_bounds__(32) shuffles_kernel(const unsigned* in, unsigned* out) {
  const int lane = static_cast<int>(threadIdx.x);
  const unsigned mine = in[lane];
  unsigned* to = out + 8 * lane;
  for (int bit = 0; bit < 5; ++bit) to[bit] = __shfl_xor_sync(0xffffffffu, mine, 1 << bit);
  to[5] = __shfl_sync(0xffffffffu, mine, (5 * lane + 3) % 32);
  to[6] = __shfl_down_sync(0xffffffffu, mine, 3u);
  const float sum = warp_sum(static_cast<float>(mine >> 24));
  memcpy(&to[7], &sum, sizeof(float));
}

I2I_GLOBAL __launch_bounds__(64) votes_kernel(const unsigned* in, unsigned* out) {
  const unsigned thread = threadIdx.x, mine = in[thread];
  unsigned* to = out + 6 * thread;
  to[0] = __ballot_sync(0xffffffffu, (mine & 1) != 0);
  to[1] = static_cast<unsigned>(__any_sync(0xffffffffu, (mine & 0xff) == 0) != 0);
  to[2] = static_cast<unsigned>(__all_sync(0xffffffffu, mine != 0) != 0);
  to[3] = static_cast<unsigned>(__syncthreads_or(thread == 40) != 0);
  to[4] = static_cast<unsigned>(__syncthreads_and(thread != 40) != 0);
  to[5] = static_cast<unsigned>(__syncthreads_count((mine & 1) != 0));
}

/// 64 threads copy 16 bytes each in three groups; every third copy is not valid and leaves zeros; what another thread
/// copied is read after the wait and a barrier.
I2I_GLOBAL __launch_bounds__(64) async_copies_kernel(const unsigned* in, unsigned* out) {
  struct alignas(16) Places {
    uint4 place[3][64];
  };
  Places& places = dyn_smem<Places>();
  const unsigned thread = threadIdx.x, other = 63 - thread;
  for (unsigned group = 0; group < 3; ++group) {
    cp_async16(&places.place[group][thread], in + 4 * ((thread + group) % 64), (thread + group) % 3 != 0);
    cp_async_commit();
  }
  cp_async_wait<1>();
  __syncthreads();
  for (unsigned group = 0; group < 2; ++group)
    store(out + 12 * thread + 4 * group, load<uint4>(&places.place[group][other]));
  cp_async_wait<0>();
  __syncthreads();
  store(out + 12 * thread + 8, load<uint4>(&places.place[2][other]));
}

I2I_GLOBAL __launch_bounds__(64) atomics_kernel(const unsigned* in, unsigned* out) {
  I2I_SHARED(float, sum, 1);
  I2I_SHARED(unsigned, bins, 8);
  const unsigned thread = threadIdx.x;
  if (thread == 0) sum[0] = 0;
  if (thread < 8) bins[thread] = 0;
  __syncthreads();
  atomicAdd(&sum[0], static_cast<float>(in[thread] >> 24));
  atomicAdd(&bins[in[thread] % 8], 1u);
  __syncthreads();
  if (thread < 8) out[thread] = bins[thread];
  if (thread == 8) {
    const float total = sum[0];
    memcpy(&out[8], &total, sizeof(float));
  }
}

/// Rounding to 16 bits, in both types, alone and in pairs.
I2I_GLOBAL __launch_bounds__(64) conversions_kernel(const unsigned* in, unsigned* out) {
  const unsigned thread = threadIdx.x;
  float value, next;
  memcpy(&value, &in[thread], sizeof(float));
  memcpy(&next, &in[(thread + 1) % 64], sizeof(float));
  const __half half = from_float<__half>(value);
  const __nv_bfloat16 bfloat = from_float<__nv_bfloat16>(value);
  std::uint16_t low, high;
  memcpy(&low, static_cast<const void*>(&half), sizeof(low));
  memcpy(&high, static_cast<const void*>(&bfloat), sizeof(high));
  out[3 * thread] = low | static_cast<unsigned>(high) << 16;
  out[3 * thread + 1] = pack2<__half>(value, next);
  out[3 * thread + 2] = pack2<__nv_bfloat16>(value, next);
}

enum class Function { kExp2, kSinePi, kCosinePi, kSilu, kExpf, kDivide, kErf };

template <Function Which>
I2I_GLOBAL __launch_bounds__(64) function_kernel(const unsigned* in, unsigned* out) {
  float x, y = 0, other = 0;
  memcpy(&x, &in[threadIdx.x], sizeof(float));
  if constexpr (Which == Function::kExp2) y = fast_exp2(x);
  if constexpr (Which == Function::kSinePi) sin_cos_pi(x, &y, &other);
  if constexpr (Which == Function::kCosinePi) sin_cos_pi(x, &other, &y);
  if constexpr (Which == Function::kSilu) y = silu<__half>(x);
  if constexpr (Which == Function::kExpf) y = __expf(x);
  if constexpr (Which == Function::kDivide) y = __fdividef(x, 3.0f);
  if constexpr (Which == Function::kErf) y = erff(x);
  memcpy(&out[threadIdx.x], &y, sizeof(float));
}

using Kernel = void (*)(const unsigned*, unsigned*);

template <Kernel K, unsigned Threads, unsigned SharedBytes = 0>
cudaError_t run(const unsigned* input, unsigned* output, cudaStream_t stream) {
  return launch("primitive", K, dim3(1), dim3(Threads), SharedBytes, stream, input, output);
}

}  // namespace

std::vector<Primitive> primitives() {
  // fp32 sums of 16 products below 1 in any order: 17 roundings of sums below 17.
  constexpr double kSumOf16 = 17 * 17 * 6e-8;
  // ex2.approx, rcp.approx and what is made of them: 2 ulp each (PTX ISA), and a product or two.
  constexpr double kFast = 4e-6;
  return {
      {"mma_f16_integers", integer_fragments<__half>, 128, 0, run<product_kernel<__half>, 32>},
      {"mma_bf16_integers", integer_fragments<__nv_bfloat16>, 128, 0, run<product_kernel<__nv_bfloat16>, 32>},
      {"mma_f16_reals", real_fragments<__half>, 128, kSumOf16, run<product_kernel<__half>, 32>},
      {"mma_bf16_reals", real_fragments<__nv_bfloat16>, 128, kSumOf16, run<product_kernel<__nv_bfloat16>, 32>},
      {"mma_s8", byte_fragments, 128, 0, run<byte_product_kernel, 32>},
      {"ldmatrix", matrix_words, 32 * 13, 0, run<load_matrices_kernel, 32, 32 * 16>},
      {"shuffles", lane_words, 32 * 8, 0, run<shuffles_kernel, 32>},
      {"votes", lane_words, 64 * 6, 0, run<votes_kernel, 64>},
      {"cp_async", copy_words, 64 * 12, 0, run<async_copies_kernel, 64, 3 * 64 * 16>},
      {"atomics", lane_words, 9, 0, run<atomics_kernel, 64>},
      {"conversions", roundings, 64 * 3, 0, run<conversions_kernel, 64>},
      {"fast_exp2", exponents, 64, kFast, run<function_kernel<Function::kExp2>, 64>},
      {"sine_pi", angles, 64, kFast, run<function_kernel<Function::kSinePi>, 64>},
      {"cosine_pi", angles, 64, kFast, run<function_kernel<Function::kCosinePi>, 64>},
      {"silu", activations, 64, kFast, run<function_kernel<Function::kSilu>, 64>},
      {"fast_exp", activations, 64, kFast, run<function_kernel<Function::kExpf>, 64>},
      {"fast_divide", activations, 64, kFast, run<function_kernel<Function::kDivide>, 64>},
      {"erf", activations, 64, kFast, run<function_kernel<Function::kErf>, 64>},
  };
}

}  // namespace i2i::cuda

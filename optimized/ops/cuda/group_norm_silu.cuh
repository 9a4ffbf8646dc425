// GroupNorm + SiLU over channels-last memory. A block of 256 threads owns a run of whole groups (and whole 32-byte
// sectors) of one image: a thread keeps one vector of channels and walks over pixels, so that weights stay in
// registers. One pass (grid: run, image): the run stays in shared memory between statistics and result; bytes: input
// once, out once. Two passes (grid: piece of the pixels, run, image): partial statistics go through the workspace;
// input twice, out once; where pictures are large, a third kernel merges the statistics of many pieces. Statistics in
// fp32, by merging means and sums of squared deviations (Chan, Golub & LeVeque 1979): nothing is lost where the mean is
// large. Answers to optimized/ops.inc's group_norm_silu.
#pragma once

#include <algorithm>
#include <numeric>

#include "optimized/ops/cuda/group_norm_silu.h"
#include "optimized/ops/cuda/rows.cuh"

namespace i2i::cuda {

constexpr int kGroupNormThreads = 256;
constexpr int kGroupNormBatch = 4;  ///< pixels that a thread loads before it computes

/// How a call is cut into blocks.
struct GroupNormPlan {
  int vector = 1;  ///< elements of one access
  int run = 0;     ///< channels of a block
  int pieces = 0;  ///< of the pixels; 0: one pass
  int piece_pixels = 0;
  bool merges_apart = false;  ///< the pieces' moments, by a kernel of their own, into those of one
  std::size_t dynamic_bytes = 0;

  std::size_t workspace_bytes(const GroupNormSilu& call) const {
    return static_cast<std::size_t>(call.images * (pieces + (merges_apart ? 1 : 0)) * call.groups) * 2 * sizeof(float);
  }
};

inline GroupNormPlan plan_group_norm(const GroupNormSilu& call) {
  GroupNormPlan plan;
  if (call.groups <= 0 || call.channels % call.groups != 0) return plan;
  const int bytes = element_bytes(call.type), per_group = call.channels / call.groups;
  const bool aligned = is_aligned(call.input) && is_aligned(call.out) && is_aligned(call.added) &&
                       is_aligned(call.weight) && is_aligned(call.bias);
  if (aligned && call.channels % (16 / bytes) == 0) plan.vector = 16 / bytes;
  const int unit = plan.vector == 1 ? per_group : std::lcm(per_group, 32 / bytes);
  plan.run = call.channels % unit == 0 ? unit : call.channels;

  const auto tables = [&] { return static_cast<std::size_t>(plan.run + plan.run / per_group) * 2 * sizeof(float); };
  const auto staged = [&] {
    return static_cast<std::size_t>(call.pixels) * static_cast<std::size_t>(plan.run * bytes);
  };
  const std::size_t fixed = static_cast<std::size_t>(2 * plan.vector * kGroupNormThreads) * sizeof(float);
  plan.dynamic_bytes = (tables() + 15) / 16 * 16 + staged();
  if (fixed + plan.dynamic_bytes <= call.shared_bytes) return plan;

  // Wide runs read longer stretches; pieces bring enough blocks for every multiprocessor, yet few enough to be merged
  // by each block that applies them, and each long enough for its threads to read their weights once for at least eight
  // pixels. Large pictures are merged once, and cut into nine blocks for each of an H100's 132 multiprocessors: three
  // times the three that fit there.
  plan.merges_apart = call.pixels >= call.merge_pixels;
  constexpr std::int64_t kLeastOfAThread = 8;
  const std::int64_t wanted_blocks = plan.merges_apart ? 9 * 132 : 512, most_pieces = plan.merges_apart ? 9 * 132 : 128;
  while (plan.run * 2 <= 64 * plan.vector && call.channels % (plan.run * 2) == 0) plan.run *= 2;
  const std::int64_t others = call.images * (call.channels / plan.run), columns = plan.run / plan.vector;
  const std::int64_t least = kLeastOfAThread * (columns < kGroupNormThreads ? kGroupNormThreads / columns : 1);
  const std::int64_t pieces =
      std::max<std::int64_t>(std::min({(wanted_blocks + others - 1) / others, most_pieces, call.pixels / least}), 1);
  plan.piece_pixels = static_cast<int>((call.pixels + pieces - 1) / pieces);
  plan.pieces = static_cast<int>((call.pixels + plan.piece_pixels - 1) / plan.piece_pixels);
  plan.dynamic_bytes = tables();
  return plan;
}

/// Mean of `count` values and the sum of their squared deviations from it.
struct Moments {
  float mean;
  float squares;
  float count;
};

/// Moments of all of `items` sets together, in every lane; `item(i)` gives the i-th. The whole warp calls it.
template <typename Item>
I2I_DEVICE Moments merge_in_warp(int items, const Item& item) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float origin = item(0).mean;
  float offset = 0, count = 0, squares = 0;
  for (int i = lane; i < items; i += kWarp) {
    const Moments part = item(i);
    offset += part.count * (part.mean - origin);
    count += part.count;
  }
  count = warp_sum(count);
  const float mean = origin + warp_sum(offset) / count;
  for (int i = lane; i < items; i += kWarp) {
    const Moments part = item(i);
    const float d = part.mean - mean;
    squares += part.squares + part.count * d * d;
  }
  return {mean, warp_sum(squares), count};
}

/// The part of an image that a block works on: `pixels` rows of `run` channels, `stride` elements apart.
template <typename T>
struct GroupNormBlock {
  const T* input;
  const T* added;  ///< at the run's first channel, or null
  std::int64_t stride;
  int pixels;
  int run;
};

/// A thread's place: columns are vectors of a run; where there are more of them than threads, they come in turns.
struct GroupNormPlace {
  int rows;  ///< pixels that the block visits at a time
  int row;   ///< of this thread; at or above `rows`: it rests
  int width;
  int column;
  I2I_DEVICE GroupNormPlace(int first_column, int columns) {
    const int thread = static_cast<int>(threadIdx.x), left = columns - first_column;
    width = left < kGroupNormThreads ? left : kGroupNormThreads;
    rows = kGroupNormThreads / width;
    row = thread / width;
    column = first_column + thread % width;
  }
  I2I_DEVICE int pixels_of(int some_row, int pixels) const { return (pixels - some_row + rows - 1) / rows; }
};

template <typename T, int V>
I2I_DEVICE void load_added(float (&added)[V], const GroupNormBlock<T>& block, int column) {
  if (block.added != nullptr) {
    load_floats<T, V>(added, block.added + column * V);
  } else {
#pragma unroll
    for (int e = 0; e < V; ++e) added[e] = 0;
  }
}

/// Mean and squared deviations of every channel of the run, to shared memory; the input's bytes to `staged`, if any.
template <typename T, int V>
I2I_DEVICE void channel_moments(const GroupNormBlock<T>& block, float* channel_mean, float* channel_squares,
                                VectorOf<T, V>* staged) {
  constexpr int kParts = V * kGroupNormThreads;  // [rows, V, width]: neighbours in neighbouring banks
  I2I_SHARED(float, part_mean, kParts);
  I2I_SHARED(float, part_squares, kParts);
  const int thread = static_cast<int>(threadIdx.x), columns = block.run / V;
  for (int first = 0; first < columns; first += kGroupNormThreads) {
    const GroupNormPlace place(first, columns);
    if (place.row < place.rows && place.row < block.pixels) {
      float added[V], mean[V], squares[V];
      load_added<T, V>(added, block, place.column);
#pragma unroll
      for (int e = 0; e < V; ++e) mean[e] = squares[e] = 0;
      const int count = place.pixels_of(place.row, block.pixels);
      int k = 0;
      for (; k + kGroupNormBatch <= count; k += kGroupNormBatch) {
        VectorOf<T, V> raw[kGroupNormBatch];
#pragma unroll
        for (int b = 0; b < kGroupNormBatch; ++b) {
          const int pixel = place.row + (k + b) * place.rows;
          raw[b] = load_elements<T, V>(block.input + pixel * block.stride + place.column * V);
        }
        if (staged != nullptr) {
#pragma unroll
          for (int b = 0; b < kGroupNormBatch; ++b) {
            const int pixel = place.row + (k + b) * place.rows;
            store_elements<T, V>(staged[pixel * columns + place.column].value, raw[b]);
          }
        }
        const float share = static_cast<float>(kGroupNormBatch) / static_cast<float>(k + kGroupNormBatch);
        const float weight = static_cast<float>(k) * share;
#pragma unroll
        for (int e = 0; e < V; ++e) {
          float value[kGroupNormBatch], sum = 0, batch_squares = 0;
#pragma unroll
          for (int b = 0; b < kGroupNormBatch; ++b) {
            value[b] = to_float(raw[b].value[e]) + added[e];
            sum += value[b];
          }
          const float batch_mean = sum * (1.0f / kGroupNormBatch), delta = batch_mean - mean[e];
#pragma unroll
          for (int b = 0; b < kGroupNormBatch; ++b) batch_squares += (value[b] - batch_mean) * (value[b] - batch_mean);
          mean[e] += delta * share;
          squares[e] += batch_squares + delta * delta * weight;
        }
      }
      for (; k < count; ++k) {
        const int pixel = place.row + k * place.rows;
        const auto raw = load_elements<T, V>(block.input + pixel * block.stride + place.column * V);
        if (staged != nullptr) store_elements<T, V>(staged[pixel * columns + place.column].value, raw);
        const float share = 1.0f / static_cast<float>(k + 1);
#pragma unroll
        for (int e = 0; e < V; ++e) {
          const float value = to_float(raw.value[e]) + added[e], delta = value - mean[e];
          mean[e] += delta * share;
          squares[e] += delta * (value - mean[e]);
        }
      }
#pragma unroll
      for (int e = 0; e < V; ++e) {
        const int part = (place.row * V + e) * place.width + place.column - first;
        part_mean[part] = mean[e];
        part_squares[part] = squares[e];
      }
    }
    __syncthreads();
    const int rows = place.rows < block.pixels ? place.rows : block.pixels;
    const int channels = place.width * V;
    for (int k = thread; k < channels; k += kGroupNormThreads) {
      const float origin = part_mean[k];
      float offset = 0, squares = 0;
      for (int row = 1; row < rows; ++row)
        offset += static_cast<float>(place.pixels_of(row, block.pixels)) * (part_mean[row * channels + k] - origin);
      const float mean = origin + offset / static_cast<float>(block.pixels);
      for (int row = 0; row < rows; ++row) {
        const float d = part_mean[row * channels + k] - mean;
        squares += part_squares[row * channels + k] + static_cast<float>(place.pixels_of(row, block.pixels)) * d * d;
      }
      const int e = k / place.width, column = k % place.width;
      channel_mean[(first + column) * V + e] = mean;
      channel_squares[(first + column) * V + e] = squares;
    }
    __syncthreads();
  }
}

/// The affine map and SiLU of every element; reads `staged`, or the input where there is none.
template <typename T, int V>
I2I_DEVICE void normalise(const GroupNormSilu& call, const GroupNormBlock<T>& block, int first_channel, T* out,
                          const float* group_mean, const float* group_scale, const VectorOf<T, V>* staged) {
  const int columns = block.run / V, per_group = call.channels / call.groups;
  for (int first = 0; first < columns; first += kGroupNormThreads) {
    const GroupNormPlace place(first, columns);
    if (place.row >= place.rows) continue;
    float centre[V], scale[V], shift[V];
    load_added<T, V>(centre, block, place.column);
    load_floats<float, V>(scale, call.weight + first_channel + place.column * V);
    load_floats<float, V>(shift, call.bias + first_channel + place.column * V);
#pragma unroll
    for (int e = 0; e < V; ++e) {
      const int group = (place.column * V + e) / per_group;
      centre[e] = group_mean[group] - centre[e];
      scale[e] *= group_scale[group];
    }
    const auto finish = [&](const VectorOf<T, V>& raw, int pixel) {
      float result[V];
#pragma unroll
      for (int e = 0; e < V; ++e) {
        result[e] = (to_float(raw.value[e]) - centre[e]) * scale[e] + shift[e];
        if (call.silu) result[e] = silu<T>(result[e]);
      }
      store_floats<T, V>(out + pixel * block.stride + place.column * V, result);
    };
    if (staged != nullptr) {
      for (int pixel = place.row; pixel < block.pixels; pixel += place.rows)
        finish(load_elements<T, V>(staged[pixel * columns + place.column].value), pixel);
      continue;
    }
    int pixel = place.row;
#pragma unroll 1
    for (; pixel + (kGroupNormBatch - 1) * place.rows < block.pixels; pixel += kGroupNormBatch * place.rows) {
      VectorOf<T, V> raw[kGroupNormBatch];
#pragma unroll
      for (int b = 0; b < kGroupNormBatch; ++b)
        raw[b] = load_elements<T, V>(block.input + (pixel + b * place.rows) * block.stride + place.column * V);
#pragma unroll
      for (int b = 0; b < kGroupNormBatch; ++b) finish(raw[b], pixel + b * place.rows);
    }
#pragma unroll 1  // four pixels are enough in flight; more would spill
    for (; pixel < block.pixels; pixel += place.rows)
      finish(load_elements<T, V>(block.input + pixel * block.stride + place.column * V), pixel);
  }
}

/// Moments of the run's groups from those of its channels, one warp a group; `keep(group, moments)` in every lane.
template <typename Keep>
I2I_DEVICE void group_moments(int groups, int per_group, int pixels, const float* channel_mean,
                              const float* channel_squares, const Keep& keep) {
  for (int group = static_cast<int>(threadIdx.x) / kWarp; group < groups; group += kGroupNormThreads / kWarp) {
    const int first = group * per_group;
    keep(group, merge_in_warp(per_group, [&](int i) {
           return Moments{channel_mean[first + i], channel_squares[first + i], static_cast<float>(pixels)};
         }));
  }
}

I2I_DEVICE float inverse_deviation(const Moments& moments, float eps) {
  return 1.0f / sqrtf(moments.squares / moments.count + eps);
}

template <typename T, int V>
I2I_GLOBAL __launch_bounds__(kGroupNormThreads) group_norm_one_pass_kernel(GroupNormSilu call, GroupNormPlan plan) {
  const int per_group = call.channels / call.groups, groups = plan.run / per_group;
  const int first_channel = static_cast<int>(blockIdx.x) * plan.run;
  const std::int64_t image = blockIdx.y, offset = image * call.pixels * call.channels + first_channel;
  const auto* added = static_cast<const T*>(call.added);
  const GroupNormBlock<T> block{static_cast<const T*>(call.input) + offset,
                                added == nullptr ? nullptr : added + image * call.channels + first_channel,
                                call.channels, static_cast<int>(call.pixels), plan.run};
  float* channel_mean = &dyn_smem<float>();
  float* channel_squares = channel_mean + plan.run;
  float* group_mean = channel_squares + plan.run;
  float* group_scale = group_mean + groups;
  auto* staged = reinterpret_cast<VectorOf<T, V>*>(channel_mean + (2 * (plan.run + groups) + 3) / 4 * 4);

  channel_moments<T, V>(block, channel_mean, channel_squares, staged);
  group_moments(groups, per_group, block.pixels, channel_mean, channel_squares, [&](int group, const Moments& moments) {
    if (threadIdx.x % kWarp != 0) return;
    group_mean[group] = moments.mean;
    group_scale[group] = inverse_deviation(moments, call.eps);
  });
  __syncthreads();
  normalise<T, V>(call, block, first_channel, static_cast<T*>(call.out) + offset, group_mean, group_scale, staged);
}

/// The block of a two-pass kernel: its piece of the pixels, its run, its image.
template <typename T>
I2I_DEVICE GroupNormBlock<T> piece_of(const GroupNormSilu& call, const GroupNormPlan& plan, std::int64_t* offset) {
  const int first_channel = static_cast<int>(blockIdx.y) * plan.run;
  const std::int64_t image = blockIdx.z, first_pixel = static_cast<std::int64_t>(blockIdx.x) * plan.piece_pixels;
  const std::int64_t left = call.pixels - first_pixel;
  const auto* added = static_cast<const T*>(call.added);
  *offset = (image * call.pixels + first_pixel) * call.channels + first_channel;
  return {static_cast<const T*>(call.input) + *offset,
          added == nullptr ? nullptr : added + image * call.channels + first_channel, call.channels,
          left < plan.piece_pixels ? static_cast<int>(left) : plan.piece_pixels, plan.run};
}

/// Moments of pieces of an image as they lie in the workspace: [images, pieces, groups] pairs.
struct GroupNormParts {
  float* pairs;
  int pieces;
  int piece_pixels;
};

inline GroupNormParts pieces_of(const GroupNormSilu& call, const GroupNormPlan& plan) {
  return {call.workspace, plan.pieces, plan.piece_pixels};
}
/// Behind them, once merged: those of the image as one piece.
inline GroupNormParts merged_of(const GroupNormSilu& call, const GroupNormPlan& plan) {
  return {call.workspace + call.images * plan.pieces * call.groups * 2, 1, static_cast<int>(call.pixels)};
}

/// Of this block's image.
I2I_DEVICE float* partial_moments(const GroupNormSilu& call, const GroupNormParts& parts, int piece) {
  return parts.pairs + (static_cast<std::int64_t>(blockIdx.z) * parts.pieces + piece) * call.groups * 2;
}

template <typename T, int V>
I2I_GLOBAL __launch_bounds__(kGroupNormThreads)
    group_norm_partial_kernel(GroupNormSilu call, GroupNormPlan plan, GroupNormParts parts) {
  const int per_group = call.channels / call.groups, groups = plan.run / per_group;
  std::int64_t offset;
  const GroupNormBlock<T> block = piece_of<T>(call, plan, &offset);
  float* channel_mean = &dyn_smem<float>();
  float* channel_squares = channel_mean + plan.run;
  channel_moments<T, V>(block, channel_mean, channel_squares, nullptr);
  float* partial = partial_moments(call, parts, static_cast<int>(blockIdx.x)) + blockIdx.y * groups * 2;
  group_moments(groups, per_group, block.pixels, channel_mean, channel_squares, [&](int group, const Moments& moments) {
    if (threadIdx.x % kWarp == 0) store(partial + 2 * group, VectorOf<float, 2>{{moments.mean, moments.squares}});
  });
}

/// The moments of a group in one piece of this block's image.
I2I_DEVICE Moments moments_of_piece(const GroupNormSilu& call, const GroupNormParts& parts, int group, int piece) {
  const auto pair = load<VectorOf<float, 2>>(partial_moments(call, parts, piece) + 2 * group);
  const std::int64_t left = call.pixels - static_cast<std::int64_t>(piece) * parts.piece_pixels;
  const std::int64_t pixels = left < parts.piece_pixels ? left : parts.piece_pixels;
  return {pair.value[0], pair.value[1], static_cast<float>(pixels * (call.channels / call.groups))};
}

/// A block a group, since the pieces are hundreds and each read is a wait. Grid: groups, 1, images.
I2I_GLOBAL __launch_bounds__(kGroupNormThreads)
    group_norm_merge_kernel(GroupNormSilu call, GroupNormParts parts, GroupNormParts merged) {
  constexpr int kWarps = kGroupNormThreads / kWarp;
  const int group = static_cast<int>(blockIdx.x);
  const float origin = moments_of_piece(call, parts, group, 0).mean;
  float offset = 0, count = 0, squares = 0;
  for (int piece = static_cast<int>(threadIdx.x); piece < parts.pieces; piece += kGroupNormThreads) {
    const Moments part = moments_of_piece(call, parts, group, piece);
    offset += part.count * (part.mean - origin);
    count += part.count;
  }
  count = block_sum<kWarps>(count);
  const float mean = origin + block_sum<kWarps>(offset) / count;
  for (int piece = static_cast<int>(threadIdx.x); piece < parts.pieces; piece += kGroupNormThreads) {
    const Moments part = moments_of_piece(call, parts, group, piece);
    const float d = part.mean - mean;
    squares += part.squares + part.count * d * d;
  }
  squares = block_sum<kWarps>(squares);
  if (threadIdx.x == 0) store(partial_moments(call, merged, 0) + 2 * group, VectorOf<float, 2>{{mean, squares}});
}

template <typename T, int V>
I2I_GLOBAL __launch_bounds__(kGroupNormThreads, 3)
    group_norm_apply_kernel(GroupNormSilu call, GroupNormPlan plan, GroupNormParts parts) {
  const int per_group = call.channels / call.groups, groups = plan.run / per_group;
  std::int64_t offset;
  const GroupNormBlock<T> block = piece_of<T>(call, plan, &offset);
  float* group_mean = &dyn_smem<float>();
  float* group_scale = group_mean + groups;
  const int first_group = static_cast<int>(blockIdx.y) * groups;
  for (int group = static_cast<int>(threadIdx.x) / kWarp; group < groups; group += kGroupNormThreads / kWarp) {
    const Moments moments = merge_in_warp(
        parts.pieces, [&](int piece) { return moments_of_piece(call, parts, first_group + group, piece); });
    if (threadIdx.x % kWarp == 0) {
      group_mean[group] = moments.mean;
      group_scale[group] = inverse_deviation(moments, call.eps);
    }
  }
  __syncthreads();
  normalise<T, V>(call, block, static_cast<int>(blockIdx.y) * plan.run, static_cast<T*>(call.out) + offset, group_mean,
                  group_scale, nullptr);
}

template <typename T, int V>
inline cudaError_t launch_group_norm_by(const GroupNormSilu& call, const GroupNormPlan& plan, cudaStream_t stream) {
  const auto runs = static_cast<unsigned>(call.channels / plan.run), images = static_cast<unsigned>(call.images);
  const dim3 block(kGroupNormThreads);
  if (plan.pieces == 0) {
    return launch("group_norm_one_pass", group_norm_one_pass_kernel<T, V>, dim3(runs, images), block,
                  plan.dynamic_bytes, stream, call, plan);
  }
  if (call.workspace == nullptr) return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>(plan.pieces), runs, images);
  GroupNormParts parts = pieces_of(call, plan);
  const cudaError_t first = launch("group_norm_partial", group_norm_partial_kernel<T, V>, grid, block,
                                   plan.dynamic_bytes, stream, call, plan, parts);
  if (first != cudaSuccess) return first;
  if (plan.merges_apart) {
    const GroupNormParts merged = merged_of(call, plan);
    const cudaError_t second =
        launch("group_norm_merge", group_norm_merge_kernel, dim3(static_cast<unsigned>(call.groups), 1, images), block,
               0, stream, call, parts, merged);
    if (second != cudaSuccess) return second;
    parts = merged;
  }
  return launch("group_norm_apply", group_norm_apply_kernel<T, V>, grid, block, plan.dynamic_bytes, stream, call, plan,
                parts);
}

template <typename T>
inline cudaError_t launch_group_norm(const GroupNormSilu& call, cudaStream_t stream) {
  const GroupNormPlan plan = plan_group_norm(call);
  if (plan.run == 0) return cudaErrorInvalidValue;
  if (call.images == 0 || call.pixels == 0) return cudaSuccess;
  if (plan.vector == 1) return launch_group_norm_by<T, 1>(call, plan, stream);
  return launch_group_norm_by<T, kPerVector<T>>(call, plan, stream);
}

}  // namespace i2i::cuda

// Lower bounds of a GPU's time, as plain rows: what each operator of a model must move and compute, on several GPUs.
// Filled by harness/bounds.cpp; written as a page, as Markdown or as JSON. Nothing here was measured.
#pragma once

#include <string>
#include <vector>

namespace i2i {

struct GpuRow {
  std::string name;
  double flops_per_second = 0;  ///< dense bf16 or fp16 on tensor cores, sums in fp32
  double bytes_per_second = 0;
  std::string source;
};

/// Equal calls of one operator.
struct BoundRow {
  std::string part;    ///< "UNet step", "VAE decode", "VAE encode"
  std::string kernel;  ///< who runs it on a GPU: a kernel of ours, or cuDNN's or cuBLASLt's
  std::string shape;
  int calls = 0;
  double bytes = 0;  ///< of one call: every operand once, from and to device memory
  double flops = 0;  ///< of one call: multiplications and additions of products only
};

/// What others measured and published.
struct PublishedRow {
  std::string model;  ///< a name that load_model knows
  std::string gpu;
  std::string what;
  double ms = 0;  ///< of one step with guidance
  std::string source;
};

struct BoundsReport {
  std::string title, command;
  std::vector<std::string> assumptions;  ///< sentences
  std::vector<GpuRow> gpus;
  std::vector<BoundRow> rows;
  std::vector<PublishedRow> published;
};

/// max(flops / peak, bytes / bandwidth) of one call, in microseconds.
double bound_us(const BoundRow& row, const GpuRow& gpu);

/// Sums over a part: of all calls, each bounded by itself.
struct PartSum {
  std::string part;
  double bytes = 0, flops = 0;
  std::vector<double> ms;           ///< per GPU
  std::vector<double> ms_by_flops;  ///< per GPU, had every byte arrived in time
};
/// In the order in which the parts come.
std::vector<PartSum> sum_parts(const BoundsReport& report);

std::string bounds_page(const BoundsReport& report);      ///< one HTML file, for desk and phone
std::string bounds_markdown(const BoundsReport& report);  ///< the sums, then a table a part
std::string bounds_json(const BoundsReport& report);

}  // namespace i2i

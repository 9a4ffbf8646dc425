// The promise: a profile's arithmetic is that of the calls that were made. A whole UNet step of a tiny model counts to
// the number worked out here by hand from its layers, for either implementation; single calls to theirs; times add up;
// and the roofline is a machine's.
#include "harness/operator_profile.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "harness/implementations.h"
#include "harness/profile_text.h"
#include "interface/model_files.h"
#include "interface/request.h"
#include "optimized/ops.h"
#include "optimized/ops/cpu/instruction_sets.h"

namespace i2i {
namespace {

Image picture() {
  Image image{64, 48, {}};
  for (int i = 0; i < 64 * 48 * 3; ++i) image.rgb.push_back(static_cast<std::uint8_t>(i * 7));
  return image;
}

/// @param stages  receives the run's own stage times
OperatorTimes profile_of(const std::string& implementation, const Roofline& roofline = {},
                         std::vector<StageTime>* stages = nullptr,
                         const std::string& model_name = "synthetic:tiny-sd15", const PipelineOptions& how = {}) {
  const auto model = load_model(model_name);
  const auto pipeline = make_pipeline(implementation, model, how);
  const Request request = parse_request(
      R"({"source_image": "-", "prompt": "a cat", "negative_prompt": "", "strength": 1, "steps": 2, "seed": 1})");
  GenerateOptions options;
  options.scheduler = resolve_scheduler("euler", model->config);
  const OperatorProfile profile(roofline);
  const Result result = pipeline->generate(request, picture(), options);
  if (stages != nullptr) *stages = result.stages;
  return profile.times();
}

double sum(const OperatorTimes& times, double OperatorTime::*value, const std::string& stage, int step,
           const std::string& block = "any") {
  double total = 0;
  for (const auto& [key, time] : times) {
    if (key.stage == stage && key.step == step && (block == "any" || key.block == block)) total += time.*value;
  }
  return total;
}

// SD 1.5 in miniature on 16 x 12 latents, both guidance rows: two levels of 16 and 32 channels, one resnet down and two
// up, attention on the upper level and in the middle, 77 words of 32 channels.
constexpr double kRows = 2, kPixels = 16 * 12, kHalved = kPixels / 4, kWords = 77, kContext = 32;

double conv(double pixels, double kernel, double in, double out) { return 2 * pixels * kernel * kernel * in * out; }
double resnet(double pixels, double in, double out) {
  return conv(pixels, 3, in, out) + conv(pixels, 3, out, out) + (in == out ? 0 : conv(pixels, 1, in, out));
}
/// In and out, q, k, v and out of self-attention, q and out of cross-attention, GEGLU to 4 C and back.
double transformer(double pixels, double c) {
  const double products = 2 * pixels * c * c * (2 + 4 + 2 + 8 + 4);
  return products + 4 * pixels * pixels * c + 4 * pixels * kWords * c;
}
double down_0() { return resnet(kPixels, 16, 16) + transformer(kPixels, 16) + conv(kHalved, 3, 16, 16); }
double unet() {
  const double down_1 = resnet(kHalved, 16, 32);
  const double middle = 2 * resnet(kHalved, 32, 32) + transformer(kHalved, 32);
  const double up_0 = resnet(kHalved, 32 + 32, 32) + resnet(kHalved, 32 + 16, 32) + conv(kPixels, 3, 32, 32);
  const double up_1 = resnet(kPixels, 32 + 16, 16) + resnet(kPixels, 16 + 16, 16) + 2 * transformer(kPixels, 16);
  return conv(kPixels, 3, 4, 16) + down_0() + down_1 + middle + up_0 + up_1 + conv(kPixels, 3, 16, 4);
}

/// Of down_0: the resnet, and of the transformer what stands before the first look at the text.
double shared_of_down_0() {
  return resnet(kPixels, 16, 16) + 2 * kPixels * 16 * 16 * (1 + 4 + 1) + 4 * kPixels * kPixels * 16;
}

TEST(Arithmetic, OfAnOptimizedStepIsTheHandCount) {
  PipelineOptions every_row;
  every_row.features = {{"shared_layers", false}};
  OperatorTimes times = profile_of("optimized", {}, nullptr, "synthetic:tiny-sd15", every_row);
  // Keys, values and time embeddings are made before; the second step has neither.
  EXPECT_EQ(sum(times, &OperatorTime::flops, "unet", 1), kRows * unet());
  EXPECT_EQ(sum(times, &OperatorTime::flops, "unet", 1, "down_blocks.0"), kRows * down_0());

  times = profile_of("optimized");
  const double shared = conv(kPixels, 3, 4, 16) + shared_of_down_0();
  EXPECT_EQ(sum(times, &OperatorTime::flops, "unet", 1), kRows * unet() - (kRows - 1) * shared);
  EXPECT_EQ(sum(times, &OperatorTime::flops, "unet", 1, "down_blocks.0"),
            kRows * down_0() - (kRows - 1) * shared_of_down_0());
}

TEST(Arithmetic, OfAReferenceStepIsTheHandCount) {
  const OperatorTimes times = profile_of("reference");
  const double time = 2 * (16 * 64 + 64 * 64);                                     // two linear layers
  const double projections = 2 * 64 * (16 + 32 + 32 + 32 + 32 + 32 + 16 + 16);     // one a resnet
  const double keys_and_values = 2 * kWords * kContext * 2 * (16 + 32 + 16 + 16);  // one a transformer
  EXPECT_EQ(sum(times, &OperatorTime::flops, "unet", 1), kRows * (unet() + time + projections + keys_and_values));
}

TEST(Arithmetic, OfWinogradIsCountedByFormulaAndByMethod) {
  const auto x = at::randn({2, 32, 10, 8}).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor weight = ops::pack_weight(at::randn({16, 32, 3, 3})), bias = at::randn({1, 16});
  const at::Tensor out = at::empty({2, 16, 10, 8}).contiguous(at::MemoryFormat::ChannelsLast);
  const OperatorWork work = work_of("i2i::conv2d_winograd", std::vector<c10::IValue>{x, weight, bias, {}, false, out});
  EXPECT_EQ(work.flops, 2.0 * 2 * 10 * 8 * 9 * 32 * 16);
  EXPECT_EQ(work.executed_flops, 2.0 * 2 * (3 * 2) * 36 * 32 * 16) << "three rows of tiles of four for ten pixels";
  EXPECT_EQ(work.bytes, static_cast<double>(x.nbytes() + weight.nbytes() + bias.nbytes() + out.nbytes()));
  EXPECT_EQ(work.operands, Operands::kFloat32);

  const at::Tensor large = at::empty({2, 16, 20, 16}).contiguous(at::MemoryFormat::ChannelsLast);
  const OperatorWork enlarged =
      work_of("i2i::conv2d_winograd", std::vector<c10::IValue>{x, weight, bias, {}, true, large});
  EXPECT_EQ(enlarged.flops, 2.0 * 2 * 20 * 16 * 9 * 32 * 16);
  EXPECT_EQ(enlarged.executed_flops, 2.0 * 2 * (5 * 4) * 25 * 32 * 16) << "tiles of four; eleven of 36 planes vanish";
  const auto square = at::randn({1, 32, 12, 12}).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor twelve = at::empty({1, 16, 12, 12}).contiguous(at::MemoryFormat::ChannelsLast);
  const OperatorWork six =
      work_of("i2i::conv2d_winograd", std::vector<c10::IValue>{square, weight, bias, {}, false, twelve});
  EXPECT_EQ(six.executed_flops, 2.0 * (2 * 2) * 64 * 32 * 16) << "tiles of six";

  EXPECT_EQ(work_of("aten::sort", std::vector<c10::IValue>{x}).bytes, 0) << "nothing is made up of what is not known";
}

TEST(Arithmetic, OfBytesIsHeldToTheRooflineOfBytes) {
  const auto x = at::randn({2, 32, 10, 7}).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor weight = ops::pack_winograd_int8(at::randn({16, 32, 3, 3})), bias = at::randn({1, 16});
  const at::Tensor out = at::empty({2, 16, 10, 7}).contiguous(at::MemoryFormat::ChannelsLast);
  const OperatorWork conv =
      work_of("i2i::conv2d_winograd_int8", std::vector<c10::IValue>{x, weight, bias, {}, false, out});
  EXPECT_EQ(conv.flops, 2.0 * 2 * 10 * 7 * 9 * 32 * 16);
  EXPECT_EQ(conv.executed_flops, 2.0 * 2 * (5 * 4) * 16 * 32 * 16) << "four columns of tiles of two for seven pixels";
  EXPECT_EQ(conv.operands, Operands::kInt8);

  const at::Tensor qkv = at::randn({2, 10, 3 * 8}), attended = at::empty({2, 10, 8});
  const OperatorWork attention = work_of("i2i::self_attention_int8", std::vector<c10::IValue>{qkv, 2, attended});
  EXPECT_EQ(attention.flops, 2.0 * (2 * 10 * 10 * 8) * 2);
  EXPECT_EQ(attention.executed_flops, 1.5 * attention.flops) << "words count twice";
  EXPECT_EQ(attention.operands, Operands::kInt8) << "although no tensor that it is given is of bytes";
}

TEST(Arithmetic, OfBfloat16IsKnownByItsWeight) {
  const at::Tensor x = at::randn({2, 5, 8}), out = at::empty({2, 5, 6});
  const at::Tensor weight = ops::pack_weight(at::randn({6, 8}).to(at::kBFloat16));
  const OperatorWork work = work_of("i2i::linear", std::vector<c10::IValue>{x, weight, {}, {}, 0, out});
  EXPECT_EQ(work.flops, 2.0 * 10 * 8 * 6);
  EXPECT_EQ(work.operands, Operands::kBf16);
  const at::Tensor qkv = at::randn({2, 10, 3 * 8}), attended = at::empty({2, 10, 8});
  const OperatorWork attention = work_of("i2i::self_attention_bf16", std::vector<c10::IValue>{qkv, 2, attended});
  EXPECT_EQ(attention.flops, 2.0 * (2 * 10 * 10 * 8) * 2);
  EXPECT_EQ(attention.operands, Operands::kBf16);
}

TEST(Times, EveryProductInBytesIsKnown) {
  PipelineOptions options;
  // Without it no processor keeps a 3 x 3 convolution in float32 because that is faster.
  options.features = {{"int8", true}, {"winograd", false}};
  std::set<std::string> names;
  for (const auto& [key, time] : profile_of("optimized", {}, nullptr, "scenes", options)) {
    if (!key.name.ends_with("_int8")) continue;
    names.insert(key.name);
    EXPECT_GT(time.flops, 0) << key.name;
  }
  EXPECT_EQ(names, (std::set<std::string>{"i2i::conv2d_int8", "i2i::conv2d_winograd_int8", "i2i::linear_int8",
                                          "i2i::self_attention_int8"}));
}

TEST(Times, BytesLeaveWinogradToFp32WhereTheyAreSlower) {
  if (!cpu::choose_instruction_set("avx2")) GTEST_SKIP() << "this processor lacks avx2";
  PipelineOptions options;
  options.features = {{"int8", true}};
  std::set<std::string> names;
  for (const auto& [key, time] : profile_of("optimized", {}, nullptr, "scenes", options)) names.insert(key.name);
  cpu::choose_instruction_set("");
  EXPECT_FALSE(names.contains("i2i::conv2d_winograd_int8"));
  EXPECT_TRUE(names.contains("i2i::conv2d_winograd"));
  EXPECT_TRUE(names.contains("i2i::linear_int8"));
}

TEST(Times, OfBlocksAndOperatorsAddUpToTheirStage) {
  std::vector<StageTime> stages;
  const OperatorTimes times = profile_of("optimized", {}, &stages);
  for (const StageTime& stage : stages) {
    if (stage.name != "unet") continue;
    const double ms = sum(times, &OperatorTime::ms, "unet", stage.step);
    EXPECT_LE(ms, 1.02 * stage.ms) << "step " << stage.step << ": something is counted twice";
    EXPECT_GE(ms, 0.8 * stage.ms) << "step " << stage.step << ": something is not counted";
  }
  std::set<std::string> blocks;
  for (const auto& [key, time] : times) {
    if (key.stage == "unet") blocks.insert(key.block);
    EXPECT_GE(time.ms, 0) << key.stage << " " << key.block << " " << key.name;
  }
  EXPECT_EQ(blocks,
            (std::set<std::string>{"", "down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1"}));
  double rows = 0, all = 0;
  for (const OperatorRow& row : summarize_profiles({times})) rows += row.ms.median;
  for (const auto& [key, time] : times) all += time.ms;
  EXPECT_NEAR(rows, all, 1e-9 * all);
}

TEST(RooflineOfThisMachine, IsMeasuredForEveryInstructionSet) {
  for (const char* name : cpu::instruction_sets()) {
    if (!cpu::choose_instruction_set(name)) continue;
    const Roofline roofline = measure_roofline();
    EXPECT_GT(roofline.fp32_gflops, 0.1) << name;
    EXPECT_LT(roofline.fp32_gflops, 1000.0 * roofline.threads) << name << ": the loop was optimised away";
    EXPECT_GT(roofline.gigabytes_per_s, 0.1) << name;
    EXPECT_LT(roofline.gigabytes_per_s, 1000) << name;
    EXPECT_LT(roofline.int8_gops, 20000.0 * roofline.threads) << name;
    EXPECT_LT(roofline.bf16_gflops, 10000.0 * roofline.threads) << name;
    if (std::string_view(name) == "amx") {
      EXPECT_GT(roofline.bf16_gflops, 2 * roofline.fp32_gflops);
    }
  }
  cpu::choose_instruction_set("");
}

TEST(LeastTime, IsTheLongerOfArithmeticAndMemory) {
  Roofline roofline;
  roofline.fp32_gflops = 100;
  roofline.int8_gops = 400;
  roofline.bf16_gflops = 200;
  roofline.gigabytes_per_s = 10;
  EXPECT_DOUBLE_EQ(least_ms(roofline, {9e9, 1e9, 1e6}), 10) << "the method's arithmetic, not the formula's";
  EXPECT_DOUBLE_EQ(least_ms(roofline, {1e9, 1e9, 1e6, Operands::kInt8}), 2.5);
  EXPECT_DOUBLE_EQ(least_ms(roofline, {1e9, 1e9, 1e6, Operands::kBf16}), 5);
  EXPECT_DOUBLE_EQ(least_ms(roofline, {1e9, 1e9, 1e9}), 100);
  EXPECT_DOUBLE_EQ(least_ms(roofline, {}), 0);
}

TEST(Text, NamesStagesBlocksAndOperatorsWithTheirRates) {
  Roofline roofline;
  roofline.threads = 2;
  roofline.fp32_gflops = 100;
  roofline.gigabytes_per_s = 10;
  OperatorTimes times;
  times[{"unet", 0, "mid_block", "i2i::linear"}] = {3, 20, 1e9, 10};
  times[{"unet", 1, "mid_block", "i2i::linear"}] = {3, 20, 1e9, 10};
  times[{"unet", 1, "", "(between operators)"}] = {1, 10, 0, 0};
  const std::string text = profile_text(times, roofline);
  for (const char* words : {"2 threads: 100 GFLOP/s", "10.0 GB/s", "unet mid_block", "unet i2i::linear", "80.0%",
                            "50.0", "50%", "unet (outside blocks)"})
    EXPECT_NE(text.find(words), std::string::npos) << words << " in\n" << text;
}

}  // namespace
}  // namespace i2i

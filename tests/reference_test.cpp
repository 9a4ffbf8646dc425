// The promise: the reference is deterministic, a picture does not depend on the batch it is in, the corners of
// strength, guidance and size do what the contract says, and broken numbers become an error that says where.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "interface/model_files.h"
#include "interface/scheduler_spec.h"
#include "reference/pipeline.h"

namespace i2i {
namespace {

// Rows of a batch go through other GEMM and convolution kernels than a row alone: the same float32 sums in another
// order. Thread counts alone move pictures by 3e-6 (semantics.md section 13); three times that.
constexpr double kBatchTolerance = 1e-5;

const std::vector<std::string> kModels = {"synthetic:tiny-sd15", "synthetic:tiny-sd21", "synthetic:tiny-sdxl",
                                          "synthetic:tiny-sd15-ip2p", "synthetic:tiny-sdxl-ip2p"};
const std::vector<std::string> kSchedulers = {
    "ddim", "pndm:skip_prk_steps=true", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m:algorithm_type=sde-dpmsolver++"};

Image gradient(int width, int height) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (const int value : {x * 255 / width, y * 255 / height, (x * y) % 256}) {
        image.rgb.push_back(static_cast<std::uint8_t>(value));
      }
    }
  }
  return image;
}

Request request() {
  Request r;
  r.source_image = "unused";
  r.prompt = "a red circle";
  r.negative_prompt = "blue";
  r.guidance_scale = 7.5;
  r.image_guidance_scale = 1.5;
  r.strength = 0.8;
  r.steps = 4;
  r.batch_size = 1;
  r.seed = 7;
  return r;
}

/// Keeps everything: name -> one tensor per call.
class Recorder final : public TraceSink {
 public:
  void tensor(std::string_view name, int /*step*/, const at::Tensor& value) override {
    seen[std::string(name)].push_back(value.clone());
  }
  std::map<std::string, std::vector<at::Tensor>> seen;
};

struct Loaded {
  explicit Loaded(const std::string& name, at::ScalarType dtype = at::kFloat) : model(load_model(name)) {
    at::set_num_threads(1);  // these tensors are too small for more
    PipelineOptions options;
    options.dtype = dtype;
    pipeline = make_reference_pipeline(model, options);
  }
  Result run(const Request& r, const std::string& scheduler = "", TraceSink* trace = nullptr,
             const at::Tensor& locked = {}, const Image& source = gradient(40, 32)) const {
    GenerateOptions options;
    options.scheduler = resolve_scheduler(scheduler, model->config);
    options.trace = trace;
    options.locked_latents = locked;
    return pipeline->generate(r, source, options);
  }
  std::shared_ptr<const Model> model;
  std::unique_ptr<Pipeline> pipeline;
};

double distance(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a - b).abs().max().item<double>();
}

/// The error of generating with one tensor of the model spoilt.
Error error_with_nan(const std::string& which, const std::string& key) {
  auto model = std::make_shared<Model>(*load_model("synthetic:tiny-sd15"));
  auto& weights = which == "unet"  ? model->unet_weights
                  : which == "vae" ? model->vae_weights
                                   : model->text_encoder_weights.front();
  weights.at(key) = at::full_like(weights.at(key), std::numeric_limits<double>::quiet_NaN());
  GenerateOptions options;
  options.scheduler = resolve_scheduler("", model->config);
  const auto pipeline = make_reference_pipeline(model, {});
  try {
    pipeline->generate(request(), gradient(32, 32), options);
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorCode::kUsage, "no error at all");
}

TEST(Reference, SameSeedTwiceIsEqualToTheByte) {
  for (const auto& name : kModels) {
    const Loaded setup(name);
    for (const auto& scheduler : kSchedulers) {
      const auto first = setup.run(request(), scheduler), second = setup.run(request(), scheduler);
      EXPECT_TRUE(at::equal(first.images, second.images)) << name << " " << scheduler;
      auto other = request();
      other.seed = 8;
      EXPECT_GT(distance(first.images, setup.run(other, scheduler).images), 1e-3) << name << " " << scheduler;
    }
  }
}

TEST(Reference, PictureOfABatchIsThePictureOfItsSeedAlone) {
  for (const auto& name : kModels) {
    const Loaded setup(name);
    for (const auto& scheduler : kSchedulers) {
      auto three = request();
      three.batch_size = 3;
      const auto batch = setup.run(three, scheduler).images;
      for (int k = 0; k < 3; ++k) {
        auto alone = request();
        alone.seed = *alone.seed + static_cast<std::uint64_t>(k);
        EXPECT_LE(distance(batch[k], setup.run(alone, scheduler).images[0]), kBatchTolerance)
            << name << " " << scheduler << " image " << k;
      }
    }
  }
}

TEST(Reference, LockedLatentsReplaceTheStepBefore) {
  const Loaded setup("synthetic:tiny-sd15");
  Recorder free_running;
  const auto expected = setup.run(request(), "euler", &free_running);
  const auto own = at::stack(free_running.seen.at("loop.latents_in"));
  EXPECT_TRUE(at::equal(setup.run(request(), "euler", nullptr, own).images, expected.images));

  auto moved = own.clone();
  moved[1] += 0.5;
  Recorder locked;
  setup.run(request(), "euler", &locked, moved);
  EXPECT_TRUE(at::equal(at::stack(locked.seen.at("loop.latents_in")), moved));
  EXPECT_TRUE(at::equal(locked.seen.at("loop.latents_out")[0], free_running.seen.at("loop.latents_out")[0]));
  EXPECT_GT(distance(locked.seen.at("loop.latents_out")[1], free_running.seen.at("loop.latents_out")[1]), 0.1);
  EXPECT_TRUE(at::equal(locked.seen.at("loop.latents_out")[2], free_running.seen.at("loop.latents_out")[2]));

  EXPECT_THROW(setup.run(request(), "euler", nullptr, own.slice(0, 1)), Error);
}

TEST(Reference, GuidanceRunsAsManyRowsAsItsFormulaNeeds) {
  const auto rows = [](const Loaded& setup, double guidance, double image_guidance) {
    auto r = request();
    r.guidance_scale = guidance;
    r.image_guidance_scale = image_guidance;
    Recorder recorder;
    setup.run(r, "euler", &recorder);
    EXPECT_EQ(recorder.seen.at("text.embeds").front().size(0), recorder.seen.at("loop.unet_in").front().size(0));
    return recorder.seen.at("loop.unet_in").front().size(0);
  };
  const Loaded plain("synthetic:tiny-sd15"), editing("synthetic:tiny-sd15-ip2p");
  EXPECT_EQ(rows(plain, 7.5, 1.5), 2);
  EXPECT_EQ(rows(plain, 0.5, 1.5), 2);
  EXPECT_EQ(rows(plain, 1.0, 1.5), 1);
  EXPECT_EQ(rows(editing, 7.5, 1.5), 3);
  EXPECT_EQ(rows(editing, 1.0, 1.5), 3);
  EXPECT_EQ(rows(editing, 1.0, 1.0), 1);
}

TEST(Reference, GuidanceIsItsFormulaNextToOne) {
  // One pass at exactly 1, the whole formula beside it: the pictures must meet.
  for (const std::string name : {"synthetic:tiny-sd15", "synthetic:tiny-sd15-ip2p"}) {
    const Loaded setup(name);
    auto at_one = request();
    at_one.guidance_scale = at_one.image_guidance_scale = 1;
    auto beside = at_one;
    beside.guidance_scale = 1 + 1e-7;
    EXPECT_LE(distance(setup.run(at_one).images, setup.run(beside).images), kBatchTolerance) << name;
  }
}

TEST(Reference, TinyStrengthRunsOneStep) {
  for (const auto& name : kModels) {
    const Loaded setup(name);
    auto r = request();
    r.strength = 0.01;
    EXPECT_EQ(setup.run(r, "ddim").steps_run, 1) << name;
    EXPECT_EQ(setup.run(r, "euler").steps_run, 1) << name;
    EXPECT_EQ(setup.run(r, "pndm:skip_prk_steps=true").steps_run, 2) << name;  // its list is one longer
    r.steps = 1;
    EXPECT_EQ(setup.run(r, "dpmpp_2m").steps_run, 1) << name;
  }
}

TEST(Reference, StrengthOneOfAnEditingModelStartsFromNoiseAlone) {
  const Loaded setup("synthetic:tiny-sd15-ip2p");
  auto r = request();
  r.strength = 1;
  Recorder all_noise, part;
  setup.run(r, "ddim", &all_noise);
  EXPECT_EQ(all_noise.seen.count("draw.00"), 1u);
  EXPECT_EQ(all_noise.seen.count("draw.01"), 0u);
  EXPECT_TRUE(at::equal(all_noise.seen.at("loop.latents_in").front(), all_noise.seen.at("draw.00").front()));
  r.strength = 0.99;
  setup.run(r, "ddim", &part);
  EXPECT_EQ(part.seen.count("draw.01"), 1u);
}

TEST(Reference, OddLatentSizes) {
  // 36 x 28 pixels are 9 x 7 latents: the UNet's halving rounds up, and its way up must find the same sizes again.
  for (const auto& name : kModels) {
    const Loaded setup(name);
    auto r = request();
    r.width = 38;
    r.height = 28;
    const auto result = setup.run(r);
    EXPECT_EQ(result.width, 36) << name;
    EXPECT_EQ(result.images.sizes(), (std::vector<std::int64_t>{1, 28, 36, 3})) << name;
  }
}

TEST(Reference, ResultSaysWhatWasDone) {
  const Loaded setup("synthetic:tiny-sd15");
  auto r = request();
  r.prompt_2 = "something else";
  r.image_guidance_scale = 3;
  const auto result = setup.run(r, "euler");
  EXPECT_EQ(result.seed, 7u);
  EXPECT_EQ(result.steps_run, 3);
  EXPECT_EQ(result.warnings.size(), 2u);
  EXPECT_TRUE(at::equal(result.images, [&] {
    auto plain = request();
    return setup.run(plain, "euler").images;
  }()));  // and not a bit of the output changes

  std::map<std::string, int> stages;
  double sum = 0;
  for (const auto& stage : result.stages) {
    ++stages[stage.name];
    sum += stage.ms;
  }
  const std::map<std::string, int> expected = {{"preprocess", 1}, {"encode_prompt", 1},  {"vae_encode", 1},
                                               {"unet", 3},       {"scheduler_step", 3}, {"vae_decode", 1},
                                               {"postprocess", 1}};
  EXPECT_EQ(stages, expected);
  EXPECT_LE(sum, result.total_ms);
}

TEST(Reference, NotANumberIsAnErrorThatSaysWhere) {
  const auto unet = error_with_nan("unet", "conv_out.bias");
  EXPECT_EQ(unet.code(), ErrorCode::kGenerationFailed);
  EXPECT_NE(std::string(unet.what()).find("unet, step 0"), std::string::npos) << unet.what();
  const auto encoder = error_with_nan("vae", "encoder.conv_out.bias");
  EXPECT_NE(std::string(encoder.what()).find("vae_encode"), std::string::npos) << encoder.what();
  const auto decoder = error_with_nan("vae", "decoder.conv_out.bias");
  EXPECT_NE(std::string(decoder.what()).find("vae_decode"), std::string::npos) << decoder.what();
  const auto text = error_with_nan("text_encoder", "final_layer_norm.bias");
  EXPECT_NE(std::string(text.what()).find("encode_prompt"), std::string::npos) << text.what();
}

TEST(Reference, WeightsThatDoNotFitAreNamed) {
  const auto message = [](auto&& spoil) {
    auto model = std::make_shared<Model>(*load_model("synthetic:tiny-sd15"));
    spoil(*model);
    try {
      make_reference_pipeline(model, {});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kGenerationFailed);
      return std::string(error.what());
    }
    return std::string("no error at all");
  };
  EXPECT_NE(message([](Model& m) { m.unet_weights.erase("conv_in.weight"); }).find("conv_in.weight"),
            std::string::npos);
  EXPECT_NE(message([](Model& m) { m.vae_weights["stray"] = at::zeros({1}); }).find("stray"), std::string::npos);
  EXPECT_NE(message([](Model& m) { m.vae_weights["quant_conv.bias"] = at::zeros({3}); }).find("[3]"),
            std::string::npos);
}

TEST(Reference, Float64AndBfloat16SurroundFloat32) {
  for (const auto& name : kModels) {
    const Loaded single(name), exact(name, at::kDouble), half(name, at::kBFloat16);
    for (const auto& scheduler : kSchedulers) {
      const auto truth = exact.run(request(), scheduler).images;
      const auto off = distance(single.run(request(), scheduler).images, truth);
      EXPECT_LE(off, 1e-5) << name << " " << scheduler;
      const auto half_off = distance(half.run(request(), scheduler).images, truth);
      EXPECT_GT(half_off, off) << name << " " << scheduler;  // bfloat16 was not float32 in disguise
      EXPECT_LE(half_off, 0.5) << name << " " << scheduler;
    }
  }
}

TEST(Reference, WhatIsNotImplementedIsRefusedByName) {
  const auto model = load_model("synthetic:tiny-sd15");
  const auto message = [&](const std::string& scheduler) {
    const auto pipeline = make_reference_pipeline(model, {});
    GenerateOptions options;
    options.scheduler = resolve_scheduler(scheduler, model->config);
    try {
      pipeline->generate(request(), gradient(32, 32), options);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      return std::string(error.what());
    }
    return std::string("no error at all");
  };
  for (const std::string key : {"use_flow_sigmas", "use_dynamic_shifting"}) {
    EXPECT_NE(message("dpmpp_2m:" + key + "=true").find(key), std::string::npos);
  }
  EXPECT_NE(message("dpmpp_2m:algorithm_type=dpmsolver+++").find("algorithm_type"), std::string::npos);
  EXPECT_NE(message("dpmpp_2m:solver_order=4").find("solver_order"), std::string::npos);
  EXPECT_NE(message("euler:interpolation_type=cubic").find("interpolation_type"), std::string::npos);
  EXPECT_NE(message("ddim:timestep_spacing=backwards").find("timestep_spacing"), std::string::npos);

  PipelineOptions with_feature;
  with_feature.features["anything"] = true;
  EXPECT_THROW(make_reference_pipeline(model, with_feature), Error);
  PipelineOptions integers;
  integers.dtype = at::kInt;
  EXPECT_THROW(make_reference_pipeline(model, integers), Error);
}

}  // namespace
}  // namespace i2i

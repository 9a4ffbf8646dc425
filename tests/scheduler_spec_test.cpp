// Scheduler names, options and diffusers' from_config rule, the repair by its image-to-image constructor included. The
// expected configurations come from datasets/goldens/make_scheduler_config_goldens.py.
#include "interface/scheduler_spec.h"

#include <gtest/gtest.h>

#include <fstream>

#include "interface/error.h"
#include "tests/failures.h"

namespace i2i {
namespace {

using nlohmann::json;

const json& golden() {
  static const json document = [] {
    std::ifstream in(std::string(I2I_SOURCE_DIR) + "/datasets/goldens/scheduler_configs.json");
    return json::parse(in);
  }();
  return document;
}

ModelConfig model_with(const json& scheduler_config, const std::string& pipeline) {
  ModelConfig model;
  model.name = "test";
  model.unet.text_time_conditioning = pipeline.starts_with("sdxl");
  model.unet.in_channels = pipeline.ends_with("ip2p") ? 8 : 4;
  model.scheduler = scheduler_config;
  return model;
}

std::string usage_error(const std::string& text, const json& scheduler_config = json::object()) {
  return failure_of([&] { resolve_scheduler(text, model_with(scheduler_config, "sd")); }, ErrorCode::kUsage);
}

TEST(SchedulerSpec, DefaultsAreDiffusersConstructors) {
  ASSERT_EQ(known_schedulers().size(), golden().at("defaults").size());
  for (const SchedulerDescription& scheduler : known_schedulers())
    EXPECT_EQ(scheduler.defaults, golden().at("defaults").at(scheduler.name)) << scheduler.name;
}

TEST(SchedulerSpec, ConfigurationsMatchDiffusers) {
  int compared = 0;
  for (const json& one : golden().at("cases")) {
    const ModelConfig model = model_with(one.at("scheduler_config"), one.at("pipeline").get<std::string>());
    for (const auto& [text, differences] : one.at("differs_from_defaults").items()) {
      const SchedulerSpec spec = resolve_scheduler(text, model);
      json expected = golden().at("defaults").at(spec.name);
      expected.update(differences);
      EXPECT_EQ(spec.config, expected) << "\"" << text << "\" in " << one.at("pipeline") << " with "
                                       << one.at("scheduler_config") << "\n"
                                       << json::diff(spec.config, expected);
      ++compared;
    }
  }
  EXPECT_GE(compared, 300);
}

TEST(SchedulerSpec, NamesAliasesAndClassesAreOneScheduler) {
  const ModelConfig model = model_with(json::object(), "sdxl");
  for (const char* name : {"euler_a", "Euler a", "EULER A", "euler ancestral", "EulerAncestralDiscreteScheduler"})
    EXPECT_EQ(resolve_scheduler(name, model).class_name, "EulerAncestralDiscreteScheduler") << name;
  for (const SchedulerDescription& scheduler : known_schedulers())
    for (const std::string& alias : scheduler.aliases) EXPECT_EQ(resolve_scheduler(alias, model).name, scheduler.name);
  EXPECT_EQ(resolve_scheduler("PLMS", model).config.at("skip_prk_steps"), true);
  EXPECT_EQ(resolve_scheduler("DPM++ 2M", model).config.at("use_karras_sigmas"), false);
}

TEST(SchedulerSpec, OptionsAreTypedByTheirDefaults) {
  const ModelConfig model = model_with(json::object(), "sdxl");
  const json config =
      resolve_scheduler("DPM++ 2M Karras:use_karras_sigmas=false,solver_type=heun,flow_shift=2,trained_betas=[0.1,0.2]",
                        model)
          .config;
  EXPECT_EQ(config.at("use_karras_sigmas"), false);
  EXPECT_EQ(config.at("solver_type"), "heun");
  EXPECT_TRUE(config.at("flow_shift").is_number_float());
  EXPECT_EQ(config.at("trained_betas"), json({0.1, 0.2}));
  EXPECT_EQ(resolve_scheduler("dpmpp_2m:variance_type=learned", model).config.at("variance_type"), "learned");
}

TEST(SchedulerSpec, ArgumentsOfStepAreOptionsAndNeverConfiguration) {
  const ModelConfig model = model_with({{"_class_name", "DDIMScheduler"}, {"eta", 0.7}}, "sdxl");
  EXPECT_FALSE(resolve_scheduler("", model).config.contains("eta"));
  EXPECT_FALSE(resolve_scheduler("ddim", model).config.contains("eta"));
  EXPECT_EQ(resolve_scheduler("ddim:eta=0.5", model).config.at("eta"), 0.5);
  EXPECT_NE(usage_error("ddim:eta=much").find("a number"), std::string::npos);
  EXPECT_NE(usage_error("ddim:etta=1").find("eta"), std::string::npos);
  EXPECT_NE(usage_error("pndm:eta=1").find("eta is not known"), std::string::npos);
}

TEST(SchedulerSpec, WhatIsNotKnownIsSaid) {
  EXPECT_NE(usage_error("eular").find("dpmpp_2m (DPMSolverMultistepScheduler, DPM++ 2M"), std::string::npos);
  EXPECT_NE(usage_error("ddim:stepsoffset=1").find("steps_offset"), std::string::npos);
  EXPECT_NE(usage_error("ddim:steps_offset").find("key=value"), std::string::npos);
  EXPECT_NE(usage_error("ddim:=1").find("key=value"), std::string::npos);
  EXPECT_NE(usage_error("ddim:steps_offset=1.5").find("a whole number"), std::string::npos);
  EXPECT_NE(usage_error("ddim:clip_sample=1").find("true or false"), std::string::npos);
  EXPECT_NE(usage_error("ddim:beta_start=small").find("a number"), std::string::npos);
  EXPECT_NE(usage_error("", {{"_class_name", "RePaintScheduler"}}).find("RePaintScheduler"), std::string::npos);
  EXPECT_NE(usage_error("").find("choose one of"), std::string::npos);
}

TEST(SchedulerSpec, BrokenModelConfigsAreNamed) {
  const auto with = [](const json& value) {
    return model_with({{"_class_name", "DDIMScheduler"}, {"beta_start", value}}, "sdxl");
  };
  EXPECT_EQ(resolve_scheduler("", with(0)).config.at("beta_start"), 0.0);
  expect_contains(failure_of([&] { resolve_scheduler("", with("small")); }), "beta_start is \"small\"");
}

/// Found by ci/fuzz: a whole number that no integer holds was made one.
TEST(SchedulerSpec, WholeDoublesAreIntegersWhereTheyFit) {
  const auto config_of = [](double offset) {
    return resolve_scheduler("", model_with({{"_class_name", "LCMScheduler"}, {"steps_offset", offset}}, "sdxl"))
        .config;
  };
  const json one = config_of(1.0).at("steps_offset");
  EXPECT_TRUE(one.is_number_integer());
  EXPECT_EQ(one, 1);
  for (const double offset : {1.5, 1e16, -1e16, 9.3e18, 1.3e53})
    expect_contains(failure_of([&] { config_of(offset); }), "steps_offset is ");
}

}  // namespace
}  // namespace i2i

// Promise: a sweep file expands to the cells that it describes, in a stable order, and says what is wrong with it.
#include "harness/sweep.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "harness/runner.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

class SweepFile : public testing::Test {
 protected:
  std::string write(const std::string& text) {
    const std::string path = (scratch_ / "sweep.json").string();
    std::ofstream(path) << text;
    return path;
  }
  std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
    try {
      load_sweep(write(text), overrides);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  const ScratchFolder scratch_;
  const std::string request_ = R"("request": {"source_image": "a.png", "prompt": "x", "negative_prompt": ""})";
};

TEST_F(SweepFile, ExpandsInAStableOrderTheLastAxisFastest) {
  const Sweep sweep = load_sweep(
      write("{" + request_ + R"(, "axes": {"steps": [2, 4], "scheduler": ["ddim", "euler"], "strength": [0.5, 1]}})"),
      {});
  ASSERT_EQ(sweep.cells.size(), 8u);
  EXPECT_EQ(sweep.cells[0].key, "scheduler=ddim strength=0.5 steps=2");
  EXPECT_EQ(sweep.cells[1].key, "scheduler=ddim strength=0.5 steps=4");
  EXPECT_EQ(sweep.cells[7].key, "scheduler=euler strength=1 steps=4");
  EXPECT_EQ(sweep.cells[7].request.steps, 4);
  EXPECT_EQ(sweep.cells[7].scheduler, "euler");
  std::set<std::string> keys;
  for (const Cell& cell : sweep.cells) keys.insert(cell.key);
  EXPECT_EQ(keys.size(), 8u);
}

TEST_F(SweepFile, SizesBecomeWidthAndHeight) {
  const Sweep sweep = load_sweep(write("{" + request_ + R"(, "axes": {"size": ["64x48"]}})"), {});
  EXPECT_EQ(sweep.cells.at(0).request.width, 64);
  EXPECT_EQ(sweep.cells.at(0).request.height, 48);
}

TEST_F(SweepFile, TheReferencesPrecisionIsAnAxis) {
  const Sweep sweep = load_sweep(write("{" + request_ + R"(, "axes": {"reference_dtype": ["fp32", "fp16"]}})"), {});
  EXPECT_EQ(sweep.cells.at(1).key, "reference_dtype=fp16");
  EXPECT_EQ(sweep.cells.at(1).reference_dtype, "fp16");
  EXPECT_EQ(load_sweep(write("{" + request_ + "}"), {}).cells.at(0).reference_dtype, "fp32");
  EXPECT_NE(error_of("{" + request_ + R"(, "reference_dtype": "fp8"})").find("there is no dtype 'fp8'"),
            std::string::npos);
}

TEST_F(SweepFile, LoraFilesAreAnAxis) {
  const Sweep sweep = load_sweep(
      write("{" + request_ +
            R"(, "axes": {"loras": ["none", "a.safetensors:0.5", ["a.safetensors", "/b.safetensors:-1"]]}})"),
      {});
  ASSERT_EQ(sweep.cells.size(), 3u);
  EXPECT_EQ(sweep.cells[0].loras, std::vector<LoraFile>{});
  EXPECT_EQ(sweep.cells[0].key, "loras=none");
  const std::string a = (scratch_ / "a.safetensors").string();
  EXPECT_EQ(sweep.cells[1].loras, (std::vector<LoraFile>{{a, 0.5}}));
  EXPECT_EQ(sweep.cells[2].loras, (std::vector<LoraFile>{{a, 1}, {"/b.safetensors", -1}}));
  EXPECT_EQ(sweep.cells[2].key, "loras=a.safetensors + /b.safetensors:-1");
}

TEST_F(SweepFile, ACellWithALoraIsRepeatedWithIt) {
  const std::string file = I2I_SOURCE_DIR "/datasets/goldens/loras/sd15_kohya.safetensors";
  const Sweep sweep = load_sweep(write(R"({"model": ")" I2I_SOURCE_DIR R"(/datasets/goldens/models/sd15", "request": {
                "source_image": ")" I2I_SOURCE_DIR R"(/datasets/sources/scene_00.png", "prompt": "a red square",
                "negative_prompt": "", "steps": 1, "seed": 3, "width": 32, "height": 32},
                "metrics": ["psnr"], "warmup": 0, "repetitions": 1})"),
                                 {"loras=none," + file + ":0.5"});
  Runner runner("cpu", NoiseMode::kPerImage);
  const CellRow without = runner.run(sweep, sweep.cells.at(0)), with = runner.run(sweep, sweep.cells.at(1));
  EXPECT_EQ(without.verdict, "passed") << without.reason;
  EXPECT_EQ(with.verdict, "passed") << with.reason;
  EXPECT_NE(without.reference_png, with.reference_png);
  EXPECT_NE(without.optimized_png, with.optimized_png);
  EXPECT_EQ(without.command.find("--lora"), std::string::npos) << without.command;
  EXPECT_NE(with.command.find("--lora '" + file + ":0.5'"), std::string::npos) << with.command;
}

TEST_F(SweepFile, PresetsAndFeaturesAreAxesAndChecked) {
  const Sweep sweep =
      load_sweep(write("{" + request_ + R"(, "features": "-winograd", "axes": {"preset": ["exact", "fast"],
                                 "guidance_scale": [2, 3]}})"),
                 {});
  ASSERT_EQ(sweep.cells.size(), 4u);
  EXPECT_EQ(sweep.cells[3].key, "preset=fast guidance_scale=3");
  EXPECT_EQ(sweep.cells[3].preset, "fast");
  EXPECT_EQ(sweep.cells[3].features, "-winograd");
  EXPECT_EQ(error_of("{" + request_ + R"(, "axes": {"preset": ["ludicrous"]}})"),
            "there is no preset 'ludicrous'; known: exact, balanced, fast");
  EXPECT_EQ(error_of("{" + request_ + R"(, "axes": {"features": ["feature_reuse=99"]}})"),
            "feature_reuse: an interval of 99 steps is outside [1, 50]");
}

TEST_F(SweepFile, SourcesAreRelativeToTheFile) {
  const Sweep sweep = load_sweep(write("{" + request_ + "}"), {});
  EXPECT_EQ(sweep.cells.at(0).request.source_image, (scratch_ / "a.png").string());
}

TEST_F(SweepFile, OverridesReplaceAnAxis) {
  const Sweep sweep = load_sweep(write("{" + request_ + R"(, "axes": {"steps": [2, 4]}})"), {"steps=5,6,7", "seed=1"});
  ASSERT_EQ(sweep.cells.size(), 3u);
  EXPECT_EQ(sweep.cells[2].request.steps, 7);
  EXPECT_EQ(sweep.cells[2].request.seed, 1u);
}

TEST_F(SweepFile, SaysWhatIsWrong) {
  EXPECT_NE(error_of("{" + request_ + R"(, "axes": {"stregth": [1]}})").find("no axis 'stregth'; known: model"),
            std::string::npos);
  EXPECT_NE(error_of("{" + request_ + R"(, "axis": {}})").find("no key 'axis'"), std::string::npos);
  EXPECT_NE(error_of("{" + request_ + R"(, "axes": {"steps": []}})").find("at least one value"), std::string::npos);
  for (const char* size : {"64", "64x48px", "x48", "64x999999999999"}) {
    EXPECT_NE(error_of("{" + request_ + R"(, "axes": {"size": [")" + size + R"("]}})").find("WIDTHxHEIGHT"),
              std::string::npos)
        << size;
  }
  EXPECT_NE(error_of("{" + request_ + R"(, "metrics": ["smim"]})").find("no metric 'smim'"), std::string::npos);
  EXPECT_NE(error_of("{" + request_ + "}", {"steps"}).find("expected name=value"), std::string::npos);
  EXPECT_NE(error_of("{" + request_ + R"(, "features": "winogard"})").find("winogard"), std::string::npos);
  EXPECT_NE(error_of("{" + request_ + R"(, "axes": {"loras": ["a:much"]}})").find("\"much\" is no finite weight"),
            std::string::npos);
  EXPECT_NE(error_of("{" + request_ + R"(, "axes": {"loras": [0.5]}})").find("0.5 is no FILE"), std::string::npos);
  EXPECT_NE(error_of("[").find("not a JSON document"), std::string::npos);
  for (const char* steps : {"0", "51", "4294967297", "1e300", "2.5", "\"ten\""}) {
    EXPECT_NE(
        error_of("{" + request_ + R"(, "promises": {"steps": )" + steps + "}}").find("a whole number from 1 to 50"),
        std::string::npos)
        << steps;
  }
}

TEST_F(SweepFile, AnInvalidCellIsNamedBeforeAnythingRuns) {
  const std::string message = error_of("{" + request_ + R"(, "axes": {"strength": [0.5, 1.2]}})");
  EXPECT_NE(message.find("cell 1 (strength=1.2)"), std::string::npos) << message;
  EXPECT_NE(message.find("1.2 is above the maximum 1"), std::string::npos) << message;
}

TEST(SweepFiles, ThoseThatComeWithI2iExpand) {
  const std::string folder = I2I_SOURCE_DIR "/datasets/sweeps/";
  EXPECT_EQ(load_sweep(folder + "demo.json", {}).cells.size(), 4u * 3 * 3 * 2);
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const Sweep sweep = load_sweep(entry.path().string(), {});
    EXPECT_FALSE(sweep.cells.empty()) << entry.path();
    for (const Cell& cell : sweep.cells)
      EXPECT_TRUE(std::filesystem::exists(cell.request.source_image)) << cell.request.source_image;
  }
}

// Buffers are let go when the batch size changes: what a cell needs must not depend on how many cells came before it.
TEST_F(SweepFile, MemoryOfACellDoesNotGrowWithTheCellsBeforeIt) {
  const Sweep sweep = load_sweep(write(R"({"request": {"source_image": ")" I2I_SOURCE_DIR
                                       R"(/datasets/sources/scene_00.png", "prompt": "a red square",
                "negative_prompt": "", "steps": 1, "seed": 3},
                "axes": {"strength": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], "batch_size": [1, 8]},
                "metrics": ["psnr"], "warmup": 0, "repetitions": 1})"),
                                 {});
  Runner runner("cpu", NoiseMode::kPerImage);
  std::vector<std::int64_t> peaks;
  for (const Cell& cell : sweep.cells) {
    const CellRow row = runner.run(sweep, cell);
    ASSERT_EQ(row.verdict, "passed") << row.reason;
    peaks.push_back(row.implementations.back().peak_host_bytes);
  }
  for (std::size_t i = 4; i < peaks.size(); ++i) {
    EXPECT_LT(static_cast<double>(peaks[i]), 1.1 * static_cast<double>(peaks[i % 2 + 2])) << "cell " << i;
  }
}

}  // namespace
}  // namespace i2i

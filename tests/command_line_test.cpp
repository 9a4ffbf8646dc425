// Promise: every row of the action's error table is what the command line answers: the code and its violations as one
// JSON object on stdout, words on stderr, and the exit code of design section 7. Runs the built program on a tiny
// model.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "interface/source_image.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct Outcome {
  int exit_code = -1;  ///< 128 + signal where the program crashed
  std::string out;
  std::string err;
};

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

/// A word as a POSIX shell takes it literally.
std::string quoted(const std::string& word) {
  std::string result("'");
  for (const char c : word) {
    if (c == '\'') {
      result.append("'\\''");
    } else {
      result.push_back(c);
    }
  }
  result.push_back('\'');
  return result;
}

class CommandLine : public testing::Test {
 protected:
  void SetUp() override {
    // The harness may be left out of a build of the contract alone; the program itself is not this test's to build.
    ASSERT_TRUE(fs::exists(I2I_BINARY)) << "build the target i2i first: " << I2I_BINARY;
    fs::create_directories(folder_);
    write_png({64, 64, std::vector<std::uint8_t>(64 * 64 * 3, 90)}, (folder_ / "source.png").string());
  }

  /// Runs the program in a shell, `before` it (environment, limits) as it stands.
  Outcome run_program(const std::vector<std::string>& arguments, const std::string& before = "",
                      const fs::path& input = "/dev/null") const {
    std::string command = fmt::format("{} {}", before, quoted(I2I_BINARY));
    for (const std::string& argument : arguments) command += fmt::format(" {}", quoted(argument));
    const fs::path out = folder_ / "stdout", err = folder_ / "stderr";
    command += fmt::format(" >{} 2>{} <{}", quoted(out.string()), quoted(err.string()), quoted(input.string()));
    // NOLINTNEXTLINE(bugprone-command-processor): a shell is what is tested
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read(out), read(err)};
  }

  json request() const {
    return {
        {"source_image", "source.png"}, {"prompt", "a red circle"}, {"negative_prompt", ""}, {"steps", 2}, {"seed", 7}};
  }

  /// `i2i run` of a request's text on a model of the goldens.
  Outcome run_request(const std::string& text, const std::vector<std::string>& more = {},
                      const std::string& before = "") const {
    write(folder_ / "request.json", text);
    std::vector<std::string> arguments = {"run", (folder_ / "request.json").string(), "--out",
                                          (folder_ / "out").string()};
    if (std::find(more.begin(), more.end(), "--model") == more.end())
      arguments.insert(arguments.end(), {"--model", kModel});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments, before);
  }

  Outcome run_with(const std::string& field, const json& value) const {
    json changed = request();
    changed[field] = value;
    return run_request(changed.dump());
  }

  /// A copy of the tiny model in which `change` may break something.
  template <typename Change>
  std::string broken_model(const std::string& name, Change change) const {
    const fs::path copy = folder_ / name;
    fs::copy(kModel, copy, fs::copy_options::recursive);
    change(copy);
    return copy.string();
  }

  static inline const std::string kModel = I2I_SOURCE_DIR "/datasets/goldens/models/sd15";
  const ScratchFolder scratch_;
  const fs::path folder_ = scratch_ / "command line";
};

/// The error object on stdout has this code; the exit code and the words on stderr go with it.
void expect_error(const Outcome& outcome, int exit_code, const std::string& code, const std::string& words = "") {
  EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
  EXPECT_FALSE(outcome.err.empty());
  const json printed = json::parse(outcome.out, nullptr, false);
  ASSERT_TRUE(printed.is_object() && printed.contains("error"))
      << "stdout: " << outcome.out << "\nstderr: " << outcome.err;
  EXPECT_EQ(printed.size(), 1u);
  EXPECT_EQ(printed["error"]["code"], code) << outcome.out;
  EXPECT_TRUE(printed["error"]["violations"].is_array());
  const std::string message = printed["error"]["message"];
  EXPECT_NE(message.find(words), std::string::npos) << message;
}

TEST_F(CommandLine, APictureIsMadeAndItsAddressPrinted) {
  json two = request();
  two["batch_size"] = 2;
  for (const char* implementation : {"reference", "optimized"}) {
    const Outcome outcome = run_request(two.dump(), {"--impl", implementation});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const json printed = json::parse(outcome.out);
    ASSERT_EQ(printed.size(), 1u);
    ASSERT_EQ(printed["images"].size(), 2u);
    for (const std::string address : printed["images"]) {
      EXPECT_EQ(address.rfind("file:///", 0), 0u) << address;
      EXPECT_GT(load_source_image(address.substr(7)).width, 0) << address;
    }
  }
}

TEST_F(CommandLine, InvalidConnection) {
  const std::string text = request().dump();
  expect_error(run_request(text, {"--impl", "remote:acme"}, "env -u I2I_REMOTE_ACME_URL"), 64, "invalid_connection",
               "I2I_REMOTE_ACME_URL");
}

TEST_F(CommandLine, SourceImageError) {
  write(folder_ / "text.png", "no picture");
  write(folder_ / "movie.gif", "GIF89a");
  const std::string whole = read(folder_ / "source.png");
  write(folder_ / "cut.png", whole.substr(0, whole.size() - 20));
  std::string bomb =
      whole;  // its header asks for 2^24 x 2^24 pixels; the checksum is wrong as well, either way it is refused
  bomb[16] = bomb[20] = 1;
  write(folder_ / "bomb.png", bomb);
  expect_error(run_with("source_image", "missing.png"), 64, "source_image_error", "missing.png: No such file");
  expect_error(run_with("source_image", "text.png"), 64, "source_image_error", "not a picture");
  expect_error(run_with("source_image", "movie.gif"), 64, "source_image_error", "GIF is not supported");
  expect_error(run_with("source_image", "cut.png"), 64, "source_image_error", "ends early");
  expect_error(run_with("source_image", "bomb.png"), 64, "source_image_error");
  expect_error(run_with("source_image", "http://127.0.0.1:1/a.png"), 64, "source_image_error",
               "http://127.0.0.1:1/a.png");
  expect_error(run_with("source_image", "ftp://127.0.0.1/a.png"), 64, "source_image_error", "only paths");
  expect_error(run_with("source_image", "data:image/png;base64,AAAA"), 64, "source_image_error");
  expect_error(run_with("source_image", ""), 64, "source_image_error", "/source_image");
}

TEST_F(CommandLine, EmptyPrompt) {
  for (const char* prompt : {"", "   ", "\u3000\n"})
    expect_error(run_with("prompt", prompt), 64, "empty_prompt", "/prompt");
  json without = request();
  without.erase("prompt");
  expect_error(run_request(without.dump()), 64, "empty_prompt", "/prompt: is missing");
}

TEST_F(CommandLine, ParametersOutOfBounds) {
  expect_error(run_with("strength", 1.2), 64, "invalid_strength", "/strength: 1.2 is above the maximum 1.0");
  expect_error(run_with("strength", 0), 64, "invalid_strength", "/strength: 0 is not above 0.0");
  expect_error(run_with("guidance_scale", 15.5), 64, "invalid_guidance",
               "/guidance_scale: 15.5 is above the maximum 15.0");
  expect_error(run_with("image_guidance_scale", 0), 64, "invalid_guidance",
               "/image_guidance_scale: 0 is not above 0.0");
  expect_error(run_with("steps", 51), 64, "invalid_steps", "/steps: 51 is above the maximum 50");
  expect_error(run_with("steps", 0), 64, "invalid_steps", "/steps: 0 is below the minimum 1");
  expect_error(run_with("batch_size", 9), 64, "batch_size_exceeded", "/batch_size: 9 is above the maximum 8");
}

TEST_F(CommandLine, InvalidRequest) {
  expect_error(run_with("strenght", 0.5), 64, "invalid_request", "did you mean strength?");
  expect_error(run_with("steps", "20"), 64, "invalid_request", "/steps: \"20\" is not of type integer");
  expect_error(run_with("width", -1), 64, "invalid_request", "/width: -1 is below the minimum 0");
  expect_error(run_with("height", 4097), 64, "invalid_request", "/height: 4097 is above the maximum 4096");
  expect_error(run_with("width", 1), 64, "invalid_request");  // rounds down to nothing
  for (const std::string text : {"", "{", "[]", "{\"strength\": NaN}", "{\"strength\": 1e309}"}) {
    expect_error(run_request(text), 64, "invalid_request");
  }
  expect_error(run_request(std::string(200'000, '[')), 64, "invalid_request", "nested deeper");
}

TEST_F(CommandLine, SeveralViolationsArriveTogether) {
  json wrong = request();
  wrong["prompt"] = "";
  wrong["strength"] = 2;
  wrong["steps"] = 0;
  const Outcome outcome = run_request(wrong.dump());
  expect_error(outcome, 64, "empty_prompt");
  const json violations = json::parse(outcome.out)["error"]["violations"];
  ASSERT_EQ(violations.size(), 3u);
  EXPECT_EQ(violations[1]["pointer"], "/strength");
  EXPECT_EQ(violations[2]["code"], "invalid_steps");
  for (const char* pointer : {"/prompt", "/strength", "/steps"}) {
    EXPECT_NE(outcome.err.find(pointer), std::string::npos)
        << "stderr does not name " << pointer << ": " << outcome.err;
  }
}

TEST_F(CommandLine, GenerationFailed) {
  const std::string text = request().dump();
  const fs::path unet = fs::path("unet") / "diffusion_pytorch_model.safetensors";
  const auto run_on = [&](const std::string& model, const char* implementation) {
    return run_request(text, {"--model", model, "--impl", implementation});
  };
  const std::string nan = broken_model("nan", [&](const fs::path& model) {
    std::string weights = read(model / unet);
    const std::size_t header = static_cast<std::uint8_t>(weights[0]) |
                               static_cast<std::size_t>(static_cast<std::uint8_t>(weights[1])) << 8 |
                               static_cast<std::size_t>(static_cast<std::uint8_t>(weights[2])) << 16;
    std::fill(weights.begin() + static_cast<std::ptrdiff_t>(8 + header), weights.end(),
              '\xFF');  // not a number, in each format
    write(model / unet, weights);
  });
  const std::string cut = broken_model("cut", [&](const fs::path& model) {
    const std::string weights = read(model / unet);
    write(model / unet, weights.substr(0, weights.size() / 2));
  });
  const std::string no_weights = broken_model("no weights", [&](const fs::path& model) { fs::remove(model / unet); });
  const std::string bad_config = broken_model(
      "bad config", [](const fs::path& model) { write(model / "unet" / "config.json", "{\"in_channels\": "); });
  for (const char* implementation : {"reference", "optimized"}) {
    SCOPED_TRACE(implementation);
    expect_error(run_on(nan, implementation), 70, "generation_failed");
    expect_error(run_on(cut, implementation), 70, "generation_failed", unet.string());
    expect_error(run_on(no_weights, implementation), 70, "generation_failed", "unet");
    expect_error(run_on(bad_config, implementation), 70, "generation_failed", "config.json");
    expect_error(run_on((fs::path(kModel) / unet).string(), implementation), 70, "generation_failed",
                 "a part of a model");
  }
}

TEST_F(CommandLine, LoraFilesChangeThePicture) {
  const std::string loras = I2I_SOURCE_DIR "/datasets/goldens/loras/";
  const auto picture = [&](const std::vector<std::string>& more) {
    const Outcome outcome = run_request(request().dump(), more);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return read(folder_ / "out" / "0.png");
  };
  const std::string plain = picture({});
  EXPECT_EQ(picture({"--lora", loras + "sd15_old.safetensors:0"}), plain);
  const std::string one = picture({"--lora", loras + "sd15_old.safetensors"});
  EXPECT_NE(one, plain);
  EXPECT_NE(picture({"--lora", loras + "sd15_old.safetensors", "--lora", loras + "sd15_peft.safetensors:-0.5"}), one);
  expect_error(run_request(request().dump(), {"--lora", "missing.safetensors"}), 70, "generation_failed",
               "missing.safetensors: cannot be opened");
  expect_error(run_request(request().dump(), {"--lora", loras + "sdxl_peft.safetensors"}), 70, "generation_failed",
               "leads to no tensor of the model");
}

TEST_F(CommandLine, MemoryThatRunsOutIsAFailureAndNoCrash) {
  json large = request();
  large["width"] = large["height"] = 4096;
  large["batch_size"] = 8;
  expect_error(run_request(large.dump(), {}, "ulimit -v 2200000; OMP_NUM_THREADS=2 MKL_NUM_THREADS=2"), 70,
               "generation_failed", "memory");
}

TEST_F(CommandLine, AnUnwritableFolderIsAFailure) {
  write(folder_ / "a file", "");
  write(folder_ / "request.json", request().dump());
  expect_error(run_program({"run", (folder_ / "request.json").string(), "--model", kModel, "--out",
                            (folder_ / "a file" / "out").string()}),
               70, "generation_failed", "a file");
}

/// What cannot be understood is explained on stderr, makes nothing and ends with 64.
TEST_F(CommandLine, UsageErrors) {
  write(folder_ / "request.json", request().dump());
  const std::string file = (folder_ / "request.json").string();
  const std::vector<std::pair<std::vector<std::string>, std::string>> rows = {
      {{}, ""},
      {{"rnu", file}, "run"},
      {{"run"}, "REQUEST.json"},
      {{"run", file, "--modle", kModel}, "--model"},
      {{"run", file, "--model", kModel, "--model-config", kModel}, "describes a single file"},
      {{"run", file, "--model", kModel, "--impl", "fastest"}, "reference"},
      {{"run", file, "--model", kModel, "--scheduler", "eular"}, "eular"},
      {{"run", file, "--model", kModel, "--scheduler", "ddim:eta=much"}, "eta"},
      {{"run", file, "--model", kModel, "--dtype", "fp8"}, "fp8"},
      {{"run", file, "--model", kModel, "--device", "abacus"}, "abacus"},
      {{"run", file, "--model", kModel, "--impl", "optimized", "--device", "cuda-emulated"}, "i2i_emulated"},
      {{"run", file, "--model", kModel, "--noise", "loud"}, "loud"},
      {{"run", file, "--model", kModel, "--features", "warp_speed"}, "warp_speed"},
      {{"run", file, "--model", kModel, "--threads", "-3"}, "-3"},
      {{"run", file, "--model", kModel, "--lora", "a.safetensors:much"}, "\"much\" is no finite weight"},
      {{"check", "--against", "goldens", "--lora", "a.safetensors"}, "takes no --lora"},
      {{"run", (folder_ / "missing.json").string(), "--model", kModel}, "missing.json"},
      {{"check", (folder_ / "missing.json").string(), "--model", kModel}, "missing.json"},
      {{"sweep", (folder_ / "missing.json").string(), "--out", (folder_ / "out").string()}, "missing.json"},
      {{"report", (folder_ / "no sweep").string()}, "no sweep"},
      {{"kernels", "--filter", "("}, "regular expression"},
      {{"kernels", "--filter", "warp_drive"}, "warp_drive"},
      {{"kernels", "--chekc"}, "--check"},
  };
  for (const auto& [arguments, words] : rows) {
    std::string line = "i2i";
    for (const std::string& argument : arguments) line += " " + argument;
    SCOPED_TRACE(line);
    const Outcome outcome = run_program(arguments);
    EXPECT_EQ(outcome.exit_code, 64) << outcome.out << outcome.err;
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.out.find("images"), std::string::npos) << outcome.out;
  }
}

TEST_F(CommandLine, OtherCommandsRefuseRequestsInTheSameWay) {
  json wrong = request();
  wrong["strength"] = 2;
  write(folder_ / "request.json", wrong.dump());
  expect_error(run_program({"check", (folder_ / "request.json").string(), "--model", kModel}), 64, "invalid_strength");
  write(folder_ / "sweep.json", json{{"request", request()}, {"model", kModel}, {"axes", {{"steps", {1, 51}}}}}.dump());
  expect_error(run_program({"sweep", (folder_ / "sweep.json").string(), "--out", (folder_ / "out").string()}), 64,
               "invalid_steps");
}

TEST_F(CommandLine, KernelsAreCheckedAndTimed) {
  const std::string times = (folder_ / "times.json").string();
  const Outcome outcome = run_program({"kernels", "--filter", "scenes", "--threads", "1", "--min-time", "0.001",
                                       "--benchmark_out=" + times, "--benchmark_out_format=json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("12 operators checked, 0 wrong"), std::string::npos) << outcome.out;
  const json document = json::parse(read(times), nullptr, false);
  ASSERT_TRUE(document.is_object());
  EXPECT_EQ(document["benchmarks"].size(), 24u) << "each operator, and libtorch beside it";
}

// One line a request, one line an answer; a bad request does not end the worker.
TEST_F(CommandLine, WorkerAnswersLineByLine) {
  const std::string source = (folder_ / "source.png").string();
  const json good = {{"source_image", source}, {"prompt", "a"}, {"negative_prompt", ""}, {"steps", 1}, {"seed", 5}};
  json bad = good;
  bad["strength"] = 1.5;
  write(folder_ / "lines", good.dump() + "\n" + bad.dump() + "\n" + good.dump() + "\n");
  const auto run = run_program({"worker", "--model", "synthetic:tiny-sd15", "--out", (folder_ / "made").string()}, "",
                               folder_ / "lines");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  std::vector<json> answers;
  std::istringstream lines(run.out);
  for (std::string line; std::getline(lines, line);) answers.push_back(json::parse(line));
  ASSERT_EQ(answers.size(), 4u) << run.out;
  EXPECT_EQ(answers[0].at("ready"), "synthetic:tiny-sd15");
  EXPECT_EQ(answers[2].at("error").at("code"), "invalid_strength");
  for (const std::size_t i : {1u, 3u}) {
    EXPECT_EQ(answers[i].at("seed"), 5);
    EXPECT_GT(answers[i].at("total_ms").get<double>(), 0);
    EXPECT_TRUE(fs::exists(answers[i].at("images").at(0).get<std::string>().substr(7)));
  }
  EXPECT_NE(answers[1].at("images"), answers[3].at("images")) << "the second picture replaced the first";
}

// The goldens hold, and a golden that says something else is caught and named.
TEST_F(CommandLine, CheckAgainstGoldens) {
  const std::string out = (folder_ / "parity").string();
  const auto good = run_program({"check", "--against", "goldens", "--impl", "optimized", "--out", out});
  EXPECT_EQ(good.exit_code, 0) << good.out;
  const auto document = json::parse(read(out + "/parity.json"));
  EXPECT_GE(document.at("rows").size(), 71u);

  const fs::path other = folder_ / "goldens";
  fs::copy(I2I_SOURCE_DIR "/datasets/goldens", other, fs::copy_options::recursive);
  auto family = json::parse(read(other / "ip2p.json"));
  family["cases"][2]["request"]["image_guidance_scale"] = 1.6;
  write(other / "ip2p.json", family.dump());
  const auto bad = run_program({"check", "--against", other.string(), "--out", out});
  EXPECT_EQ(bad.exit_code, 1) << bad.out;
  EXPECT_NE(bad.out.find("FAILED ip2p          02_euler"), std::string::npos) << bad.out;
  EXPECT_NE(bad.out.find("first off at loop.guided at step 0"), std::string::npos) << bad.out;
  fs::remove(out + "/parity.html");
  EXPECT_EQ(run_program({"report", out}).exit_code, 0);
  const std::string page = read(out + "/parity.html");
  EXPECT_NE(page.find(fmt::format("{} of {} cases", document.at("rows").size() - 1, document.at("rows").size())),
            std::string::npos);
  EXPECT_NE(page.find("✗ failed"), std::string::npos);

  EXPECT_EQ(run_program({"check"}).exit_code, 64);
  EXPECT_EQ(run_program({"check", "--against", (folder_ / "nowhere").string()}).exit_code, 70);
}

TEST_F(CommandLine, HelpAndSchemaAreResults) {
  EXPECT_EQ(run_program({"--help"}).exit_code, 0);
  const Outcome outcome = run_program({"schema"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(json::parse(outcome.out, nullptr, false),
            json::parse(read(I2I_SOURCE_DIR "/interface/image_to_image.schema.json")));
}

}  // namespace
}  // namespace i2i

// Random safetensors files. What read_safetensors accepts is read a second time here, plainly: every tensor lies inside
// the file where the header says, sizes multiply out, all bytes are used once, and what is written from it reads back
// the same.
#include <ATen/ATen.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "interface/model_files.h"
#include "tests/fuzz/fuzz.h"

namespace i2i::fuzz {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kLengthBytes = 8;
constexpr std::pair<std::string_view, std::size_t> kElementBytes[] = {
    {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8},     {"I32", 4},
    {"I16", 2}, {"I8", 1},  {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};

std::uint64_t element_bytes(const std::string& dtype) {
  for (const auto& [name, bytes] : kElementBytes)
    if (name == dtype) return bytes;
  require(false, "an accepted dtype is one of the format's");
  return 0;
}

std::uint64_t length_of(const std::uint8_t* data) {
  std::uint64_t length = 0;
  std::memcpy(&length, data, kLengthBytes);
  return length;
}

/// A file in memory, with a name that can be opened.
class MemoryFile {
 public:
  MemoryFile() : file_(::memfd_create("fuzz", MFD_CLOEXEC)) { require(file_ >= 0, "a file in memory can be made"); }
  void assign(const std::uint8_t* data, std::size_t size) const {
    require(::ftruncate(file_, 0) == 0 && ::pwrite(file_, data, size, 0) == static_cast<ssize_t>(size),
            "it is written");
  }
  std::string path() const { return fmt::format("/proc/self/fd/{}", file_); }

 private:
  int file_;
};

/// Where written files go: memory too, where the system has it.
std::string scratch_file() {
  const std::string folder = std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp";
  return fmt::format("{}/i2i_fuzz_{}.safetensors", folder, ::getpid());
}

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

bool same_bytes(const at::Tensor& tensor, const void* bytes) {
  return tensor.nbytes() == 0 || std::memcmp(tensor.const_data_ptr(), bytes, tensor.nbytes()) == 0;
}

void check_against_header(const Weights& weights, const std::uint8_t* data, std::size_t size) {
  require(size >= kLengthBytes && length_of(data) <= size - kLengthBytes, "the header lies inside the file");
  const std::uint8_t* header_text = data + kLengthBytes;
  const std::uint8_t* contents = header_text + length_of(data);
  const std::uint64_t room = size - kLengthBytes - length_of(data);
  Json header = Json::parse(header_text, contents, nullptr, false);
  if (header.is_discarded()) return;  // Python's NaN somewhere, which parse_json alone reads
  header.erase("__metadata__");
  require(header.size() == weights.size(), "every entry is a tensor");
  std::uint64_t used = 0;
  for (const auto& [name, entry] : header.items()) {
    const at::Tensor& tensor = weights.at(name);
    const std::uint64_t begin = entry.at("data_offsets").at(0), end = entry.at("data_offsets").at(1);
    const std::uint64_t element = element_bytes(entry.at("dtype"));
    require(tensor.sizes().vec() == entry.at("shape").get<std::vector<std::int64_t>>(), "the shape is the header's");
    require(tensor.is_contiguous() && static_cast<std::uint64_t>(tensor.element_size()) == element,
            "the dtype is the header's");
    std::uint64_t bytes = element;
    for (const std::int64_t side : tensor.sizes()) bytes *= static_cast<std::uint64_t>(side);
    require(tensor.nbytes() == bytes && begin <= end && end <= room && end - begin == bytes, "sizes multiply out");
    require(reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr()) % element == 0, "tensors are aligned");
    require(same_bytes(tensor, contents + begin), "the bytes are the file's");
    used += bytes;
  }
  require(used == room, "every byte belongs to one tensor");
}

void check_round_trip(const Weights& weights) {
  static const std::string path = scratch_file();
  const std::vector<std::pair<std::string, at::Tensor>> tensors(weights.begin(), weights.end());
  write_safetensors(tensors, path);
  const std::string written = contents(path);
  const Weights again = read_safetensors(path);
  require(again.size() == weights.size(), "what is written is read");
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor& other = again.at(name);
    require(other.scalar_type() == tensor.scalar_type() && other.sizes() == tensor.sizes(), "with its form");
    require(same_bytes(other, tensor.const_data_ptr()), "with its bytes");
  }
  write_safetensors({again.begin(), again.end()}, path);
  require(contents(path) == written, "and written again to the same file");
  std::filesystem::remove(path);
}

/// Another dtype, side, name or number of dimensions for one entry of `header`.
void change_entry(Json& header, std::minstd_rand& random) {
  auto entry = header.begin();
  std::advance(entry, static_cast<std::ptrdiff_t>(random() % header.size()));
  if (!entry->is_object() || !(*entry)["shape"].is_array()) return;
  Json& shape = (*entry)["shape"];
  const std::uint64_t sides[] = {0, 1, 2, 3, 5, 8, random() % 64, 1ull << 31, 1ull << 62};
  const std::uint64_t side = sides[random() % std::size(sides)];
  switch (random() % 4) {
    case 0:
      (*entry)["dtype"] = kElementBytes[random() % std::size(kElementBytes)].first;
      break;
    case 1:
      shape.push_back(side);
      break;
    case 2:
      if (!shape.empty()) shape[random() % shape.size()] = side;
      break;
    default:
      header[fmt::format("t{}", random() % 8)] = *entry;
  }
}

/// Gives every entry offsets that fit its shape, one after the other; the bytes that they need.
std::uint64_t refit(Json& header) {
  std::uint64_t offset = 0;
  for (auto& [name, entry] : header.items()) {
    if (name == "__metadata__" || !entry.is_object()) continue;
    std::uint64_t bytes = 0;
    for (const auto& [dtype, element] : kElementBytes)
      if (entry.contains("dtype") && entry["dtype"] == dtype) bytes = element;
    for (const Json& side : entry.value("shape", Json::array()))
      bytes *= side.is_number_unsigned() ? side.get<std::uint64_t>() : 1;
    entry["data_offsets"] = {offset, offset + bytes};
    offset += bytes;
  }
  return offset;
}

}  // namespace
}  // namespace i2i::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace i2i;
  static const fuzz::MemoryFile file;
  ++fuzz::count.inputs;
  file.assign(data, size);
  Weights weights;
  if (!fuzz::accepts(ErrorCode::kGenerationFailed, [&] { weights = read_safetensors(file.path()); })) return 0;
  ++fuzz::count.accepted;
  fuzz::check_against_header(weights, data, size);
  fuzz::check_round_trip(weights);
  return 0;
}

/// Any bytes one time in four; else a change of the header whose length is put right, and half of these times the
/// offsets and the file's length too, so that what lies behind the first checks is reached.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  using namespace i2i::fuzz;
  std::minstd_rand random(seed);
  if (size < kLengthBytes || random() % 4 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const std::size_t length = std::min<std::uint64_t>(length_of(data), size - kLengthBytes);
  std::string header(reinterpret_cast<char*>(data) + kLengthBytes, length);
  std::string rest(reinterpret_cast<char*>(data) + kLengthBytes + length, size - kLengthBytes - length);
  if (random() % 2 == 0) {
    header.resize(length + 64);
    header.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(header.data()), length, header.size()));
  }
  Json json = Json::parse(header, nullptr, false);
  if (json.is_object() && !json.empty() && random() % 4 != 0) {
    change_entry(json, random);
    const std::uint64_t needed = random() % 4 != 0 ? refit(json) : rest.size();
    if (needed <= max_size) rest.resize(needed);
    header = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    header.append(random() % 9, ' ');  // tensors that are not aligned
  }
  if (kLengthBytes + header.size() + rest.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  const std::uint64_t new_length = header.size();
  std::memcpy(data, &new_length, kLengthBytes);
  std::copy(rest.begin(), rest.end(), std::copy(header.begin(), header.end(), data + kLengthBytes));
  return kLengthBytes + header.size() + rest.size();
}

// The safetensors format: eight bytes of header length, a JSON header, then the tensors' bytes without gaps
// (https://github.com/huggingface/safetensors, "Format"). The header comes from a stranger and is believed in nothing.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "interface/error.h"
#include "interface/json_file.h"
#include "interface/mapping.h"
#include "interface/model_files.h"
#include "interface/schema_validation.h"

namespace i2i {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own bound
constexpr std::size_t kLengthBytes = 8;
constexpr const char* kMetadata = "__metadata__";

constexpr std::pair<std::string_view, at::ScalarType> kDtypes[] = {{"F64", at::kDouble},
                                                                   {"F32", at::kFloat},
                                                                   {"F16", at::kHalf},
                                                                   {"BF16", at::kBFloat16},
                                                                   {"I64", at::kLong},
                                                                   {"I32", at::kInt},
                                                                   {"I16", at::kShort},
                                                                   {"I8", at::kChar},
                                                                   {"U8", at::kByte},
                                                                   {"BOOL", at::kBool},
                                                                   {"F8_E4M3", at::kFloat8_e4m3fn},
                                                                   {"F8_E5M2", at::kFloat8_e5m2}};

struct Entry {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // within the bytes after the header
  std::uint64_t end = 0;
};

std::uint64_t unsigned_of(const nlohmann::json& value, const std::string& path, const std::string& name) {
  if (!value.is_number_unsigned())
    throw_broken_file(path, fmt::format("tensor {}: {} is no size", shortened(name), shortened(value.dump())));
  return value.get<std::uint64_t>();
}

Entry read_entry(const std::string& name, const nlohmann::json& json, const std::string& path) {
  const auto broken = [&](const std::string& what) {
    throw_broken_file(path, fmt::format("tensor {}: {}", shortened(name), what));
  };
  for (const char* key : {"dtype", "shape", "data_offsets"})
    if (!json.is_object() || !json.contains(key)) broken(fmt::format("has no {}", key));
  const auto& offsets = json.at("data_offsets");
  if (!json.at("dtype").is_string() || !json.at("shape").is_array() || !offsets.is_array() || offsets.size() != 2)
    broken("dtype, shape or data_offsets has the wrong form");

  Entry entry;
  entry.name = name;
  const auto dtype = json.at("dtype").get<std::string>();
  const auto known =
      std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const auto& d) { return d.first == dtype; });
  if (known == std::end(kDtypes)) broken(fmt::format("dtype {} is not supported", shortened(dtype)));
  entry.dtype = known->second;
  if (json.at("shape").size() > 8) broken("has more than 8 dimensions");

  std::uint64_t bytes = c10::elementSize(entry.dtype);
  std::uint64_t room = bytes;
  for (const nlohmann::json& side : json.at("shape")) {
    const std::uint64_t length = unsigned_of(side, path, name);
    // Counted without zeros, since the product of the others must not overflow either.
    if (__builtin_mul_overflow(room, std::max<std::uint64_t>(length, 1), &room) || room >> 62 != 0)
      broken("is larger than any file");
    bytes *= length;
    entry.shape.push_back(static_cast<std::int64_t>(length));
  }
  entry.begin = unsigned_of(offsets[0], path, name);
  entry.end = unsigned_of(offsets[1], path, name);
  if (entry.begin > entry.end || entry.end - entry.begin != bytes)
    broken(fmt::format("bytes {} to {} do not fit its shape, which needs {}", entry.begin, entry.end, bytes));
  return entry;
}

/// Tensors must fill the data exactly: no overlap, no gap, nothing beyond the end.
void check_coverage(std::vector<Entry> entries, std::uint64_t data_bytes, const std::string& path) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t filled = 0;
  for (const Entry& entry : entries) {
    if (entry.end > data_bytes)
      throw_broken_file(path,
                        fmt::format("tensor {}: ends at byte {} of {}", shortened(entry.name), entry.end, data_bytes));
    if (entry.begin != filled)
      throw_broken_file(path, fmt::format("tensor {}: starts at byte {}, the one before ends at {}",
                                          shortened(entry.name), entry.begin, filled));
    filled = entry.end;
  }
  if (filled != data_bytes)
    throw_broken_file(path, fmt::format("has {} bytes after its last tensor", data_bytes - filled));
}

/// The JSON header; `data` becomes the bytes after it.
nlohmann::json parse_header(const Mapping& file, std::string_view& data) {
  const std::string_view bytes = file.bytes();
  const std::string& path = file.path();
  if (bytes.size() < kLengthBytes) throw_broken_file(path, fmt::format("has only {} bytes", bytes.size()));
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);  // little endian, as are all machines that libtorch runs on here
  const std::uint64_t room = std::min<std::uint64_t>(bytes.size() - kLengthBytes, kMaxHeaderBytes);
  if (length > room)
    throw_broken_file(path, fmt::format("says its header has {} bytes; at most {} can be", length, room));

  nlohmann::json header = parse_json(bytes.substr(kLengthBytes, length), path);
  if (!header.is_object()) throw_broken_file(path, "its header is not a JSON object");
  data = bytes.substr(kLengthBytes + length);
  return header;
}

std::vector<Entry> read_header(const Mapping& file, std::string_view& data) {
  const nlohmann::json header = parse_header(file, data);
  std::vector<Entry> entries;
  for (const auto& [name, json] : header.items())
    if (name != kMetadata) entries.push_back(read_entry(name, json, file.path()));
  check_coverage(entries, data.size(), file.path());
  return entries;
}

at::Tensor tensor_at(const Entry& entry, std::string_view data, const std::shared_ptr<const Mapping>& file) {
  const auto options = at::TensorOptions().dtype(entry.dtype);
  if (entry.begin == entry.end) return at::empty(entry.shape, options);
  const char* first = data.data() + entry.begin;
  if (reinterpret_cast<std::uintptr_t>(first) % c10::elementSize(entry.dtype) != 0) {
    at::Tensor copy = at::empty(entry.shape, options);  // the format does not promise alignment
    std::memcpy(copy.data_ptr(), first, entry.end - entry.begin);
    return copy;
  }
  // from_blob takes no const pointer; writing into such a tensor would fault, since the pages are read-only.
  return at::from_blob(
      const_cast<char*>(first), entry.shape, [file](void*) {}, options);
}

std::string_view dtype_name(at::ScalarType dtype) {
  for (const auto& [name, type] : kDtypes)
    if (type == dtype) return name;
  throw Error(ErrorCode::kGenerationFailed, fmt::format("dtype {} has no name in safetensors", c10::toString(dtype)));
}

}  // namespace

Weights read_safetensors(const std::string& path) {
  const auto file = std::make_shared<const Mapping>(path);
  std::string_view data;
  Weights weights;
  for (const Entry& entry : read_header(*file, data)) weights.emplace(entry.name, tensor_at(entry, data, file));
  return weights;
}

std::map<std::string, std::string> read_safetensors_metadata(const std::string& path) {
  const Mapping file(path);
  std::string_view data;
  const nlohmann::json metadata = parse_header(file, data).value(kMetadata, nlohmann::json::object());
  std::map<std::string, std::string> texts;
  if (!metadata.is_object()) throw_broken_file(path, "its __metadata__ is not a JSON object");
  for (const auto& [key, value] : metadata.items()) {
    if (!value.is_string()) throw_broken_file(path, fmt::format("its __metadata__ has {} for {}", value.dump(), key));
    texts.emplace(key, value.get<std::string>());
  }
  return texts;
}

void release_pages(const at::Tensor& tensor) {
  const auto* begin = static_cast<const char*>(tensor.const_data_ptr());
  Mapping::release(begin, begin + tensor.nbytes());
}

void write_safetensors(const std::vector<std::pair<std::string, at::Tensor>>& tensors, const std::string& path) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::vector<at::Tensor> contents;
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor content = tensor.detach().to(at::kCPU).contiguous();
    const std::uint64_t end = offset + content.nbytes();
    header[name] = {{"dtype", dtype_name(content.scalar_type())},
                    {"shape", content.sizes().vec()},
                    {"data_offsets", {offset, end}}};
    contents.push_back(content);
    offset = end;
  }
  if (header.size() != tensors.size()) throw_broken_file(path, "two tensors would have the same name");
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the first tensor is aligned

  const std::string unfinished = fmt::format("{}.{}.part", path, ::getpid());
  std::ofstream out(unfinished, std::ios::binary);
  const std::uint64_t length = text.size();
  out.write(reinterpret_cast<const char*>(&length), kLengthBytes);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  for (const at::Tensor& content : contents)
    out.write(static_cast<const char*>(content.const_data_ptr()), static_cast<std::streamsize>(content.nbytes()));
  out.close();
  std::error_code status;
  if (out) std::filesystem::rename(unfinished, path, status);
  if (!out || status) {
    std::filesystem::remove(unfinished, status);
    throw_broken_file(path, "cannot be written");
  }
}

}  // namespace i2i

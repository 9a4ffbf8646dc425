#include "interface/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <map>
#include <queue>
#include <tuple>
#include <unordered_map>

#include "interface/error.h"
#include "interface/json_file.h"
#include "interface/unicode_text.h"

namespace i2i {
namespace {

using Json = nlohmann::json;
using Vocabulary = std::unordered_map<std::string, std::int64_t>;

constexpr std::size_t kMaxMergesBytes = 64u << 20;
constexpr std::string_view kWordEnd = "</w>";
constexpr std::int64_t kDefaultMaxLength = 77;

struct Merge {
  std::int64_t rank = 0;
  std::int64_t id = 0;
};

/// A token that is cut out of the text before it is split. `normalized` ones are looked for after normalisation.
struct AddedToken {
  std::string content;
  std::int64_t id = 0;
  bool normalized = false;
};

std::uint64_t pair_key(std::int64_t left, std::int64_t right) {
  return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint64_t>(right);
}

std::string utf8(char32_t c) {
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
}

/// GPT-2's map from bytes to printable characters (Radford et al. 2019): printable bytes stand for themselves, the
/// others for the characters from U+0100 on.
std::array<std::string, 256> printable_bytes() {
  std::array<std::string, 256> symbols;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
    symbols[byte] = utf8(printable ? byte : next++);
  }
  return symbols;
}

/// Bytes in the order of CLIP's vocabulary: printable ones first.
std::vector<std::string> byte_vocabulary() {
  const auto symbols = printable_bytes();
  std::vector<std::string> ordered(symbols.begin(), symbols.end());
  const auto stands_for_itself = [](const std::string& s) { return s < utf8(0x100); };
  std::stable_partition(ordered.begin(), ordered.end(), stands_for_itself);
  return ordered;
}

}  // namespace

struct Tokenizer::Data {
  std::string name;  // for messages
  Vocabulary vocabulary;
  std::unordered_map<std::uint64_t, Merge> merges;
  std::array<std::string, 256> byte_symbols = printable_bytes();
  std::vector<AddedToken> added;
  std::int64_t start_id = 0;
  std::int64_t end_id = 0;
  std::int64_t pad_id = 0;
  std::int64_t unknown_id = 0;
  std::int64_t model_max_length = kDefaultMaxLength;

  std::int64_t id_of(const std::string& token) const {
    const auto it = vocabulary.find(token);
    if (it == vocabulary.end()) throw_broken_file(name, fmt::format("the vocabulary has no \"{}\"", token));
    return it->second;
  }

  void add_merge(const std::string& left, const std::string& right, std::int64_t rank) {
    // One after the other, so that the first symbol missing is the one named.
    const std::int64_t left_id = id_of(left);
    const std::int64_t right_id = id_of(right);
    merges[pair_key(left_id, right_id)] = {rank, id_of(left + right)};
  }

  void encode_piece(std::string_view piece, std::vector<std::int64_t>& ids) const;
  void encode_plain(std::string_view normalized, std::vector<std::int64_t>& ids) const;
  template <typename Rest>
  void cut_added(std::string_view text, bool normalized, std::vector<std::int64_t>& ids, const Rest& rest) const;
};

/// Byte-pair merges of one piece: always the pair of lowest rank, the leftmost among equals (Sennrich et al. 2016).
void Tokenizer::Data::encode_piece(std::string_view piece, std::vector<std::int64_t>& ids) const {
  struct Symbol {
    std::int64_t id;
    int previous;
    int next;
  };
  std::vector<Symbol> symbols;
  const int count = static_cast<int>(piece.size());
  for (int i = 0; i < count; ++i) {
    std::string token = byte_symbols[static_cast<unsigned char>(piece[static_cast<std::size_t>(i)])];
    if (i + 1 == count) token += kWordEnd;
    const auto it = vocabulary.find(token);
    symbols.push_back({it == vocabulary.end() ? unknown_id : it->second, i - 1, i + 1 == count ? -1 : i + 1});
  }

  using Candidate = std::tuple<std::int64_t, int, std::int64_t>;  // rank, position of the left symbol, merged id
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto find_merge = [&](int left) -> const Merge* {
    if (left < 0 || symbols[left].next < 0) return nullptr;
    const auto it = merges.find(pair_key(symbols[left].id, symbols[symbols[left].next].id));
    return it == merges.end() ? nullptr : &it->second;
  };
  const auto consider = [&](int left) {
    if (const Merge* merge = find_merge(left)) candidates.emplace(merge->rank, left, merge->id);
  };
  for (int i = 0; i < count; ++i) consider(i);

  constexpr std::int64_t kGone = -1;
  while (!candidates.empty()) {
    const auto [rank, left, id] = candidates.top();
    candidates.pop();
    const Merge* merge = symbols[left].id == kGone ? nullptr : find_merge(left);
    if (merge == nullptr || merge->rank != rank) continue;  // one of its symbols was merged since
    const int right = symbols[left].next;
    symbols[left].id = id;
    symbols[left].next = symbols[right].next;
    if (symbols[right].next >= 0) symbols[symbols[right].next].previous = left;
    symbols[right].id = kGone;
    consider(symbols[left].previous);
    consider(left);
  }
  for (int i = 0; i >= 0 && i < count; i = symbols[i].next) ids.push_back(symbols[i].id);
}

void Tokenizer::Data::encode_plain(std::string_view normalized, std::vector<std::int64_t>& ids) const {
  for (const std::string& piece : split_prompt(normalized)) encode_piece(piece, ids);
}

/// Cuts added tokens out of `text`, the longest at each place, and hands the stretches between to `rest`.
template <typename Rest>
void Tokenizer::Data::cut_added(std::string_view text, bool normalized, std::vector<std::int64_t>& ids,
                                const Rest& rest) const {
  std::size_t done = 0;
  for (std::size_t i = 0; i < text.size();) {
    const AddedToken* longest = nullptr;
    for (const AddedToken& token : added)
      if (token.normalized == normalized && text.substr(i, token.content.size()) == token.content &&
          (longest == nullptr || token.content.size() > longest->content.size()))
        longest = &token;
    if (longest == nullptr) {
      ++i;
      continue;
    }
    if (i > done) rest(text.substr(done, i - done));
    ids.push_back(longest->id);
    i += longest->content.size();
    done = i;
  }
  if (done < text.size()) rest(text.substr(done));
}

std::vector<std::int64_t> Tokenizer::encode(std::string_view text) const {
  const Data& data = *data_;
  std::vector<std::int64_t> ids;
  data.cut_added(text, false, ids, [&](std::string_view raw) {
    const std::string normalized = normalize_prompt(raw);
    data.cut_added(normalized, true, ids, [&](std::string_view plain) { data.encode_plain(plain, ids); });
  });
  const auto length = static_cast<std::size_t>(data.model_max_length);
  ids.resize(std::min(ids.size(), length - 2));
  ids.insert(ids.begin(), data.start_id);
  ids.push_back(data.end_id);
  ids.resize(length, data.pad_id);
  return ids;
}

std::int64_t Tokenizer::model_max_length() const { return data_->model_max_length; }

Tokenizer Tokenizer::bytes_only(std::int64_t vocab_size, std::int64_t model_max_length,
                                bool pad_with_exclamation_mark) {
  const auto data = std::make_shared<Data>();
  data->name = "byte tokenizer";
  data->model_max_length = model_max_length;
  std::int64_t next = 0;
  for (const std::string& symbol : byte_vocabulary()) data->vocabulary[symbol] = next++;
  for (const std::string& symbol : byte_vocabulary()) data->vocabulary[symbol + std::string(kWordEnd)] = next++;
  if (vocab_size < next + 2 || model_max_length < 2)
    throw Error(ErrorCode::kGenerationFailed,
                fmt::format("a byte tokenizer needs {} tokens and a length of 2, not {} and {}", next + 2, vocab_size,
                            model_max_length));
  data->start_id = vocab_size - 2;
  data->end_id = data->unknown_id = vocab_size - 1;
  data->pad_id = pad_with_exclamation_mark ? data->vocabulary.at("!") : data->end_id;
  data->added = {{"<|startoftext|>", data->start_id}, {"<|endoftext|>", data->end_id}};
  if (pad_with_exclamation_mark) data->added.push_back({"!", data->pad_id});
  Tokenizer tokenizer;
  tokenizer.data_ = data;
  return tokenizer;
}

namespace {

/// A special token as the configs spell it: a string, or an object with "content".
std::string token_content(const Json& token, const std::string& file) {
  const Json& content = token.is_object() && token.contains("content") ? token.at("content") : token;
  if (!content.is_string() || content.get_ref<const std::string&>().empty())
    throw_broken_file(file, fmt::format("{} is no token", token.dump()));
  return content.get<std::string>();
}

bool flag(const Json& token, const char* name) {
  return token.is_object() && token.contains(name) && token.at(name).is_boolean() && token.at(name).get<bool>();
}

Vocabulary vocabulary_from(const Json& json, const std::string& file) {
  constexpr std::int64_t kMaxId = 1 << 24;
  Vocabulary vocabulary;
  if (!json.is_object() || json.empty()) throw_broken_file(file, "holds no vocabulary");
  for (const auto& [token, id] : json.items()) {
    const bool valid = id.is_number_integer() && id.get<double>() >= 0 && id.get<double>() <= kMaxId;
    if (!valid) throw_broken_file(file, fmt::format("\"{}\" has the id {}", token, id.dump()));
    vocabulary.emplace(token, id.get<std::int64_t>());
  }
  return vocabulary;
}

std::pair<std::string, std::string> merge_from(std::string_view line, const std::string& file) {
  const std::size_t space = line.find(' ');
  if (space == line.npos || space == 0 || space + 1 == line.size() || line.find(' ', space + 1) != line.npos)
    throw_broken_file(file, fmt::format("\"{}\" is no merge of two symbols", line));
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

std::vector<std::pair<std::string, std::string>> read_merges(const std::string& file) {
  const std::string text = read_text_file(file, kMaxMergesBytes);
  std::vector<std::pair<std::string, std::string>> merges;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line(text.data() + begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const bool comment = begin == 0 && line.starts_with("#version");
    if (!line.empty() && !comment) merges.push_back(merge_from(line, file));
    begin = end + 1;
  }
  return merges;
}

std::vector<std::pair<std::string, std::string>> merges_from(const Json& json, const std::string& file) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const Json& merge : json) {
    if (merge.is_string()) {
      merges.push_back(merge_from(merge.get_ref<const std::string&>(), file));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else {
      throw_broken_file(file, fmt::format("{} is no merge of two symbols", merge.dump()));
    }
  }
  return merges;
}

}  // namespace

Tokenizer Tokenizer::load(const std::string& folder) try {
  const auto data = std::make_shared<Data>();
  data->name = folder;
  const std::string config_file = folder + "/tokenizer_config.json";
  const std::string map_file = folder + "/special_tokens_map.json";
  const std::string whole_file = folder + "/tokenizer.json";
  const Json config = read_json_object(config_file);
  const Json special = is_present(map_file) ? read_json_object(map_file) : Json::object();

  // transformers 5 writes one tokenizer.json where older versions wrote vocab.json and merges.txt.
  std::vector<std::pair<std::string, std::string>> merges;
  const Json whole = is_present(whole_file) ? read_json_object(whole_file) : Json::object();
  if (!is_present(folder + "/vocab.json") && whole.contains("model")) {
    const Json& model = whole.at("model");
    data->vocabulary = vocabulary_from(model.value("vocab", Json()), whole_file);
    merges = merges_from(model.value("merges", Json::array()), whole_file);
  } else {
    data->vocabulary = vocabulary_from(read_json_object(folder + "/vocab.json"), folder + "/vocab.json");
    merges = read_merges(folder + "/merges.txt");
  }

  // Added tokens are declared by tokenizer_config.json's added_tokens_decoder. Where there is none, tokenizer.json
  // declares them and special_tokens_map.json overrides the names in tokenizer_config.json.
  std::map<std::string, Json> declared;  // by content
  const bool has_decoder = config.contains("added_tokens_decoder");
  const Json decoder = config.value("added_tokens_decoder", Json::object());
  if (!decoder.is_object()) throw_broken_file(config_file, "added_tokens_decoder is no object");
  for (const auto& [id, token] : decoder.items()) {
    Json& entry = declared[token_content(token, config_file)] = token;
    if (entry.is_object()) entry["id"] = Json::parse(id, nullptr, false);
  }
  if (!has_decoder)
    for (const Json& token : whole.value("added_tokens", Json::array()))
      declared[token_content(token, whole_file)] = token;

  // A special token given as a plain string is cut from the raw text; one given with flags says so itself. Of several
  // names for one token the last decides, unless it was declared above.
  std::map<std::string, bool> normalized;
  const auto named = [&](const char* key, const char* default_token) {
    const Json in_map = has_decoder ? Json() : special.value(key, Json());
    const Json token = in_map.is_null() ? config.value(key, Json()) : in_map;
    const std::string content = token.is_null() ? default_token : token_content(token, config_file);
    normalized[content] = flag(token, "normalized");
    return content;
  };
  const std::string start = named("bos_token", "<|startoftext|>");
  const std::string end = named("eos_token", "<|endoftext|>");
  const std::string unknown = named("unk_token", "<|endoftext|>");
  const std::string pad = named("pad_token", "<|endoftext|>");
  for (const auto& [content, token] : declared) {
    normalized[content] = flag(token, "normalized");
    if (flag(token, "single_word"))
      throw_broken_file(folder, fmt::format("\"{}\": single_word is not supported", content));
    if (token.is_object() && token.contains("id") && token.at("id").is_number_unsigned())
      data->vocabulary.emplace(content, token.at("id").get<std::int64_t>());
  }
  for (const auto& [content, after] : normalized)
    data->added.push_back({after ? normalize_prompt(content) : content, data->id_of(content), after});

  data->start_id = data->id_of(start);
  data->end_id = data->id_of(end);
  data->unknown_id = data->id_of(unknown);
  data->pad_id = data->id_of(pad);
  const Json length = config.value("model_max_length", Json(kDefaultMaxLength));
  if (!length.is_number() || length.get<double>() < 2) throw_broken_file(config_file, "model_max_length is below 2");
  // Where nobody gave a length, transformers writes 1e30.
  data->model_max_length = length.get<double>() > 1 << 20 ? kDefaultMaxLength : length.get<std::int64_t>();

  std::int64_t rank = 0;
  for (const auto& [left, right] : merges) data->add_merge(left, right, rank++);
  Tokenizer tokenizer;
  tokenizer.data_ = data;
  return tokenizer;
} catch (const Json::exception& error) {
  throw_broken_file(folder, error.what());
}

}  // namespace i2i

// CLIP's byte-level BPE tokenizer (Radford et al. 2021; the behaviour matched is transformers' CLIPTokenizer,
// semantics.md section 4).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace i2i {

class Tokenizer {
 public:
  /// Reads vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json from `folder`.
  /// @throws Error(kGenerationFailed) naming the file and what is wrong with it
  static Tokenizer load(const std::string& folder);

  /// Byte-level tokenizer without merges, for synthetic models: every UTF-8 byte is a token.
  static Tokenizer bytes_only(std::int64_t vocab_size, std::int64_t model_max_length, bool pad_with_exclamation_mark);

  /// start + tokens + end, truncated on the right so that end survives, padded to model_max_length.
  std::vector<std::int64_t> encode(std::string_view text) const;

  std::int64_t model_max_length() const;

 private:
  struct Data;
  std::shared_ptr<const Data> data_;
};

}  // namespace i2i

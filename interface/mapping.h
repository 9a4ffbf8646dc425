// Weights lie in mapped files, so that their pages can leave the process once they are packed and come back where they
// are read again.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace i2i {

/// A file's bytes in memory for as long as somebody holds it.
class Mapping {
 public:
  /// A whole file, read-only. @throws Error(kGenerationFailed) where it cannot be opened or mapped, or is no file
  explicit Mapping(const std::string& path);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  /// Writable bytes, zero at first, in a file without a name that ends with the mapping: in $TMPDIR, else in /var/tmp,
  /// since /tmp may itself be memory. @return null where there is no room for it
  static std::shared_ptr<const Mapping> nameless(std::size_t bytes);

  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }
  void* writable() const { return data_; }  ///< of a nameless file only
  const std::string& path() const { return path_; }

  /// Of the mapping that holds the bytes [begin, end), whole pages between them are dropped; nothing where there is
  /// none.
  static void release(const char* begin, const char* end);

 private:
  Mapping(std::string path, void* data, std::size_t size);

  std::string path_;
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace i2i

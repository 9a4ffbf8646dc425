// Where a test writes. Only tests include this.
#pragma once

#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

namespace i2i {

/// A new, empty folder, removed with the object: two users, two builds and two runs side by side never meet in it.
class ScratchFolder {
 public:
  /// @throws std::system_error naming the folder that could not be made
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "i2i_test_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::system_error(errno, std::generic_category(), name);
    path_ = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace i2i

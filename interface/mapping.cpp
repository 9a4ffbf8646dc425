#include "interface/mapping.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "interface/json_file.h"

namespace i2i {
namespace {

/// Where every mapping of this process begins, and its size.
std::map<const char*, std::size_t>& all() {
  static auto* const mappings = new std::map<const char*, std::size_t>;  // outlives every static tensor
  return *mappings;
}

std::mutex& all_guard() {
  static auto* const guard = new std::mutex;
  return *guard;
}

}  // namespace

Mapping::Mapping(std::string path, void* data, std::size_t size) : path_(std::move(path)), data_(data), size_(size) {
  const std::lock_guard lock(all_guard());
  all()[static_cast<const char*>(data_)] = size_;
}

Mapping::Mapping(const std::string& path) : path_(path) {
  // Without O_NONBLOCK a named pipe in the place of a file would be waited for without end.
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) throw_broken_file(path, fmt::format("cannot be opened: {}", std::strerror(errno)));
  struct stat status {};
  const bool is_file = ::fstat(file, &status) == 0 && S_ISREG(status.st_mode);
  size_ = is_file ? static_cast<std::size_t>(status.st_size) : 0;
  if (size_ > 0) data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
  const int cause = errno;
  ::close(file);
  if (!is_file) throw_broken_file(path, "is not a file");
  if (data_ == MAP_FAILED) throw_broken_file(path, fmt::format("cannot be mapped: {}", std::strerror(cause)));
  const std::lock_guard lock(all_guard());
  all()[static_cast<const char*>(data_)] = size_;
}

Mapping::~Mapping() {
  if (data_ == nullptr || data_ == MAP_FAILED) return;
  const std::lock_guard lock(all_guard());
  all().erase(static_cast<const char*>(data_));
  ::munmap(data_, size_);
}

std::shared_ptr<const Mapping> Mapping::nameless(std::size_t bytes) {
  const char* chosen = std::getenv("TMPDIR");
  const std::string folder = chosen != nullptr && *chosen != '\0' ? chosen : "/var/tmp";
  const int file = ::open(folder.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
  if (file < 0) return nullptr;
  void* data = MAP_FAILED;
  // Room is taken at once: a disk that is full later would end the process by a signal.
  if (::posix_fallocate(file, 0, static_cast<off_t>(bytes)) == 0)
    data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  if (data == MAP_FAILED) return nullptr;
  return std::shared_ptr<const Mapping>(new Mapping("a file in " + folder, data, bytes));
}

void Mapping::release(const char* begin, const char* end) {
  const std::lock_guard lock(all_guard());
  auto after = all().upper_bound(begin);
  if (after == all().begin()) return;
  --after;
  if (begin >= after->first + after->second) return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const char* first = begin + (page - reinterpret_cast<std::uintptr_t>(begin) % page) % page;
  if (first >= end) return;
  const auto whole = static_cast<std::uintptr_t>(end - first) / page * page;
  if (whole > 0) ::madvise(const_cast<char*>(first), whole, MADV_DONTNEED);
}

}  // namespace i2i

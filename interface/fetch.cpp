#include "interface/fetch.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <memory>
#include <string_view>

#include "interface/schema_validation.h"

namespace i2i {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kMaxHeaderBytes = std::size_t{1} << 20;

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kSourceImageError, what); }

[[noreturn]] void fail_too_large(const SourceLimits& limits) {
  fail(fmt::format("larger than the {} bytes allowed", limits.max_bytes));
}

bool starts_with(std::string_view text, std::string_view lower_case_prefix) {
  const auto same = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 'a' - 'A') : a) == b; };
  return text.size() >= lower_case_prefix.size() &&
         std::equal(lower_case_prefix.begin(), lower_case_prefix.end(), text.begin(),
                    [&](char prefix, char c) { return same(c, prefix); });
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string percent_decoded(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) fail("% is not followed by two hexadecimal digits");
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

/// Regular files only, checked on the opened descriptor: a pipe or a device would have no end.
Bytes read_file(const std::string& path, const SourceLimits& limits) {
  if (path.find('\0') != std::string::npos) fail("the path holds a zero byte");
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) fail(std::strerror(errno));
  struct Closer {
    int descriptor;
    ~Closer() { ::close(descriptor); }
  } closer{descriptor};

  struct stat status {};
  if (::fstat(descriptor, &status) != 0) fail(std::strerror(errno));
  if (S_ISDIR(status.st_mode)) fail("is a folder");
  if (!S_ISREG(status.st_mode)) fail("is not a regular file");
  if (static_cast<unsigned long long>(status.st_size) > limits.max_bytes) {
    fail(fmt::format("is {} bytes, larger than the {} allowed", status.st_size, limits.max_bytes));
  }
  Bytes bytes;
  std::array<std::uint8_t, 65536> block;
  for (;;) {
    const ssize_t count = ::read(descriptor, block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(std::strerror(errno));
    if (count == 0) return bytes;
    if (bytes.size() + static_cast<std::size_t>(count) > limits.max_bytes) fail_too_large(limits);
    bytes.insert(bytes.end(), block.begin(), block.begin() + count);
  }
}

/// RFC 8089: file:///path, or with this machine's name in front of the path.
Bytes read_file_address(std::string_view address, const SourceLimits& limits) {
  std::string_view rest = address.substr(std::strlen("file://"));
  if (starts_with(rest, "localhost/")) rest.remove_prefix(std::strlen("localhost"));
  if (rest.empty() || rest.front() != '/') fail("names another machine: only file:///path is read");
  return read_file(percent_decoded(rest), limits);
}

/// RFC 2397: data:[media type][;base64],data. The media type is not believed: the bytes say what they are.
Bytes read_data_address(std::string_view address, const SourceLimits& limits) {
  const auto comma = address.find(',');
  if (comma == std::string_view::npos) fail("holds no comma between its type and its data");
  std::string_view type = address.substr(0, comma);
  const std::string_view data = address.substr(comma + 1);
  const auto semicolon = type.rfind(';');
  const bool base64 = semicolon != std::string_view::npos && type.size() - semicolon == std::strlen(";base64") &&
                      starts_with(type.substr(semicolon), ";base64");
  const std::string text = percent_decoded(data);
  Bytes bytes = base64 ? decode_base64(text) : Bytes(text.begin(), text.end());
  if (bytes.size() > limits.max_bytes) {
    fail(fmt::format("is {} bytes, larger than the {} allowed", bytes.size(), limits.max_bytes));
  }
  return bytes;
}

/// What a transfer has brought so far, and whether we stopped it.
struct Download {
  const SourceLimits& limits;
  Bytes body;
  std::size_t header_bytes = 0;
  bool too_large = false;
};

std::size_t receive_body(char* data, std::size_t, std::size_t count, void* user) {
  auto& download = *static_cast<Download*>(user);
  if (count > download.limits.max_bytes - download.body.size()) {
    download.too_large = true;
    return 0;
  }
  download.body.insert(download.body.end(), data, data + count);
  return count;
}

std::size_t receive_header(char*, std::size_t, std::size_t count, void* user) {
  auto& download = *static_cast<Download*>(user);
  download.header_bytes += count;
  download.too_large = download.too_large || download.header_bytes > kMaxHeaderBytes;
  return download.too_large ? 0 : count;
}

long milliseconds(double seconds) { return static_cast<long>(std::ceil(std::clamp(seconds, 0.001, 1e6) * 1000.0)); }

Bytes download(const std::string& address, const SourceLimits& limits) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK) fail("libcurl cannot start");
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> handle(curl_easy_init(), &curl_easy_cleanup);
  if (!handle) fail("libcurl cannot start");

  Download received{limits, {}, 0, false};
  std::array<char, CURL_ERROR_SIZE> words{};
  const auto set = [&](CURLoption option, auto value) {
    if (curl_easy_setopt(handle.get(), option, value) != CURLE_OK)
      fail("libcurl lacks an option that bounds a transfer");
  };
  set(CURLOPT_URL, address.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");  // a redirect must not reach file: or anything else
  set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, static_cast<long>(limits.max_redirects));
  set(CURLOPT_TIMEOUT_MS, milliseconds(limits.timeout_seconds));  // all of it: name, connection, redirects, body
  set(CURLOPT_CONNECTTIMEOUT_MS, milliseconds(limits.timeout_seconds));
  set(CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(limits.max_bytes));
  set(CURLOPT_FAILONERROR, 1L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_USERAGENT, "i2i");
  set(CURLOPT_ERRORBUFFER, words.data());
  set(CURLOPT_WRITEFUNCTION, &receive_body);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&received));
  set(CURLOPT_HEADERFUNCTION, &receive_header);
  set(CURLOPT_HEADERDATA, static_cast<void*>(&received));

  const CURLcode outcome = curl_easy_perform(handle.get());
  if (received.too_large || outcome == CURLE_FILESIZE_EXCEEDED) fail_too_large(limits);
  if (outcome == CURLE_OPERATION_TIMEDOUT) fail(fmt::format("slower than the {} s allowed", limits.timeout_seconds));
  if (outcome == CURLE_TOO_MANY_REDIRECTS) fail(fmt::format("redirects more than {} times", limits.max_redirects));
  if (outcome == CURLE_PARTIAL_FILE)
    fail(fmt::format("ended after {} bytes, before its announced end", received.body.size()));
  if (outcome != CURLE_OK) fail(words[0] != '\0' ? words.data() : curl_easy_strerror(outcome));
  return std::move(received.body);
}

Bytes fetch_unnamed(const std::string& address, const SourceLimits& limits) {
  if (starts_with(address, "data:")) return read_data_address(address, limits);
  if (starts_with(address, "file://")) return read_file_address(address, limits);
  if (starts_with(address, "http://") || starts_with(address, "https://")) return download(address, limits);
  if (const auto end = address.find("://"); end != std::string::npos && address.find('/') == end + 1) {
    fail("only paths, file://, data:, http:// and https:// addresses are read");
  }
  return read_file(address, limits);
}

}  // namespace

std::vector<std::uint8_t> fetch(const std::string& address, const SourceLimits& limits) {
  try {
    return fetch_unnamed(address, limits);
  } catch (const Error& error) {
    throw Error(error.code(), display_name(address) + ": " + error.what());
  }
}

std::string display_name(const std::string& address) {
  const bool printable = address.find('\0') == std::string::npos;
  return starts_with(address, "data:") || !printable ? shortened(address) : address;
}

std::vector<std::uint8_t> decode_base64(std::string_view text) {
  const auto value_of = [](char c) -> int {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    return c == '/' ? 63 : -1;
  };
  Bytes bytes;
  bytes.reserve(text.size() / 4 * 3 + 3);
  std::uint32_t bits = 0;
  std::size_t digits = 0, padding = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == ' ' || (c >= '\t' && c <= '\r')) continue;
    if (c == '=' && padding < 2) {
      ++padding;
      continue;
    }
    const int value = value_of(c);
    if (value < 0 || padding != 0) fail(fmt::format("character {} of the data is not base64", i));
    bits = (bits << 6 | static_cast<std::uint32_t>(value)) & 0xFFFFFF;
    constexpr std::array<int, 4> kUnfinishedBits = {0, 6, 4, 2};  // after 4, 1, 2 and 3 digits of a group
    if (++digits % 4 != 1) bytes.push_back(static_cast<std::uint8_t>(bits >> kUnfinishedBits[digits % 4]));
  }
  if (digits % 4 == 1 || (padding != 0 && (digits + padding) % 4 != 0)) fail("the base64 data is incomplete");
  return bytes;
}

}  // namespace i2i

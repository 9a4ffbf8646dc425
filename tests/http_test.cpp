// Promise: a source picture behind http:// is bounded in time, size and redirects, and no answer of a server, however
// bad, gives anything but a picture or a source_image_error. The server is a few sockets, so that it can misbehave
// freely.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "interface/source_image.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

using namespace std::chrono_literals;

/// One connection: what a misbehaving server needs. Sending fails once the client has hung up.
class Connection {
 public:
  Connection(int socket, const std::atomic<bool>& stopping) : socket_(socket), stopping_(stopping) {}
  bool send(const std::string& bytes) const {
    for (std::size_t sent = 0; sent < bytes.size();) {
      const ssize_t count = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (count <= 0 || stopping_) return false;
      sent += static_cast<std::size_t>(count);
    }
    return true;
  }
  void wait(std::chrono::milliseconds time) const {
    for (const auto end = std::chrono::steady_clock::now() + time;
         !stopping_ && std::chrono::steady_clock::now() < end;) {
      std::this_thread::sleep_for(5ms);
    }
  }

 private:
  int socket_;
  const std::atomic<bool>& stopping_;
};

/// Listens on 127.0.0.1 on a port of the system's choice and answers each path with its handler.
class Server {
 public:
  using Handler = std::function<void(const Connection&)>;

  explicit Server(std::map<std::string, Handler> handlers) : handlers_(std::move(handlers)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 8) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      ADD_FAILURE() << "cannot listen on 127.0.0.1";
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Server() {
    stopping_ = true;
    thread_.join();
    ::close(listener_);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::string address(const std::string& path) const { return "http://127.0.0.1:" + std::to_string(port_) + path; }
  int requests() const { return requests_; }

 private:
  static bool readable(int socket) {
    pollfd waiting{socket, POLLIN, 0};
    return ::poll(&waiting, 1, 20) > 0;
  }

  void serve() {
    while (!stopping_) {
      if (!readable(listener_)) continue;
      const int socket = ::accept(listener_, nullptr, nullptr);
      std::string request;
      char block[4096];
      while (!stopping_ && request.find("\r\n\r\n") == std::string::npos) {
        if (!readable(socket)) continue;
        const ssize_t count = ::recv(socket, block, sizeof(block), 0);
        if (count <= 0) break;
        request.append(block, static_cast<std::size_t>(count));
      }
      ++requests_;
      const std::size_t start = request.find(' ') + 1;
      const auto handler = handlers_.find(request.substr(start, request.find(' ', start) - start));
      if (handler != handlers_.end()) handler->second(Connection(socket, stopping_));
      ::close(socket);
    }
  }

  std::map<std::string, Handler> handlers_;
  int listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> requests_{0};
  std::thread thread_;
};

std::string answer(const std::string& status, const std::string& headers, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\nConnection: close\r\n" + headers + "\r\n" + body;
}

std::string ok(const std::string& body) {
  return answer("200 OK", "Content-Length: " + std::to_string(body.size()) + "\r\n", body);
}

Server::Handler always(const std::string& bytes) {
  return [bytes](const Connection& connection) { connection.send(bytes); };
}

Server::Handler redirect(const std::string& to) {
  return always(answer("302 Found", "Content-Length: 0\r\nLocation: " + to + "\r\n", ""));
}

const Image& picture() {
  static const Image image{2, 1, {10, 20, 30, 40, 50, 60}};
  return image;
}

std::string png() {
  const auto bytes = encode_png(picture());
  return {bytes.begin(), bytes.end()};
}

constexpr SourceLimits kShort{
    .max_bytes = 100'000, .max_pixels = 1'000'000, .timeout_seconds = 0.4, .max_redirects = 3};

std::string refusal(const std::string& address, const SourceLimits& limits = kShort) {
  const auto start = std::chrono::steady_clock::now();
  std::string words;
  try {
    load_source_image(address, limits);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kSourceImageError) << error.what();
    words = error.what();
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_LT(elapsed.count(), limits.timeout_seconds + 1.5) << address;
  EXPECT_NE(words.find(address), std::string::npos) << "the address is missing: " << words;
  return words;
}

#define EXPECT_SAYS(words, text) EXPECT_NE(std::string(text).find(words), std::string::npos) << (text)

TEST(Http, APictureArrivesDirectlyAndThroughRedirects) {
  const Server server({{"/a.png", always(ok(png()))},
                       {"/without-length", always(answer("200 OK", "", png()))},
                       {"/text-plain", always(answer("200 OK", "Content-Type: text/plain\r\n", png()))},
                       {"/1", redirect("/2")},
                       {"/2", redirect("3")},
                       {"/3", redirect("/a.png")}});
  for (const char* path : {"/a.png", "/without-length", "/text-plain", "/3", "/2", "/1"}) {
    SourceLimits patient = kShort;
    patient.timeout_seconds = 20;
    EXPECT_EQ(load_source_image(server.address(path), patient), picture()) << path;
  }
}

TEST(Http, SlowServersAreLeftAfterTheTimeout) {
  const Server server({{"/silent", [](const Connection& c) { c.wait(10s); }},
                       {"/dripping",
                        [](const Connection& c) {
                          c.send(answer("200 OK", "Content-Length: 1000\r\n", ""));
                          while (c.send("x")) c.wait(20ms);
                        }},
                       {"/slow-headers", [](const Connection& c) {
                          c.send("HTTP/1.1 200 OK\r\n");
                          while (c.send("X-Header: x\r\n")) c.wait(20ms);
                        }}});
  for (const char* path : {"/silent", "/dripping", "/slow-headers"}) {
    EXPECT_SAYS("slower than the 0.4 s allowed", refusal(server.address(path)));
  }
}

TEST(Http, HugeAnswersAreCutOff) {
  std::atomic<std::size_t> sent{0};
  const Server server({{"/announced", always(answer("200 OK", "Content-Length: 9999999999\r\n", "x"))},
                       {"/endless",
                        [&](const Connection& c) {
                          c.send(answer("200 OK", "", ""));
                          while (c.send(std::string(10'000, 'x'))) sent += 10'000;
                        }},
                       {"/endless-chunks",
                        [](const Connection& c) {
                          c.send(answer("200 OK", "Transfer-Encoding: chunked\r\n", ""));
                          while (c.send("2710\r\n" + std::string(10'000, 'x') + "\r\n")) {
                          }
                        }},
                       {"/endless-headers",
                        [](const Connection& c) {
                          c.send("HTTP/1.1 200 OK\r\n");
                          while (c.send("X-Header: " + std::string(10'000, 'x') + "\r\n")) {
                          }
                        }},
                       {"/one-more", always(ok(std::string(100'001, 'x')))}});
  for (const char* path : {"/announced", "/endless", "/endless-chunks", "/one-more"}) {
    EXPECT_SAYS("larger than the 100000 bytes allowed",
                refusal(server.address(path), {.max_bytes = 100'000, .timeout_seconds = 4}));
  }
  EXPECT_LT(sent, 20'000'000u);
  EXPECT_FALSE(refusal(server.address("/endless-headers"), {.timeout_seconds = 4}).empty());
}

TEST(Http, TruncatedAnswersAreRefused) {
  const std::string whole = png();
  const Server server(
      {{"/short", always(answer("200 OK", "Content-Length: " + std::to_string(whole.size()) + "\r\n",
                                whole.substr(0, whole.size() / 2)))},
       {"/half-a-chunk", always(answer("200 OK", "Transfer-Encoding: chunked\r\n", "ff\r\n" + whole.substr(0, 20)))},
       {"/half-without-length", always(answer("200 OK", "", whole.substr(0, whole.size() - 3)))},
       {"/empty", always(ok(""))},
       {"/no-content", always(answer("204 No Content", "", ""))},
       {"/nothing", always("")},
       {"/half-a-header", always("HTTP/1.1 200")},
       {"/not-http", always("SSH-2.0-OpenSSH_9.2\r\n")}});
  EXPECT_SAYS("before its announced end", refusal(server.address("/short")));
  EXPECT_SAYS("ends early", refusal(server.address("/half-without-length")));
  EXPECT_SAYS("empty", refusal(server.address("/empty")));
  for (const char* path : {"/half-a-chunk", "/no-content", "/nothing", "/half-a-header", "/not-http"}) {
    EXPECT_FALSE(refusal(server.address(path)).empty()) << path;
  }
}

TEST(Http, StatusesAndOtherContentAreRefused) {
  const Server server(
      {{"/404", always(answer("404 Not Found", "Content-Length: " + std::to_string(png().size()) + "\r\n", png()))},
       {"/500", always(answer("500 Internal Server Error", "Content-Length: 0\r\n", ""))},
       {"/page", always(ok("<!DOCTYPE html><title>no picture</title>"))},
       {"/json", always(ok("{\"error\": 1}"))}});
  EXPECT_SAYS("404", refusal(server.address("/404")));
  EXPECT_SAYS("500", refusal(server.address("/500")));
  EXPECT_SAYS("is a text", refusal(server.address("/page")));
  EXPECT_SAYS("not a picture", refusal(server.address("/json")));
}

TEST(Http, RedirectsAreBoundedAndStayWithinHttp) {
  const ScratchFolder scratch;
  const std::string local = (scratch / "local.png").string();
  write_png(picture(), local);
  const Server server({{"/forever", redirect("/forever")},
                       {"/to-file", redirect("file://" + local)},
                       {"/to-ftp", redirect("ftp://127.0.0.1/a.png")},
                       {"/to-data", redirect("data:,x")},
                       {"/a.png", always(ok(png()))},
                       {"/once", redirect("/a.png")}});
  EXPECT_SAYS("redirects more than 3 times", refusal(server.address("/forever")));
  EXPECT_EQ(server.requests(), 4);
  for (const char* path : {"/to-file", "/to-ftp", "/to-data"}) EXPECT_FALSE(refusal(server.address(path)).empty());
  SourceLimits no_redirects = kShort;
  no_redirects.max_redirects = 0;
  EXPECT_SAYS("redirects more than 0 times", refusal(server.address("/once"), no_redirects));
}

TEST(Http, UnreachableServersAreRefused) {
  const std::string nobody_there = Server({}).address("/a.png");
  EXPECT_FALSE(refusal(nobody_there).empty());
  EXPECT_FALSE(refusal("http://").empty());
  EXPECT_FALSE(refusal("http://[::bad").empty());
  EXPECT_FALSE(refusal("http://name.invalid/a.png").empty());
}

}  // namespace
}  // namespace i2i

// A stack of its own for every CUDA thread, and the switch from one to the next without a system call.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace i2i::cuda_on_cpu {

/// Where a thread of execution stopped.
struct Context {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t machine{};
#endif
};

/// `context` will start in `entry`, which never returns, on the given stack.
void prepare_context(Context& context, char* stack, std::size_t bytes, void (*entry)());
/// Stops here, in `from`, and goes on in `to`.
void switch_context(Context& from, const Context& to);

/// Stacks for `count` threads in one piece, so that one comparison tells a local variable from memory.
class Stacks {
 public:
  static constexpr std::size_t kBytes = std::size_t{128} * 1024;

  Stacks() = default;
  ~Stacks();
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;

  void reserve(std::size_t count);
  char* of(std::size_t thread) const { return base_ + thread * kBytes; }
  bool contains(const void* address) const {
    return static_cast<std::size_t>(static_cast<const char*>(address) - base_) < count_ * kBytes;
  }

 private:
  char* base_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace i2i::cuda_on_cpu

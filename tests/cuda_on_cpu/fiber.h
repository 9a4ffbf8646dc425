// A stack of its own for every CUDA thread, and the switch from one to the next without a system call. AddressSanitizer
// is told of every switch (sanitizer/common_interface_defs.h), since it keeps the bounds of the stack that runs.
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
  const void* stack_bottom = nullptr;  ///< of the host: known once it has been left
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;  ///< AddressSanitizer's, while this context rests
};

/// `context` will start in `entry`, the same for all, which never returns, on the given stack.
void prepare_context(Context& context, char* stack, std::size_t bytes, void (*entry)());
/// Stops here, in `from`, and goes on in `to`.
void switch_context(Context& from, const Context& to);
/// The same, where nobody will come back.
[[noreturn]] void leave_context(Context& from, const Context& to);

/// Stacks for `count` threads in one piece, so that one comparison tells a local variable from memory.
class Stacks {
 public:
  static constexpr std::size_t kBytes = std::size_t{256} * 1024;  // a sanitizer's frames are large

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

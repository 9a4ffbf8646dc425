#include "tests/cuda_on_cpu/fiber.h"

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>

#if defined(__x86_64__)
// What the System V ABI lets a function keep for its caller: six registers, in a frame below the return address.
extern "C" void i2i_switch_context(void** save, void* load);
asm(R"(
.text
.globl i2i_switch_context
.type i2i_switch_context, @function
i2i_switch_context:
  subq $48, %rsp
  movq %rbx, 0(%rsp)
  movq %rbp, 8(%rsp)
  movq %r12, 16(%rsp)
  movq %r13, 24(%rsp)
  movq %r14, 32(%rsp)
  movq %r15, 40(%rsp)
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  movq 0(%rsp), %rbx
  movq 8(%rsp), %rbp
  movq 16(%rsp), %r12
  movq 24(%rsp), %r13
  movq 32(%rsp), %r14
  movq 40(%rsp), %r15
  addq $48, %rsp
  ret
.size i2i_switch_context, . - i2i_switch_context
)");
#endif

namespace i2i::cuda_on_cpu {
namespace {

void (*entry_of_all)() = nullptr;
[[maybe_unused]] Context* left = nullptr;  // the latest to be left

// What has to be said before and after a switch, from the stack that is left and from the one that runs then.
void announce_switch([[maybe_unused]] void** fake_stack, [[maybe_unused]] Context& from,
                     [[maybe_unused]] const Context& to) {
#if defined(__SANITIZE_ADDRESS__)
  left = &from;
  __sanitizer_start_switch_fiber(fake_stack, to.stack_bottom, to.stack_bytes);
#endif
}
void confirm_switch([[maybe_unused]] void* fake_stack) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, &left->stack_bottom, &left->stack_bytes);
#endif
}

void begin_context() {
  confirm_switch(nullptr);
  entry_of_all();
}

void switch_machine(Context& from, const Context& to) {
#if defined(__x86_64__)
  i2i_switch_context(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.machine, &to.machine);
#endif
}

}  // namespace

void prepare_context(Context& context, char* stack, std::size_t bytes, void (*entry)()) {
  entry_of_all = entry;
  context.stack_bottom = stack;
  context.stack_bytes = bytes;
  // Frames that were left for good keep their poison.
  ASAN_UNPOISON_MEMORY_REGION(stack, bytes);
#if defined(__x86_64__)
  constexpr std::size_t kFrame = 48;
  void (*const begin)() = begin_context;
  // The first switch "returns" into entry; there the stack must be 8 below a multiple of 16, as after a call.
  char* top = stack + bytes - 16;
  std::memset(top - kFrame, 0, kFrame + 16);
  std::memcpy(top, static_cast<const void*>(&begin), sizeof(begin));
  context.stack_pointer = top - kFrame;
#else
  getcontext(&context.machine);
  context.machine.uc_stack.ss_sp = stack;
  context.machine.uc_stack.ss_size = bytes;
  context.machine.uc_link = nullptr;
  makecontext(&context.machine, begin_context, 0);
#endif
}

void switch_context(Context& from, const Context& to) {
  announce_switch(&from.fake_stack, from, to);
  switch_machine(from, to);
  confirm_switch(from.fake_stack);
}

void leave_context(Context& from, const Context& to) {
  announce_switch(nullptr, from, to);
  switch_machine(from, to);
  __builtin_unreachable();
}

Stacks::~Stacks() {
  if (base_ != nullptr) munmap(base_, count_ * kBytes);
}

void Stacks::reserve(std::size_t count) {
  if (count <= count_) return;
  if (base_ != nullptr) munmap(base_, count_ * kBytes);
  void* memory =
      mmap(nullptr, count * kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  base_ = static_cast<char*>(memory);
  count_ = count;
}

}  // namespace i2i::cuda_on_cpu

// Device and shared memory as the checks see it: pieces with a name, and what is known of each byte.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/cuda_on_cpu/state.h"

namespace i2i::cuda_on_cpu {

/// What is known of one byte: its last write and its last read. Host writes have block 0, which every later moment is
/// ordered after. See shadow.cpp for the marks.
struct Shadow {
  Moment written;
  Moment read;
};

struct Region {
  std::string name;
  char* mapping = nullptr;
  std::size_t mapping_bytes = 0;
  char* data = nullptr;
  std::size_t bytes = 0;
  bool shared = false;
  bool read_only = false;
  std::vector<Shadow> shadow;
};

/// The region whose mapping (guard pages included) holds the address, or null.
Region* find_region(std::uintptr_t address);
void mark_initialised(Region& region);
std::size_t count_uninitialised(const Region& region);

}  // namespace i2i::cuda_on_cpu

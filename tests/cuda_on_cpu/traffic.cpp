// What memory requests cost. A request is what the lanes of one warp ask for by one instruction: here, each lane's k-th
// execution of the same place in the code. Shared memory answers 32 banks of 4 bytes at a time, 8- and 16-byte accesses
// by halves and quarters of the warp; global memory answers sectors of 32 bytes.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "tests/cuda_on_cpu/emulated_cuda.h"
#include "tests/cuda_on_cpu/state.h"

namespace i2i::cuda_on_cpu {
namespace {

struct Request {
  std::vector<std::pair<unsigned, std::uintptr_t>> lanes;  // lane and address
};
using RequestKey = std::tuple<const void*, bool, std::uint32_t, unsigned>;  // site, shared, bytes, how many before it

struct SiteCost {
  std::uint64_t wavefronts = 0;
  std::uint64_t ideal = 0;
};
std::map<const void*, SiteCost> shared_sites;

/// Wavefronts of lanes that are served together: the most different words that one bank must give.
std::uint64_t wavefronts(const std::vector<std::uintptr_t>& addresses, std::uint32_t bytes) {
  std::array<std::set<std::uintptr_t>, 32> words_of_bank;
  for (const std::uintptr_t address : addresses) {
    for (std::uintptr_t word = address / 4; word <= (address + bytes - 1) / 4; ++word)
      words_of_bank[word % 32].insert(word);
  }
  std::size_t most = 0;
  for (const auto& words : words_of_bank) most = std::max(most, words.size());
  return most;
}

void add_shared(const void* site, std::uint64_t cost, std::uint64_t ideal) {
  Traffic& traffic = launch_report().traffic;
  traffic.shared_wavefronts += cost;
  traffic.shared_ideal += ideal;
  SiteCost& known = shared_sites[site];
  known.wavefronts += cost;
  known.ideal += ideal;
}

void count_shared(const void* site, std::uint32_t bytes, const Request& request) {
  ++launch_report().traffic.shared_requests;
  const unsigned together = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;
  for (unsigned first = 0; first < kWarpSize; first += together) {
    std::vector<std::uintptr_t> addresses;
    for (const auto& [lane, address] : request.lanes) {
      if (lane / together * together == first) addresses.push_back(address);
    }
    if (!addresses.empty()) add_shared(site, wavefronts(addresses, bytes), 1);
  }
}

void count_global(std::uint32_t bytes, const Request& request) {
  std::set<std::uintptr_t> sectors, asked;
  for (const auto& [lane, address] : request.lanes) {
    for (std::uintptr_t byte = address; byte < address + bytes; ++byte) {
      sectors.insert(byte / 32);
      asked.insert(byte);
    }
  }
  Traffic& traffic = launch_report().traffic;
  ++traffic.global_requests;
  traffic.global_sectors += sectors.size();
  traffic.global_ideal += (asked.size() + 31) / 32;
}

}  // namespace

std::string Traffic::text() const {
  std::string result =
      fmt::format("shared: {} requests, {} wavefronts, {} at best; global: {} requests, {} sectors, {} at best",
                  shared_requests, shared_wavefronts, shared_ideal, global_requests, global_sectors, global_ideal);
  for (const std::string& place : conflicts) result += "\n" + place;
  return result;
}

void note_traffic(Thread& thread, const void* address, std::size_t bytes, bool shared, const void* site) {
  thread.traffic.push_back(
      {site, reinterpret_cast<std::uintptr_t>(address), static_cast<std::uint32_t>(bytes), shared});
}

void note_matrix_load(const std::array<const void*, 8>& rows, const void* site) {
  std::vector<std::uintptr_t> addresses;
  for (const void* row : rows) addresses.push_back(reinterpret_cast<std::uintptr_t>(row));
  ++launch_report().traffic.shared_requests;
  add_shared(site, wavefronts(addresses, 16), 1);
}

void count_block_traffic() {
  if (!launch_options().count_traffic) return;
  for (const Warp& warp : current_block().warps) {
    std::map<RequestKey, Request> requests;
    for (Thread* lane : warp.lanes) {
      if (lane == nullptr) continue;
      std::map<RequestKey, unsigned> executions;
      for (const TrafficEvent& event : lane->traffic) {
        const unsigned k = executions[{event.site, event.shared, event.bytes, 0}]++;
        requests[{event.site, event.shared, event.bytes, k}].lanes.emplace_back(lane->lane, event.address);
      }
      lane->traffic.clear();
    }
    for (const auto& [key, request] : requests) {
      const auto& [site, shared, bytes, k] = key;
      if (shared) {
        count_shared(site, bytes, request);
      } else {
        count_global(bytes, request);
      }
    }
  }
}

void begin_traffic() {
  shared_sites.clear();
  for (const auto& thread : current_block().threads) thread->traffic.clear();
}

void end_traffic() {
  for (const auto& [site, cost] : shared_sites) {
    if (cost.wavefronts > cost.ideal)
      launch_report().traffic.conflicts.push_back(
          fmt::format("{} wavefronts, {} at best{}", cost.wavefronts, cost.ideal, source_line(site)));
  }
}

}  // namespace i2i::cuda_on_cpu

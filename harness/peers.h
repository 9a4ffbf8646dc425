// i2i beside other programs: reads what ci/peer_comparison/compare.py recorded, refuses what it cannot mean, and turns
// rounds into ratios with intervals and pictures into distances. Measures nothing.
#pragma once

#include <string>

#include "reports/peers.h"

namespace i2i {

/// @param path  peers.json; its pictures are named relative to its folder
/// @throws Error(kUsage) naming the file and the key by JSON pointer, with the value and the bound
PeersReport peers_report(const std::string& path);

}  // namespace i2i

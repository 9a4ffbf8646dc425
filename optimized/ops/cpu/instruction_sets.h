// Which instruction set's kernels run: the best that the processor has, unless the environment or a test names another.
#pragma once

#include <vector>

namespace i2i::cpu {

/// Environment variable that names the one to use in place of the best.
constexpr const char* kInstructionSetVariable = "I2I_INSTRUCTION_SET";

/// All that there are, whether this processor has them or not, worst first.
std::vector<const char*> instruction_sets();

/// @return false where the processor lacks it, or nobody knows it; then nothing changes. "" goes back to where the
/// program began.
bool choose_instruction_set(const char* name);

}  // namespace i2i::cpu

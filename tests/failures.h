// What an action says that must fail. Only tests include this.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "interface/error.h"

namespace i2i {

/// The message of the Error that the action throws; its code must be this one. "no error" where nothing is thrown.
template <typename Action>
std::string failure_of(const Action& action, ErrorCode code = ErrorCode::kGenerationFailed) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code));
    return error.what();
  }
  return "no error";
}

inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
}

}  // namespace i2i

// For tests: where their files lie.
#pragma once

#include <string>

namespace lockstep {

// A new empty folder below the test program's own; without a name, that of the running test.
std::string FreshFolder(const std::string& name);
std::string FreshFolder();

}  // namespace lockstep

// What of CUDA this process stands on, for environment.h.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace lockstep {

// Name, version of CUDA's libraries as this process has loaded them, none in a program that does
// not link them; and the driver of the machine, if there is one.
std::vector<std::pair<std::string, std::string>> CudaVersions();

}  // namespace lockstep

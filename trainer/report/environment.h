// What a run stands on: our version, the libraries', and the machine.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace lockstep {

inline constexpr char kVersion[] = "0.1.0";

// Name, version: ourselves first, then every library, CUDA's and the driver's as they are loaded.
std::vector<std::pair<std::string, std::string>> Versions();

// "gpu 0", its name and memory; for each GPU that this process may use.
std::vector<std::pair<std::string, std::string>> Gpus();

// Host, processor, cores that may be used, memory, system, GPUs.
std::vector<std::pair<std::string, std::string>> Hardware();

// Bytes of memory that this process may still take, by the system and by its cgroup.
int64_t AvailableMemory();

// Hash of this program's file: ranks must run the same one.
std::string BinaryHash();

}  // namespace lockstep

// The rank that fault_test runs: a small training loop without a model, which can be told to fail.
#pragma once

#include <map>
#include <string>

namespace lockstep::dist {

// What the test asks for, "key=value" arguments:
//   nproc, nnodes, node_rank, master_addr, stall, restarts, steps, cap (bucket bytes), out
//   (folder), fault (see fault_test_rank.cc), rank and step (where it happens)
using Arguments = std::map<std::string, std::string>;

// The process as it would be in a program: the parent, or a rank. Returns the exit code.
int RunProgram(const Arguments& arguments, int argc, char** argv);

}  // namespace lockstep::dist

// What can happen to a run of several ranks: how it is brought about from outside, and what the run
// owes its user then.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/tiny_model.h"
#include "tests/trainer_process.h"

namespace lockstep {

// Where the ranks compute.
struct FaultDevice {
  std::string name;    // "Cpu", "Gpu"
  std::string flag;    // --device
  std::string rank_1;  // as reports name rank 1's device
  int ranks;
};

// Model and documents for such runs: kMarkerDocuments of the documents say the same, and no
// document has the token kNanToken, whose embedding is not a number.
inline constexpr int kMarkerDocuments = 8, kNanToken = 96;
TinyInput MakeFaultInput();

constexpr double kStallTimeout = 3;

// A run that trains, and what a fault may need to know of it. Rank 1 is hit unless the fault's name
// says another.
struct Victim {
  TrainerProcess& trainer;
  std::string folder, output_dir;

  void SignalRank(int rank, int signal) const;
};

struct Fault {
  std::string name;
  std::function<void(const Victim&)> plant;
  int exit_code;
  std::vector<std::string> says;  // in the report, among others
  std::vector<std::string> flags = {};
  double detection_s = 0;  // how long it may take to be noticed; from then on the run has 10 s
  bool possible = true;    // on this machine
};

// All that can be done to ranks on `device`.
std::vector<Fault> FaultsOn(const FaultDevice& device);

}  // namespace lockstep

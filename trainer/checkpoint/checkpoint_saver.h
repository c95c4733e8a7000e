// Saves the run's state while training goes on.
//
//   CheckpointSaver saver(world, context, parameters, {folder, save_total_limit});
//   each step:           saver.CopyState();  // before the update of the parameters
//                        RETURN_IF_ERROR(saver.Poll());
//   every --save_steps:  RETURN_IF_ERROR(saver.Save(state, best_step));
//   before the end:      saver.CopyState();
//                        RETURN_IF_ERROR(saver.Finish());
//
// All ranks call the same. Save compares what ranks have alike by checksums that the device
// computes, and returns; the next step's gradient is computed, and behind it the state is copied,
// which by then the ranks have brought together. A thread of rank 0 writes the copy, and only when
// that checkpoint is whole does it remove the oldest. One is written at a time: the next Save waits
// for it.
#pragma once

#include <cstdint>
#include <future>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "dist/world.h"
#include "nn/flat_parameters.h"
#include "tensor/context.h"
#include "tensor/tensor.h"
#include "trainer/checkpoint/checkpoint.h"

namespace lockstep {

class CheckpointSaver {
 public:
  struct Options {
    std::string folder;            // of the checkpoints
    int64_t save_total_limit = 3;  // 0: all
    std::string metrics;           // brought to disk before the checkpoint that belongs to it
    Tensor copy;                   // rank 0: where the state is copied to (parameter_copy.h)
    bool shares_update = false;    // each rank has current values of its own part alone
  };
  // `world` and `parameters` outlive this. The destructor waits for what is being written.
  CheckpointSaver(dist::World& world, const Context& context, const nn::FlatParameters& parameters,
                  Options options);

  // `best_step`: of a checkpoint that stays, whatever its age; -1: none. Errors: the ranks'
  // parameters differ (which ranks; the same on all); on rank 0 also those of Finish. CopyState
  // comes between two of these.
  absl::Status Save(const CheckpointState& state, int64_t best_step);

  // Queues the copy that the last Save wants; on rank 0 values and moments are whole. What is
  // queued from now on may change the parameters.
  void CopyState();

  // What went wrong in writing, as soon as it is known. Does not wait.
  absl::Status Poll();

  // Waits until what was saved is whole on disk.
  absl::Status Finish();

 private:
  struct Wanted {
    CheckpointState state;
    int64_t best_step;
  };
  absl::Status CompareRanks(int64_t step);
  absl::Status Write(const Wanted& wanted);

  dist::World& world_;
  const Context context_;
  const nn::FlatParameters& parameters_;
  const Options options_;
  ParameterCopy copy_;
  std::optional<Wanted> wanted_;       // not yet copied
  int64_t writing_step_ = -1;          // of the last copy
  std::future<void> reserving_;        // the copy's memory; until it is first needed
  std::future<absl::Status> writing_;  // last: its destructor waits for the thread
};

}  // namespace lockstep

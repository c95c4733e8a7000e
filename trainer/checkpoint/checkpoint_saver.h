// Saves the run's state while training goes on.
//
//   CheckpointSaver saver(world, context, parameters, {folder, save_total_limit});
//   each step:           saver.BeforeUpdate();  // of the parameters
//                        RETURN_IF_ERROR(saver.Poll());
//   every --save_steps:  RETURN_IF_ERROR(saver.Save(state, best_step));
//   before the end:      RETURN_IF_ERROR(saver.Finish());
//
// Rank 0 takes the memory for a copy of the state at once, in the background. All ranks call the
// same. Save compares the ranks' values and their image by checksums that the device computes, and
// returns; a thread of rank 0 has values and moments copied aside while the next step's gradient is
// computed, writes the copy, and only when that checkpoint is whole does it remove the oldest. One
// is written at a time: the next Save waits for it.
#pragma once

#include <cstdint>
#include <future>
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
  };
  // `world` and `parameters` outlive this. The destructor waits for what is being written.
  CheckpointSaver(dist::World& world, const Context& context, const nn::FlatParameters& parameters,
                  Options options);

  // `best_step`: of a checkpoint that stays, whatever its age; -1: none. Errors: the ranks' values
  // differ (which ranks; the same on all); on rank 0 also those of Finish.
  absl::Status Save(const CheckpointState& state, int64_t best_step);

  // What is queued from now on may change the parameters: it comes behind the copy, which the host
  // does not wait for once its memory is there.
  void BeforeUpdate();

  // What went wrong in writing, as soon as it is known. Does not wait.
  absl::Status Poll();

  // Waits until what was saved is whole on disk.
  absl::Status Finish();

 private:
  absl::Status CompareValues(int64_t step);
  absl::Status Write(const CheckpointState& state, int64_t best_step, std::promise<void> begun);

  dist::World& world_;
  const Context context_;
  const nn::FlatParameters& parameters_;
  const Options options_;
  const Tensor checksum_;  // i64 [1]
  ParameterCopy copy_;
  std::future<void> reserving_;        // the copy's memory; until it is first needed
  std::future<void> copying_;          // the copy has been begun
  std::future<absl::Status> writing_;  // last: its destructor waits for the thread
};

}  // namespace lockstep

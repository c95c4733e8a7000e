// Which gradients travel together between the ranks. A pure function; every rank gets the same.
//
// Gradients lie in one flat buffer, in the order in which backward makes them final. A bucket is a
// range of that buffer, so nothing is packed or copied; it leaves when all parameters that have
// elements in it are final:
//
//   | p0 | p1 .. | p2      |      p3         | p4 | p5 | ..  pn | slots |
//   |--- bucket 0 ---|--- bucket 1 ---|--- bucket 2 ---|----- last -----|
//
// Behind the last parameter come the step's slots (elements of the buffer's own type): small values
// that are summed over the ranks together with the gradients.
//
// Every rank gets all sums of a bucket (all_reduce); or each a part of its own, an n-th
// (reduce_scatter), where the ranks then share the optimizer's work. What does not divide evenly,
// and the slots, are at the end and everybody's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace lockstep::dist {

struct ParameterRange {
  std::string name;
  int64_t offset = 0;  // elements, ascending; gaps for alignment are allowed
  int64_t numel = 0;
};

// What the slots mean in the exact (int64) gradient buffer; all are sums over the ranks.
enum StepSlot {
  kOverflowSlot,  // number of gradient values that were non-finite or too large for the fixed point
  kStopSlot,      // number of ranks that were asked to stop: not zero ends the run after this step
  kLossSlot,      // the rank's sum of the loss over supervised tokens, in fixed point too
  kNumStepSlots
};

struct BucketPlan {
  struct Bucket {
    int64_t begin = 0, end = 0;  // elements of the flat buffer
    int first_member = 0;        // members [first_member, end_member) have elements in it
    int end_member = 0;
    int parts = 1;  // 1: every rank gets all of it; n: rank r of n gets the r-th of n equal parts

    // What rank `rank` gets.
    int64_t begin_of(int rank) const { return begin + (parts == 1 ? 0 : rank * part_numel()); }
    int64_t end_of(int rank) const { return begin_of(rank) + part_numel(); }
    int64_t part_numel() const { return (end - begin) / parts; }
  };
  std::vector<ParameterRange> members;  // the parameters, then the slots (if any) as the last one
  std::vector<Bucket> buckets;
  int64_t slots_offset = 0;  // where the slots begin
  int num_slots = 0;
  int64_t shared = 0;  // elements [0, shared) are in buckets of several parts
  int64_t numel = 0;   // of the whole flat buffer

  int slots_member() const { return static_cast<int>(members.size()) - 1; }
};

struct BucketLimits {
  int64_t cap_bytes = 0;  // at most; but one part_unit a part at least, and the slots come on top
  int element_bytes = 8;
  int num_slots = kNumStepSlots;
  int parts = 1;          // n: buckets are shared by n ranks
  int64_t part_unit = 1;  // elements; parts begin at its multiples
};

// Buckets are contiguous and cover the buffer from 0 to numel; a gap belongs to the parameter
// before it. Overlapping or descending ranges are fatal.
BucketPlan PlanBuckets(absl::Span<const ParameterRange> parameters, const BucketLimits& limits);

// A few lines for --dry_run.
std::string Describe(const BucketPlan& plan, int element_bytes);

}  // namespace lockstep::dist

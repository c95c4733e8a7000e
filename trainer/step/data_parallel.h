// Data parallelism: the only place that knows both autograd and dist.
//
// Every rank runs its packs; the step's gradient is the sum over all packs of all ranks. As a
// leaf's gradient of one pack becomes final it is added to the flat sums; in this rank's last pack
// that makes the parameter ready, and the reducer sums it over the ranks while backward goes on:
//
//   parallel.BeginStep(packs_in_step);
//   for each pack of this rank:
//     Tape tape(context); …; parallel.Backward(tape, nll, is_last);
//   parallel.FinishStep(stop_requested);                 // queued, like everything before it
//   parallel.Update(&optimizer, step, rate);             // the parameters, on all ranks
//   const StepSums sums = parallel.ReadSums();           // waits for the device
//
// A rank without a pack takes part with zeros. With exact (int64) sums the result does not depend
// on how packs are dealt to ranks (docs/numerics.md).
//
// With `shares_update` (ZeRO-1: Rajbhandari et al., 2020) each rank gets the sums of a part of
// every bucket, updates the parameters of that part, and the ranks give each other what products
// read: half the bytes, and an n-th of AdamW's work. That goes on beside the next forward pass,
// which awaits a layer's weights before it reads them (FlatParameters::Await). Between steps values
// and moments are then current only in a rank's own parts (values that products read themselves
// come as weights do); Gather and RequestState make them whole.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/ops/head_nll.h"
#include "autograd/tape.h"
#include "dist/communicator.h"
#include "dist/gradient_reducer.h"
#include "nn/flat_parameters.h"
#include "nn/optim/adamw.h"
#include "tensor/context.h"

namespace lockstep {

// How gradients are added up. Only exact sums are the same on any number of ranks.
enum class GradientSum {
  kExact,  // 64-bit fixed point
  kFp32,   // fp32 everywhere
  kBf16,   // fp32 on each rank, rounded to bf16 at every addition between ranks: half the bytes
};
DType SumDtype(GradientSum sum);  // of FlatParameters' sums

struct ReductionOptions {
  GradientSum sum = GradientSum::kExact;
  double bucket_cap_mb = 100;  // MiB of sums that a rank gets at once; docs/scaling.md
  bool shares_update = false;  // each rank updates a part of the parameters
};

// What the ranks' slots sum up to; equal on all ranks.
struct StepSums {
  double loss_sum = 0;      // of −log p over the step's supervised tokens
  double num_overflow = 0;  // gradient or loss values that were not finite or too large
  bool stop = false;        // a rank was asked to stop
};

class DataParallel {
 public:
  // `parameters` has dist::kNumStepSlots slots and sums of SumDtype; it and `communicator` outlive
  // this.
  DataParallel(const Context& context, nn::FlatParameters* parameters,
               dist::Communicator* communicator, const ReductionOptions& options);
  ~DataParallel();  // behind it the image is whole
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  void BeginStep(int64_t packs_in_step);

  // Differentiates this pack's share of the mean loss and adds its gradients and its sum of losses
  // to the step's. `last`: this rank's last pack of the step.
  void Backward(autograd::Tape& tape, const autograd::HeadNllResult& nll, bool last);

  // Sums over the ranks: what follows on the stream finds the step's gradient in
  // parameters->sums(), this rank's parts of it.
  void FinishStep(bool stop_requested);

  // One step of the optimizer along that gradient, the same on every rank; the gradient is gone
  // afterwards. What other ranks have updated is on its way: parameters->Await() is for readers.
  void Update(nn::AdamW* optimizer, int64_t step, double learning_rate);

  // Brings together what each rank has in its parts of one of the parameters' buffers.
  void Gather(const Tensor& buffer);
  // The same of values and moments, for a checkpoint: beside the next step's forward pass, or in
  // AwaitState. What follows AwaitState on the stream finds them as they are now.
  void RequestState() { state_requested_ = true; }
  void AwaitState();

  // The sums of the step that was finished last; waits for the device. A loop that does not want to
  // wait reads slots() back by itself and decodes them.
  StepSums ReadSums() const;
  Tensor slots() const { return parameters_->slots(); }
  StepSums Decode(const void* host_slots) const;

  // Whether what this rank has added since BeginStep, losses and gradients, is finite and fits.
  bool OwnSumsAreFinite() const;

  const dist::BucketPlan& plan() const { return reducer_.plan(); }
  int element_bytes() const { return static_cast<int>(SizeOf(traveling_.dtype)); }

 private:
  // Elements that this rank has the sums of and updates: its part of a bucket that the ranks share,
  // or what each of them does for itself.
  struct OwnRange {
    int64_t begin, end;
    int64_t all_begin, all_end;  // with the other ranks' parts of the bucket
    size_t bucket;               // its number; of what is not shared the first one's

    bool is_shared() const { return begin != all_begin || end != all_end; }
  };
  static std::vector<OwnRange> OwnRanges(const dist::BucketPlan& plan, int rank, int64_t numel);

  bool is_rounded() const { return traveling_.dtype != parameters_->sums().dtype(); }
  void MarkReady(int parameter);
  dist::Communicator::Work QueueGather(const Tensor& buffer, const char* what);
  void QueueState();
  dist::Communicator::Work Gather(const OwnRange& own, const Tensor& buffer, const char* what);
  void AwaitWeights(int64_t offset);
  void ShareNorm(const Tensor& partials);
  void ReduceSlots();
  void AddToSlot(int slot, const View& value);

  const Context context_;
  nn::FlatParameters* const parameters_;
  dist::Communicator* const communicator_;
  const Tensor rounded_;  // kBf16: what travels instead of the sums, [numel]
  const View traveling_;
  dist::GradientReducer reducer_;
  const std::vector<OwnRange> own_;
  Tensor ones_;  // the seed of Backward
  int64_t packs_in_step_ = 0;
  std::vector<bool> ready_;
  bool sums_are_zero_ = false;  // slots excepted
  bool state_requested_ = false;
  dist::Communicator::Work state_;  // the last of its gathers

  // Weights on their way: of the last elements first.
  struct Arriving {
    int64_t end;
    dist::Communicator::Work work;
  };
  std::vector<Arriving> arriving_;
};

}  // namespace lockstep

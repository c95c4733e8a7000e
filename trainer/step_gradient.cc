#include "trainer/step_gradient.h"

#include "autograd/tape.h"
#include "nn/packed_tokens.h"
#include "trainer/evaluate.h"

namespace lockstep {

void StepGradient(const Context& context, const nn::Decoder& decoder, const data::RankStep& work,
                  const nn::ForwardOptions& forward, bool stop_requested, DataParallel* parallel,
                  absl::FunctionRef<void(const char* phase, int64_t pack)> report) {
  parallel->BeginStep(work.num_packs);
  const double mean = 1.0 / static_cast<double>(work.num_supervised);
  for (size_t i = 0; i < work.packs.size(); ++i) {
    report("forward", static_cast<int64_t>(i));
    autograd::Tape tape(context);
    const nn::PackedTokens tokens = OnDevice(context, work.packs[i]);
    const autograd::Variable hidden = decoder.Hidden(tape, tokens, forward);
    const autograd::HeadNllResult nll = decoder.NllSum(tape, hidden, tokens, mean, forward);
    report("backward", static_cast<int64_t>(i));
    parallel->Backward(tape, nll, /*last=*/i + 1 == work.packs.size());
  }
  report("reduce", -1);
  parallel->FinishStep(stop_requested);
}

}  // namespace lockstep

#include "trainer/step/step_gradient.h"

#include "autograd/tape.h"
#include "nn/packed_tokens.h"
#include "trainer/step/device_pack.h"

namespace lockstep {

void PackGradient(const Context& context, const nn::Decoder& decoder, const data::Pack& pack,
                  int64_t num_supervised, const nn::ForwardOptions& forward, bool last,
                  DataParallel* parallel, absl::FunctionRef<void(const char* phase)> report) {
  report("forward");
  autograd::Tape tape(context);
  const nn::PackedTokens tokens = OnDevice(context, pack);
  const double mean = 1.0 / static_cast<double>(num_supervised);
  // Backward does not read the hidden states: they go here.
  const autograd::HeadNllResult nll =
      decoder.NllSum(tape, decoder.Hidden(tape, tokens, forward), tokens, mean, forward);
  report("backward");
  parallel->Backward(tape, nll, last);
}

void StepGradient(const Context& context, const nn::Decoder& decoder, const data::RankStep& work,
                  const nn::ForwardOptions& forward, bool stop_requested, DataParallel* parallel,
                  absl::FunctionRef<void(const char* phase, int64_t pack)> report) {
  parallel->BeginStep(work.num_packs);
  for (size_t i = 0; i < work.packs.size(); ++i) {
    PackGradient(context, decoder, work.packs[i], work.num_supervised, forward,
                 /*last=*/i + 1 == work.packs.size(), parallel,
                 [&](const char* phase) { report(phase, static_cast<int64_t>(i)); });
  }
  report("reduce", -1);
  parallel->FinishStep(stop_requested);
}

}  // namespace lockstep

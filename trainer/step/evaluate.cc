#include "trainer/step/evaluate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/tape.h"
#include "data/loader.h"
#include "nn/host_tensor.h"
#include "trainer/step/device_pack.h"

namespace lockstep {
namespace {

constexpr double kQuantum = 0x1p-30;  // of a document's sum

struct Sums {
  int64_t quanta = 0;
  int64_t not_finite = 0;  // documents whose sum is no number
  int64_t supervised = 0;

  void Add(const SequenceLoss& loss) {
    const bool finite = std::abs(loss.nll) < 0x1p62 * kQuantum;  // false for NaN, too
    if (finite) quanta += std::llrint(loss.nll / kQuantum);
    if (!finite) ++not_finite;
    supervised += loss.supervised_tokens;
  }
};

}  // namespace

std::vector<SequenceLoss> SequenceLosses(const Context& context, const nn::Decoder& decoder,
                                         const data::Pack& pack) {
  const nn::PackedTokens tokens = OnDevice(context, pack);
  autograd::Tape tape(context, autograd::Tape::Mode::kForward);
  const autograd::Variable hidden = decoder.Hidden(tape, tokens);
  const Tensor nll = decoder.NllSum(tape, hidden, tokens, /*grad_scale=*/1).nll;
  const std::vector<double> terms = nn::ToHost<double>(context, nll);
  std::vector<SequenceLoss> losses;
  size_t target = 0;
  for (size_t d = 0; d < pack.documents.size(); ++d) {
    SequenceLoss loss;
    loss.document = pack.documents[d];
    for (; target < terms.size() && pack.target_rows[target] < pack.cu_seqlens[d + 1]; ++target) {
      loss.nll += terms[target];
      ++loss.supervised_tokens;
    }
    losses.push_back(loss);
  }
  return losses;
}

std::optional<Evaluation> Evaluate(const Context& context, const nn::Decoder& decoder,
                                   const data::Dataset& dataset,
                                   absl::Span<const data::Piece> pieces,
                                   absl::Span<const data::PackPlan> packs,
                                   dist::Communicator& communicator,
                                   absl::FunctionRef<void(int64_t)> on_pack,
                                   absl::FunctionRef<bool()> stop_requested) {
  const auto over_ranks = [&](int64_t value) {
    return dist::AllReduceValue(communicator, value, dist::ReduceOp::kSum, "evaluation");
  };
  const auto dealt = data::DealPacks(packs, communicator.size());
  const std::vector<int64_t>& own = dealt[communicator.rank()];
  size_t rounds = 0;  // packs are dealt by falling cost: those of a round are alike
  for (const std::vector<int64_t>& of_rank : dealt) rounds = std::max(rounds, of_rank.size());
  Sums sums;
  for (size_t round = 0; round < rounds; ++round) {
    if (over_ranks(stop_requested()) > 0) return std::nullopt;
    if (round >= own.size()) continue;
    on_pack(own[round]);
    const data::Pack pack = data::BuildPack(dataset, pieces, packs[own[round]], /*epoch=*/0);
    for (const SequenceLoss& loss : SequenceLosses(context, decoder, pack)) sums.Add(loss);
  }
  const double sum = static_cast<double>(over_ranks(sums.quanta)) * kQuantum;
  const bool finite = over_ranks(sums.not_finite) == 0;
  const int64_t supervised = over_ranks(sums.supervised);
  const double mean = supervised == 0 ? 0.0 : sum / static_cast<double>(supervised);
  return Evaluation{finite ? mean : std::numeric_limits<double>::quiet_NaN(), supervised};
}

}  // namespace lockstep

#include "trainer/prepare.h"

#include <utility>

#include "base/status.h"

namespace lockstep {

absl::StatusOr<Prepared> Prepare(
    const TrainOptions& options, const data::ProgressFn& progress,
    absl::FunctionRef<absl::StatusOr<RunStart>(const RunIdentity&)> decide) {
  Prepared prepared;
  ASSIGN_OR_RETURN(prepared.config, nn::ReadModelConfig(options.data.model));
  ASSIGN_OR_RETURN(Documents documents, LoadDocuments(options.data, prepared.config, progress));
  ASSIGN_OR_RETURN(prepared.identity, IdentityOf(options, documents));
  ASSIGN_OR_RETURN(prepared.start, decide(prepared.identity));
  if (prepared.start.kind == RunStart::Kind::kFinished) return prepared;
  DataOptions data_options = options.data;
  if (prepared.start.kind == RunStart::Kind::kResume) {
    data_options.tokens_per_pack = prepared.start.state.tokens_per_pack;
  }
  ASSIGN_OR_RETURN(prepared.data,
                   PlanTraining(std::move(documents), data_options, prepared.config, options.seed));
  return prepared;
}

}  // namespace lockstep

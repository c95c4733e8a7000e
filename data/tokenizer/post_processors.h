// Post-processors: the special tokens around a document.
//
//   TemplateProcessing   `single`, a list of special tokens and the place of the text
//   BertProcessing       cls text sep; RobertaProcessing the same
//   ByteLevel            changes offsets only, which we do not follow (see tokenizer.h)
//   Sequence             `processors`, one after the other
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/settings.h"

namespace lockstep::data {

// What a document becomes, from left to right: token ids, and kText where its own tokens stand.
struct DocumentLayout {
  static constexpr int32_t kText = -1;
  std::vector<int32_t> with_special = {kText};
  std::vector<int32_t> without_special = {kText};
};

absl::StatusOr<DocumentLayout> MakeDocumentLayout(const Settings& settings);

}  // namespace lockstep::data

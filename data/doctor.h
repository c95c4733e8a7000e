// What is wrong with a data set, before any time is spent on it.
//
//   const Diagnosis diagnosis = Examine(input);
//   for (const Finding& finding : diagnosis.findings) …
//
// The doctor looks at the documents as training would: tokens, supervision and the encoder's notes,
// from the token cache. One pass; the doctor tool and the start of training share it.
//
//   code                      severity        documents that …
//   no_supervised_tokens      error, warning  have nothing to learn; error: more than nine in ten
//   double_bos                error           begin with two start tokens
//   untrained_stop_token      error, warning  have a stop token behind what is learned, itself not
//                                             learned; error: no document teaches a stop token
//   no_end_of_turn            warning         have a trained turn or text that no token ends
//   token_outside_vocabulary  error           have ids that the model does not know
//   bad_document              error, warning  are broken; warning: they may be skipped
//   unstable_template         warning         have a template that rewrites earlier turns
//   special_in_content        warning         hold the text of a special token
//   unusual_role_order        warning         do not have user and assistant in turn
//   empty_answer              warning         have a trained answer without text
//   message_lost              warning         have a message that the template leaves out
//   tool_call_lost            warning         have a tool call that the template leaves out
//   empty_document            warning         have at most one token
//   duplicate_document        warning         are equal to an earlier one
//   too_long                  error, warning  are longer than max_seq_length; error: refused, or
//                                             more than nine in ten are dropped
//   answer_cut_off            error, warning  lose all that is learned by being cut; error: more
//                                             than nine in ten
//   validation_overlap        warning         of validation are equal to one of training
//   tokenizer_conflict        warning         (tokens that tokenizer_config.json has otherwise)
//   few_supervised_tokens     info            of a file learn less than 1 % of its tokens
//   boundary_merged           info            have a token across the start of what is learned
//   long_tail                 info            are longer than 8 times the median
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "data/dataset.h"
#include "data/examples.h"
#include "data/selection.h"

namespace lockstep::data {

enum class Severity { kError, kWarning, kInfo };
absl::string_view SeverityName(Severity severity);  // "error", "warning", "info"

struct Finding {
  Severity severity = Severity::kInfo;
  std::string code;
  int64_t count = 0;                   // documents (or tokens, of tokenizer_conflict)
  std::vector<SourcePosition> places;  // of at most kMaxExamples of them, the worst first
  std::string message;                 // one sentence: what it means
  std::string advice;                  // what to do
};
inline constexpr int kMaxExamples = 20;

struct DoctorInput {
  const Dataset* dataset = nullptr;
  const Dataset* validation = nullptr;  // a validation file's documents; may be null
  LengthPolicy length = {};
  bool may_skip = true;    // broken documents may be left out (--skip_bad_documents)
  int64_t vocab_size = 0;  // of the model; 0: unknown
  std::optional<int32_t> bos = std::nullopt;
  std::vector<int32_t> stop_tokens = {};          // that end a text or a turn
  std::vector<std::string> token_conflicts = {};  // data/tokenizer/token_conflicts.h
};

struct Diagnosis {
  int64_t documents = 0;
  int64_t tokens = 0;
  int64_t supervised_tokens = 0;
  std::vector<Finding> findings;  // errors first, then by count

  struct Lengths {  // tokens of a document
    int64_t median = 0, p90 = 0, p99 = 0, longest = 0;
  };
  Lengths lengths;
  // What a part of the data holds, and so which share of it is learned.
  struct Share {
    std::string name;
    int64_t documents = 0, tokens = 0, supervised_tokens = 0;
    double supervised_share() const {
      return tokens == 0 ? 0 : static_cast<double>(supervised_tokens) / static_cast<double>(tokens);
    }
  };
  std::vector<Share> files;
  std::vector<Share> formats;  // "messages", "alpaca", … in the order in which they come
  // Documents with a length in [bounds[i], bounds[i + 1]); bounds are powers of two.
  struct Bin {
    int64_t begin = 0, end = 0, count = 0;
  };
  std::vector<Bin> histogram;
};

Diagnosis Examine(const DoctorInput& input);

// The gate before training: OK, or the errors among the findings in one paragraph with lines and
// advice.
absl::Status ErrorsOf(const Diagnosis& diagnosis);

}  // namespace lockstep::data

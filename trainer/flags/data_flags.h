// The flags that say which model reads which documents, and how they become tokens. Shared with the
// tools that look at data as training does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/encode.h"
#include "data/examples.h"
#include "data/selection.h"

namespace lockstep {

struct DataOptions {
  std::string model;       // folder
  std::string model_name;  // the hub id, where it lies in the hub's cache; else the folder
  std::vector<std::string> train_files;
  std::vector<std::string> validation_files;  // empty: none
  double validation_split = 0;                // share of train_files' documents
  data::ExampleOptions examples;
  data::EncodeOptions encode;  // vocab_size is the model's business
  data::LengthPolicy length;
  int64_t global_batch_size = 16;
  std::optional<int64_t> tokens_per_pack;  // not given: from the data
  bool skip_bad_documents = false;
  std::string cache_dir;
  // "-" or a pipe was among the files: it is now a file of cache_dir with what came. Other
  // processes of the run are told that file's name, as they cannot read the same input again.
  bool read_streams = false;
  // What the embedded example stands in for, where only one of model and data was given: to be
  // said.
  std::string stand_in;
};

// Reads the flags. Paths come back resolved, also in the flags themselves. Errors: UserError.
absl::StatusOr<DataOptions> ReadDataFlags();

// A file of the example that comes with the program, e.g. "model". Error: the program was copied
// away from what Bazel put beside it.
absl::StatusOr<std::string> EmbeddedExample(const std::string& name);

// For people: a path of the embedded example without Bazel's folders before it, any other as it is.
std::string ShownPath(absl::string_view path);

}  // namespace lockstep

// A Hugging Face model folder as one GGUF file for llama.cpp.
//
// Families: llama and mistral (architecture "llama"), qwen2, qwen3. Tensors keep their values but
// for q and k of "llama": there the rotated pairs of a head lie side by side, while Hugging Face
// has first halves, then second halves. Matrices get the wanted type, vectors stay f32. Tensors go
// through one block of rows at a time, so memory does not grow with the model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/gguf/gguf_writer.h"

namespace lockstep {

struct ExportReport {
  int64_t tensors = 0;
  uint64_t bytes = 0;
  std::vector<std::string> warnings;
};

// `name` is what the file calls the model. Errors: a family or an option of config.json that has no
// counterpart; for Q8_0 a matrix whose rows are no multiple of 32 long.
absl::StatusOr<ExportReport> ExportGguf(const std::string& folder, const std::string& name,
                                        const std::string& output, GgufType type);

}  // namespace lockstep

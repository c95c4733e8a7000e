// A Llama folder small enough for a test, with random weights from a seed, and documents for it.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

// Two layers, 32 wide, 4 heads of which 2 for keys, vocabulary 97; no tokenizer: its documents are
// token ids. `mlp` is the width of its gated units: with 1024 it has so many weights (210 K) that
// several ranks share their update.
void WriteTinyModel(const std::string& folder, uint64_t seed = 1, int64_t mlp = 48);

// Sets every element of one of its tensors, or of a row of it (-1: all rows), to `value`.
void SetWeights(const std::string& folder, const std::string& tensor, int row, float value);

// JSONL of `count` documents {"input_ids", "labels"} of very uneven lengths, from 3 to `longest`
// tokens, with uneven shares of supervised tokens. Ids are below `vocab`.
void WriteUnevenDocuments(const std::string& path, int count, int longest, uint64_t seed = 2,
                          int64_t vocab = 97);

// Both in fresh places: what a test trains on.
struct TinyInput {
  std::string model, documents;
};
TinyInput MakeTinyInput(int count, int longest, int64_t mlp = 48);

}  // namespace lockstep

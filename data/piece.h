// Piece: what the step plan deals with.
#pragma once

#include <cstdint>

namespace lockstep::data {

// A stretch of a document that goes through the model as one sequence.
struct Piece {
  int64_t document;
  uint32_t begin, end;      // tokens of the document
  uint32_t num_supervised;  // targets inside, the first token of the piece never being one
  uint32_t length() const { return end - begin; }
};

}  // namespace lockstep::data

// A pack: whole documents end to end, the unit that goes through the model at once.
//
// There is no batch dimension and no padding. Document d owns rows [cu_seqlens[d], cu_seqlens[d +
// 1]); attention never leaves them and positions restart in each. Logits of row i predict token i +
// 1 of the same document: a supervised token at row i + 1 makes row i a target row.
#pragma once

#include <cstdint>
#include <vector>

namespace lockstep::data {

struct Pack {
  std::vector<int32_t> input_ids;    // [T]
  std::vector<int32_t> positions;    // [T], from 0 in each document (or piece of one)
  std::vector<int32_t> cu_seqlens;   // [D + 1], first 0, last T
  std::vector<int32_t> target_rows;  // [S], ascending: rows whose next token is supervised
  std::vector<int32_t> targets;      // [S], that next token
  std::vector<int64_t> token_keys;  // [T], names (epoch, document, token index): dropout's counter,
                                    // the same however documents are packed
  std::vector<int64_t> documents;   // [D], index into the data set

  int64_t num_tokens() const { return static_cast<int64_t>(input_ids.size()); }
  int64_t num_supervised() const { return static_cast<int64_t>(targets.size()); }
};

}  // namespace lockstep::data

// A byte-level BPE tokenizer made from texts, written as a Hugging Face tokenizer.json.
#pragma once

#include <string>
#include <vector>

namespace lockstep::examples {

// Learns merges until there are `vocab_size` tokens: 256 bytes, the merges, and `end_of_text` as
// the last one. Ties go to the pair that comes first in byte order, so the result is the same
// everywhere. Texts are ASCII without apostrophes, digits stand alone.
std::string MakeTokenizerJson(const std::vector<std::string>& texts, int vocab_size,
                              const std::string& end_of_text);

}  // namespace lockstep::examples

// For tests: the tokenizers under @shared//:tokenizers, which are packed.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace lockstep::data {

inline constexpr const char* kSharedTokenizers[] = {"gemma3", "llama3_1", "minimind", "phi3",
                                                    "qwen3"};

// False where the reference material is not there; such tests skip.
bool HaveSharedTokenizers();
// Unpacks one into the test's own folder; the path of its tokenizer.json.
std::string UnpackSharedTokenizer(absl::string_view name);
// The lines of an .xz file below external/shared.
std::vector<std::string> ReadXzLines(absl::string_view path);

}  // namespace lockstep::data

// Data flags that were given and yet say nothing about these documents.
#pragma once

#include <string>
#include <vector>

#include "trainer/flags/data_flags.h"

namespace lockstep {

// For each such flag: its name, and why. `formats` are those of the files (data/examples.h:
// FormatName); of pairs, which may be texts or lists of messages, both are assumed.
std::vector<std::string> IdleDataFlags(const DataOptions& options,
                                       const std::vector<std::string>& formats,
                                       bool has_chat_template);

}  // namespace lockstep

// Measures a tokenizer: load time from JSON and from the cache, and megabytes of text per second
// with one thread and with more, with and without offsets.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace lockstep {

// `path`: a tokenizer.json; `data`: JSONL, every string of its objects is a text. The best of
// `rounds` counts, for 1, 2, 4, … threads up to NumThreads().
absl::Status BenchTokenizer(const std::string& path, const std::string& cache_dir,
                            const std::string& data, int rounds);

}  // namespace lockstep

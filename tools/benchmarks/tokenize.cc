#include "tools/benchmarks/tokenize.h"

#include <simdjson.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "base/stopwatch.h"
#include "base/thread_pool.h"
#include "data/tokenizer/tokenizer.h"

namespace lockstep {
namespace {

using data::Tokenizer;

absl::StatusOr<std::vector<std::string>> ReadTexts(const std::string& path) {
  simdjson::dom::parser parser;
  simdjson::dom::document_stream documents;
  ASSIGN_OR_RETURN(std::string content, ReadFile(path));
  content.reserve(content.size() + simdjson::SIMDJSON_PADDING);
  if (parser.parse_many(content).get(documents)) return UserError(path, "want JSON lines");
  std::vector<std::string> texts;
  for (auto document : documents) {
    simdjson::dom::object object;
    if (document.get(object)) return UserError(path, "want a JSON object in each line");
    for (const auto member : object) {
      std::string_view text;
      if (member.value.get(text) == simdjson::SUCCESS) texts.emplace_back(text);
    }
  }
  return texts;
}

absl::StatusOr<double> LoadSeconds(const std::string& path, const std::string& cache_dir,
                                   int rounds) {
  double best = 1e9;
  for (int i = 0; i < rounds; ++i) {
    const Stopwatch watch;
    ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(path, {cache_dir}));
    best = std::min(best, watch.Seconds());
  }
  return best;
}

}  // namespace

absl::Status BenchTokenizer(const std::string& path, const std::string& cache_dir,
                            const std::string& data, int rounds) {
  ASSIGN_OR_RETURN(const double parse_seconds, LoadSeconds(path, "", rounds));
  RETURN_IF_ERROR(Tokenizer::Load(path, {cache_dir}).status());
  ASSIGN_OR_RETURN(const double cache_seconds, LoadSeconds(path, cache_dir, rounds));
  std::printf("load from JSON   %8.3f s\nload from cache  %8.3f s\n", parse_seconds, cache_seconds);
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(path, {}));
  ASSIGN_OR_RETURN(const std::vector<std::string> texts, ReadTexts(data));
  size_t bytes = 0;
  for (const std::string& text : texts) bytes += text.size();
  const int most = NumThreads();
  std::vector<int64_t> counts(texts.size());
  for (int threads = 1; threads <= most; threads *= 2) {
    for (const bool offsets : {false, true}) {
      SetNumThreads(threads);
      double best = 1e9;
      for (int i = 0; i < rounds; ++i) {
        const Stopwatch watch;
        ParallelForRange(static_cast<int64_t>(texts.size()), 64, [&](int64_t begin, int64_t end) {
          for (int64_t t = begin; t < end; ++t) {
            counts[t] = offsets ? tokenizer->Encode(texts[t], true)->ids.size()
                                : tokenizer->EncodeIds(texts[t], true)->size();
          }
        });
        best = std::min(best, watch.Seconds());
      }
      int64_t tokens = 0;
      for (const int64_t count : counts) tokens += count;
      std::printf(
          "%d threads%s  %8.1f MB/s  %8.2f M tokens/s  (%zu texts, %zu bytes, %lld tokens)\n",
          threads, offsets ? ", with offsets" : "              ", bytes / best / 1e6,
          tokens / best / 1e6, texts.size(), bytes, static_cast<long long>(tokens));
    }
  }
  return absl::OkStatus();
}

}  // namespace lockstep

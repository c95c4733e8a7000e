// A data file of any bytes: its documents, and what each of them says.
#include <sys/mman.h>
#include <unistd.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/fuzz/driver.h"
#include "data/document_source.h"
#include "data/examples.h"

namespace lockstep::data {
namespace {

void CheckExample(const Example& example) {
  if (const auto* tokens = std::get_if<TokensExample>(&example.content)) {
    CHECK_EQ(tokens->input_ids.size(), tokens->supervised.size());
  }
  if (const auto* chat = std::get_if<ChatExample>(&example.content)) {
    CHECK_EQ(chat->messages.items().size(), chat->trained.size());
  }
}

void ReadFile(const std::string& path) {
  const auto source = DocumentSource::Open(path);
  if (!source.ok()) return;
  std::optional<Format> format;
  while (true) {
    const auto batch = (*source)->NextBatch(1 << 16);
    if (!batch.ok() || batch->empty()) return;
    for (const RawDocument& document : *batch) {
      const SourcePosition position = {"fuzz", document.line};
      CHECK_GE(position.line, 1);
      if (!format) {
        const auto recognized = RecognizeFormat(document.text, position, {});
        if (!recognized.ok()) continue;
        format = *recognized;
      }
      const auto example = ParseExample(document.text, *format, position, {});
      if (example.ok()) CheckExample(*example);
    }
  }
}

}  // namespace
}  // namespace lockstep::data

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int file = memfd_create("fuzz", 0);
  PCHECK(file >= 0);
  PCHECK(write(file, data, size) == static_cast<ssize_t>(size));
  lockstep::data::ReadFile(absl::StrCat("/proc/self/fd/", file));
  PCHECK(close(file) == 0);
  return 0;
}

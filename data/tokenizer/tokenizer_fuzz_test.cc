// A tokenizer.json of any bytes: refused, or a tokenizer whose answers are consistent.
#include "base/check.h"
#include "base/fuzz/driver.h"
#include "data/tokenizer/stream_decoder.h"
#include "data/tokenizer/tokenizer.h"

namespace lockstep::data {
namespace {

constexpr const char* kTexts[] = {
    "", "a", " the  the\n", "<s>abc</s><s>",
    "I'll x_1 22,333 \xC3\x89 e\xCC\x81 \xE4\xBD\xA0\xF0\x9F\x98\x80\t"};

void Exercise(const Tokenizer& tokenizer) {
  for (const char* text : kTexts) {
    const auto encoding = tokenizer.Encode(text, true);
    if (!encoding.ok()) continue;
    CHECK_EQ(encoding->ids.size(), encoding->offsets.size());
    const auto ids = tokenizer.EncodeIds(text, true);
    CHECK(ids.ok() && *ids == encoding->ids);
    const int32_t size = static_cast<int32_t>(absl::string_view(text).size());
    for (const TokenSpan& span : encoding->offsets) {
      CHECK(0 <= span.begin && span.begin <= span.end && span.end <= size);
    }
    tokenizer.Decode(*ids, true);
    StreamDecoder stream(tokenizer, false);
    for (const int32_t id : *ids) stream.Push(id);
    stream.Finish();
  }
}

}  // namespace
}  // namespace lockstep::data

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view json(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = lockstep::data::Tokenizer::Parse(json, "tokenizer.json");
  if (tokenizer.ok()) lockstep::data::Exercise(**tokenizer);
  return 0;
}

#include "data/tokenizer/unicode_normal_form.h"

#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <string>

#include "base/check.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {
namespace {

const icu::Normalizer2& Current(UnicodeForm form) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* instance = nullptr;
  switch (form) {
    case UnicodeForm::kNfc:
      instance = icu::Normalizer2::getNFCInstance(error);
      break;
    case UnicodeForm::kNfd:
      instance = icu::Normalizer2::getNFDInstance(error);
      break;
    case UnicodeForm::kNfkc:
      instance = icu::Normalizer2::getNFKCInstance(error);
      break;
    case UnicodeForm::kNfkd:
      instance = icu::Normalizer2::getNFKDInstance(error);
      break;
  }
  CHECK(U_SUCCESS(error)) << u_errorName(error);
  return *instance;
}

// To any character that is newer than the version, nothing happens.
const icu::Normalizer2& OfUnicode9(UnicodeForm form) {
  static const icu::UnicodeSet& unicode9 = *[] {
    UErrorCode error = U_ZERO_ERROR;
    auto* set = new icu::UnicodeSet(u"[:Age=9.0:]", error);
    CHECK(U_SUCCESS(error)) << u_errorName(error);
    set->freeze();
    return set;
  }();
  static const icu::FilteredNormalizer2 forms[] = {
      {Current(UnicodeForm::kNfc), unicode9},
      {Current(UnicodeForm::kNfd), unicode9},
      {Current(UnicodeForm::kNfkc), unicode9},
      {Current(UnicodeForm::kNfkd), unicode9},
  };
  return forms[static_cast<int>(form)];
}

bool IsAscii(absl::string_view text) {
  unsigned char all = 0;
  for (const char c : text) all |= static_cast<unsigned char>(c);
  return all < 0x80;
}

// True if nothing is to be done. A text in the form of today's Unicode is in that of any earlier
// one: there, fewer characters move or combine.
bool IsNormal(UnicodeForm form, absl::string_view text) {
  UErrorCode error = U_ZERO_ERROR;
  return Current(form).isNormalizedUTF8({text.data(), static_cast<int32_t>(text.size())}, error) &&
         U_SUCCESS(error);
}

// Normalizes a stretch that does not interact with its neighbors. From the first character that
// changes on, the result has the span of all that changes.
void NormalizeStretch(const icu::Normalizer2& form, const AlignedView& in, AlignedText* out) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::UnicodeString text =
      icu::UnicodeString::fromUTF8({in.text.data(), static_cast<int32_t>(in.text.size())});
  const icu::UnicodeString normal = form.normalize(text, error);
  CHECK(U_SUCCESS(error)) << u_errorName(error);
  if (normal == text) {
    out->Keep(in);
    return;
  }
  std::string utf8;
  normal.toUTF8String(utf8);
  size_t same = 0;  // bytes of whole characters
  for (int length = 0; same < in.text.size(); same += length) {
    DecodeUtf8(in.text.data() + same, &length);
    if (utf8.compare(same, length, in.text.data() + same, length) != 0) break;
  }
  if (same > 0) out->Keep(in.Part(0, same));
  out->Put(absl::string_view(utf8).substr(same), in.Span(same, in.text.size()));
}

}  // namespace

bool IsNormalized(UnicodeForm form, absl::string_view text) {
  return IsAscii(text) || IsNormal(form, text);
}

void NormalizeUnicode(UnicodeForm form, const AlignedView& in, AlignedText* out) {
  if (IsNormalized(form, in.text)) {
    out->Keep(in);
    return;
  }
  const icu::Normalizer2& normalizer = OfUnicode9(form);
  size_t begin = 0;
  for (size_t i = 0; i < in.text.size();) {
    int length;
    const char32_t c = DecodeUtf8(in.text.data() + i, &length);
    if (i > begin && normalizer.hasBoundaryBefore(c)) {
      NormalizeStretch(normalizer, in.Part(begin, i), out);
      begin = i;
    }
    i += length;
  }
  if (begin < in.text.size()) NormalizeStretch(normalizer, in.Part(begin, in.text.size()), out);
}

}  // namespace lockstep::data

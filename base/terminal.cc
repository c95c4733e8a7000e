#include "base/terminal.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace lockstep {
namespace {

absl::string_view Variable(const char* name) { return absl::NullSafeStringView(std::getenv(name)); }

}  // namespace

bool RewritesLines(int fd) { return isatty(fd) == 1 && Variable("TERM") != "dumb"; }

bool TakesColors(int fd) { return RewritesLines(fd) && Variable("NO_COLOR").empty(); }

std::string VisibleText(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (byte == 0x7F || (byte < 0x20 && byte != '\n' && byte != '\t')) {  // U+2400, U+2401 …
      const auto picture = static_cast<char>(byte == 0x7F ? 0xA1 : 0x80 + byte);
      absl::StrAppend(&out, "\xE2\x90", absl::string_view(&picture, 1));
    } else if (byte == 0xC2 && next >= 0x80 && next < 0xA0) {  // U+0080 to U+009F
      absl::StrAppend(&out, "\xEF\xBF\xBD");
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace lockstep

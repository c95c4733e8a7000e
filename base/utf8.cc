#include "base/utf8.h"

#include <unicode/utf8.h>

namespace lockstep {

void AppendUtf8(char32_t code, std::string* out) {
  char bytes[U8_MAX_LENGTH];
  int32_t size = 0;
  U8_APPEND_UNSAFE(bytes, size, static_cast<UChar32>(code));
  out->append(bytes, size);
}

}  // namespace lockstep

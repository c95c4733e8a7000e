// UTF-8 (RFC 3629).
#pragma once

#include <string>

namespace lockstep {

// Appends the bytes of a code point below U+110000.
void AppendUtf8(char32_t code, std::string* out);

}  // namespace lockstep

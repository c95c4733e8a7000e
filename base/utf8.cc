#include "base/utf8.h"

namespace lockstep {

void AppendUtf8(char32_t code, std::string* out) {
  const auto put = [&](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  const auto put_tail = [&](int shift) { put(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put_tail(0);
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put_tail(6);
    put_tail(0);
  } else {
    put(0xF0 | code >> 18);
    put_tail(12);
    put_tail(6);
    put_tail(0);
  }
}

}  // namespace lockstep

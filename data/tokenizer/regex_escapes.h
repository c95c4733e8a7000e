// The characters that Oniguruma's expressions write behind a backslash.
#pragma once

#include <cstddef>
#include <optional>

#include "absl/strings/string_view.h"

namespace lockstep::data {

struct EscapedCharacter {
  char32_t character;
  size_t size;  // bytes behind the backslash
};

// \t \n \r \f \v \a \e, \xHH, \x{H…}, \uHHHH, or a character that is no letter or digit and means
// itself; none if `rest`, which stands behind the backslash and is not empty, begins otherwise.
std::optional<EscapedCharacter> ReadEscape(absl::string_view rest);

// One to three octal digits; none if there is no such digit.
std::optional<EscapedCharacter> ReadOctal(absl::string_view rest);

}  // namespace lockstep::data

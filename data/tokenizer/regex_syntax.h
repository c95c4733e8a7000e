// From Oniguruma's (Ruby's) syntax of regular expressions to PCRE2's.
//
// The two read the same text differently in these places, which are translated:
//   \w \s \d \h \b, POSIX brackets   other sets of characters
//   [a[bc]], [a&&b]               sets in sets; PCRE2 has none
//   {,n}  X{n}+  X{n}?            up to n; plus of an interval; optional interval
//   (?m)  ^ $                     dot matches newlines; always the begin and end of lines
//   (?i) inside a group           reaches over the alternatives that follow
//   \uHHHH, \p{^X}, \p{Letter}    spelling
//   \O, \Q and other letters     any character; a letter without meaning is itself
// Source: Oniguruma 6.9, doc/RE and doc/SYNTAX.md; pcre2pattern(3).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep::data {

// With `new_characters`, the properties also hold the characters of Unicode 15 and 16, which PCRE2
// does not know. Errors: absence operators (?~…), conditionals and callouts of Oniguruma; \X and \y
// (text segments); \cA, \C-A and \M-A; (?x).
absl::StatusOr<std::string> TranslateRegex(absl::string_view pattern, bool new_characters);

}  // namespace lockstep::data

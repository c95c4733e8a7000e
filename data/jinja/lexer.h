// Template text to tokens, by Jinja's rules with trim_blocks and lstrip_blocks:
//   * a newline right behind a block or a comment is dropped (`+%}` keeps it),
//   * spaces before a block or a comment that begins its line are dropped (`{%+` keeps them),
//   * `{%-` and `-%}` drop all white space on their side, for {{ }} and {# #} too,
//   * one newline at the end of the template is dropped; "\r\n" and "\r" are "\n".
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

struct Token {
  enum Kind {
    kData,
    kVariableBegin,
    kVariableEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,  // in `text`
    kEnd,
  };
  Kind kind;
  int line;
  std::string text;  // of data, names, strings (unescaped) and operators
  Value value;       // of numbers
};

// How an error message calls it.
std::string Describe(const Token& token);

// The last token is kEnd. Throws TemplateError.
std::vector<Token> Tokenize(absl::string_view source);

}  // namespace lockstep::data::jinja

// Sets of characters by the names that Oniguruma knows them under, as PCRE2 writes them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace lockstep::data {

// Its members are those of `items` (what stands between the brackets of a PCRE2 class) and those of
// any of `others` (expressions that match one character); or, if negated, all other characters.
struct CharacterSet {
  std::string items;
  std::vector<std::string> others;
  bool negated = false;

  // Adds the members of another set; this one is not negated.
  void Add(const CharacterSet& other);
  // An expression that matches one member.
  std::string Expression() const;
};

// A character as an item of a class, or as an expression.
std::string QuoteCharacter(char32_t c);

class NamedSets {
 public:
  // With `new_characters`, sets also hold the characters of Unicode 15 and 16, which PCRE2's tables
  // do not know.
  explicit NamedSets(bool new_characters) : new_characters_(new_characters) {}

  // A general category, a script (never its extensions), a binary property, or a name of POSIX;
  // unknown names go through, for PCRE2 to refuse.
  CharacterSet Find(absl::string_view name) const;
  // What is meant between [: and :]: there, punct has the symbols too.
  CharacterSet FindPosix(absl::string_view name) const;
  // \w. Outside of a class, Oniguruma counts Latin-1's superscripts and fractions as word
  // characters; inside it does not.
  CharacterSet Word(bool in_class) const;

 private:
  std::string Category(absl::string_view name) const;
  std::string Script(int script) const;
  std::optional<CharacterSet> NewScript(absl::string_view name) const;
  std::string Alphabetic() const;
  std::string UnicodeProperty(absl::string_view name) const;

  const bool new_characters_;
};

}  // namespace lockstep::data

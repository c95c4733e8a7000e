#include "data/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "data/tokenizer/regex_syntax.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {
namespace {

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
using Code = std::unique_ptr<pcre2_code, FreeCode>;

// What a thread needs to run any expression.
struct Runner {
  Runner()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(32 << 10, 16 << 20, nullptr)) {
    CHECK(data && context && stack) << "out of memory";
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Runner() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

std::string ErrorText(int code) {
  unsigned char text[256];
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

absl::StatusOr<Code> CompilePcre2(absl::string_view pattern, const std::string& translated) {
  int error = 0;
  size_t offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                          PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
  if (code == nullptr) {
    return UserError(absl::StrCat("regular expression ", pattern),
                     absl::StrCat(ErrorText(error), " at byte ", offset, " of ", translated));
  }
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // without it the interpreter runs
  return code;
}

bool HasNewCharacters(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    int length = 1;
    if (static_cast<unsigned char>(text[i]) >= 0xE0) {
      if (IsNewerThanPcre2(DecodeUtf8(text.data() + i, &length))) return true;
    }
    i += length;
  }
  return false;
}

// Adds [begin, end) as a delimiter, and what lies before it.
void AddDelimiter(uint32_t begin, uint32_t end, uint32_t* last, std::vector<Match>* matches) {
  if (*last != begin) matches->push_back({*last, begin, false});
  matches->push_back({begin, end, true});
  *last = end;
}

void AddRest(absl::string_view text, uint32_t last, std::vector<Match>* matches) {
  const uint32_t size = static_cast<uint32_t>(text.size());
  if (last != size) matches->push_back({last, size, false});
}

class Pcre2Regex : public Regex {
 public:
  Pcre2Regex(std::string pattern, Code code, Code code_for_new)
      : pattern_(std::move(pattern)),
        code_(std::move(code)),
        code_for_new_(std::move(code_for_new)) {}

  absl::Status FindAll(absl::string_view text, std::vector<Match>* matches) const override {
    thread_local Runner runner;
    const pcre2_code* code =
        code_for_new_ && HasNewCharacters(text) ? code_for_new_.get() : code_.get();
    matches->clear();
    if (text.empty()) return absl::OkStatus();
    uint32_t last = 0;         // end of the last stretch
    size_t start = 0;          // where to search
    bool after_match = false;  // a match ended at `start`
    while (start <= text.size()) {
      const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
      int result = pcre2_match(code, subject, text.size(), start, PCRE2_NO_UTF_CHECK, runner.data,
                               runner.context);
      if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
        result = pcre2_match(code, subject, text.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                             runner.data, runner.context);
      }
      if (result == PCRE2_ERROR_NOMATCH) break;
      if (result < 0) {
        return UserError(absl::StrCat("regular expression ", pattern_), ErrorText(result),
                         "it needs too many steps on a text of this kind");
      }
      const size_t* bounds = pcre2_get_ovector_pointer(runner.data);
      // \K in a look-ahead can put the begin behind the end.
      const size_t end = bounds[1], begin = std::min(bounds[0], end);
      if (begin == end && after_match && end == last) {
        int length = 1;
        if (start < text.size()) DecodeUtf8(text.data() + start, &length);
        start += length;
        continue;
      }
      AddDelimiter(static_cast<uint32_t>(begin), static_cast<uint32_t>(end), &last, matches);
      start = end;
      after_match = true;
    }
    AddRest(text, last, matches);
    return absl::OkStatus();
  }

 private:
  const std::string pattern_;
  const Code code_;
  const Code code_for_new_;  // knows characters that PCRE2 does not; slower; null if it is the same
};

class LiteralRegex : public Regex {
 public:
  explicit LiteralRegex(absl::string_view text) : text_(text) {}

  absl::Status FindAll(absl::string_view text, std::vector<Match>* matches) const override {
    matches->clear();
    uint32_t last = 0;
    for (size_t at = text.find(text_); at != absl::string_view::npos; at = text.find(text_, last)) {
      AddDelimiter(static_cast<uint32_t>(at), static_cast<uint32_t>(at + text_.size()), &last,
                   matches);
    }
    AddRest(text, last, matches);
    return absl::OkStatus();
  }

 private:
  const std::string text_;  // not empty
};

}  // namespace

absl::StatusOr<std::unique_ptr<const Regex>> Regex::Compile(absl::string_view pattern) {
  ASSIGN_OR_RETURN(const std::string plain, TranslateRegex(pattern, /*new_characters=*/false));
  ASSIGN_OR_RETURN(const std::string full, TranslateRegex(pattern, /*new_characters=*/true));
  ASSIGN_OR_RETURN(Code code, CompilePcre2(pattern, plain));
  Code code_for_new;
  if (full != plain) {
    ASSIGN_OR_RETURN(code_for_new, CompilePcre2(pattern, full));
  }
  return std::make_unique<Pcre2Regex>(std::string(pattern), std::move(code),
                                      std::move(code_for_new));
}

std::unique_ptr<const Regex> Regex::Literal(absl::string_view text) {
  if (!text.empty()) return std::make_unique<LiteralRegex>(text);
  // The empty expression: it matches between any two characters.
  return *std::move(Compile(""));
}

}  // namespace lockstep::data

#include "data/document_source.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"

namespace lockstep::data {
namespace {

bool IsTextName(absl::string_view path) {
  return absl::EndsWith(path, ".txt") || absl::EndsWith(path, ".txt.gz") ||
         absl::EndsWith(path, ".txt.zst");
}

bool IsBlank(absl::string_view line) { return absl::StripAsciiWhitespace(line).empty(); }

}  // namespace

absl::StatusOr<std::unique_ptr<DocumentSource>> DocumentSource::Open(absl::string_view path) {
  ASSIGN_OR_RETURN(auto stream, ByteStream::Open(path));
  std::unique_ptr<DocumentSource> source(new DocumentSource(std::string(path), std::move(stream)));
  RETURN_IF_ERROR(source->Start());
  return source;
}

absl::Status DocumentSource::Start() {
  while (buffer_.size() < 3) {
    ASSIGN_OR_RETURN(const bool more, More());
    if (!more) break;
  }
  if (absl::StartsWith(buffer_, "\xEF\xBB\xBF")) at_ = 3;
  if (IsTextName(path_)) {
    layout_ = Layout::kParagraphs;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const char first, SkipSpace());
  if (first == '[') {
    layout_ = Layout::kArray;
    Advance(1);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<RawDocument>> DocumentSource::NextBatch(size_t bytes) {
  std::vector<RawDocument> batch;
  for (size_t taken = 0; taken < bytes;) {
    RawDocument document;
    ASSIGN_OR_RETURN(const bool more, layout_ == Layout::kLines   ? NextLine(document)
                                      : layout_ == Layout::kArray ? NextElement(document)
                                                                  : NextParagraph(document));
    if (!more) break;
    taken += document.text.size();
    batch.push_back(std::move(document));
  }
  return batch;
}

absl::StatusOr<bool> DocumentSource::More() {
  if (at_ > (1 << 20)) {
    buffer_.erase(0, at_);
    at_ = 0;
  }
  return stream_->Read(buffer_);
}

void DocumentSource::Advance(size_t bytes) {
  line_ += std::count(buffer_.begin() + at_, buffer_.begin() + at_ + bytes, '\n');
  at_ += bytes;
}

absl::StatusOr<bool> DocumentSource::TakeLine(std::string& line) {
  size_t searched = 0;  // behind at_
  while (true) {
    const size_t end = buffer_.find('\n', at_ + searched);
    if (end != std::string::npos) {
      line.assign(buffer_, at_, end - at_);
      Advance(end + 1 - at_);
      break;
    }
    searched = buffer_.size() - at_;
    ASSIGN_OR_RETURN(const bool more, More());
    if (more) continue;
    if (searched == 0) return false;
    line.assign(buffer_, at_);
    Advance(searched);
    break;
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return true;
}

absl::StatusOr<bool> DocumentSource::NextLine(RawDocument& document) {
  do {
    document.line = line_;
    ASSIGN_OR_RETURN(const bool more, TakeLine(document.text));
    if (!more) return false;
  } while (IsBlank(document.text));
  return true;
}

absl::StatusOr<bool> DocumentSource::NextParagraph(RawDocument& document) {
  std::string line;
  do {
    document.line = line_;
    ASSIGN_OR_RETURN(const bool more, TakeLine(line));
    if (!more) return false;
  } while (IsBlank(line));
  document.text = line;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, TakeLine(line));
    if (!more || IsBlank(line)) return true;
    absl::StrAppend(&document.text, "\n", line);
  }
}

absl::StatusOr<char> DocumentSource::SkipSpace() {
  while (true) {
    size_t end = at_;
    while (end < buffer_.size() && absl::ascii_isspace(buffer_[end])) ++end;
    Advance(end - at_);
    if (at_ < buffer_.size()) return buffer_[at_];
    ASSIGN_OR_RETURN(const bool more, More());
    if (!more) return '\0';
  }
}

absl::StatusOr<bool> DocumentSource::NextElement(RawDocument& document) {
  const auto where = [this] { return absl::StrCat(path_, ":", line_); };
  ASSIGN_OR_RETURN(char next, SkipSpace());
  if (array_ended_) {
    if (next == '\0') return false;
    return UserError(where(), "want nothing behind the JSON array's ']'");
  }
  if (next == ']') {
    array_ended_ = true;
    Advance(1);
    return NextElement(document);
  }
  if (!first_element_) {
    if (next != ',')
      return UserError(where(), "want ',' or ']' behind an element of the JSON array");
    Advance(1);
    ASSIGN_OR_RETURN(next, SkipSpace());
  }
  first_element_ = false;
  document.line = line_;
  // The element ends where its brackets are closed, or before the array's own ',' or ']'.
  int depth = 0;
  bool in_string = false, escaped = false;
  for (size_t offset = 0;; ++offset) {
    while (at_ + offset >= buffer_.size()) {
      ASSIGN_OR_RETURN(const bool more, More());
      if (!more) {
        return UserError(absl::StrCat(path_, ":", document.line),
                         "the file ends inside this element of the JSON array",
                         "a bracket or a quotation mark is not closed");
      }
    }
    const char c = buffer_[at_ + offset];
    if (in_string) {
      if (escaped) {
        escaped = false;
      } else if (c == '\\') {
        escaped = true;
      } else if (c == '"') {
        in_string = false;
      }
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '{' || c == '[') ++depth;
    const bool closes = c == '}' || c == ']';
    if (depth == 0 && (c == ',' || closes)) {  // a bare value
      document.text.assign(buffer_, at_, offset);
      Advance(offset);
      return true;
    }
    if (closes && --depth == 0) {
      document.text.assign(buffer_, at_, offset + 1);
      Advance(offset + 1);
      return true;
    }
  }
}

absl::StatusOr<std::string> SpoolStandardInput(absl::string_view directory) {
  std::string content;
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = read(STDIN_FILENO, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError("standard input", "cannot read", errno);
    if (got == 0) break;
    content.append(buffer, got);
  }
  if (content.empty()) return UserError("standard input", "nothing came", "want documents");
  const absl::string_view start = absl::StripLeadingAsciiWhitespace(content);
  const bool json = absl::StartsWith(start, "{") || absl::StartsWith(start, "[");
  RETURN_IF_ERROR(MakeDirectories(directory));
  const std::string path =
      JoinPath(directory, absl::StrCat("stdin-", HashHex(content), json ? ".jsonl" : ".txt"));
  RETURN_IF_ERROR(WriteFileAtomically(path, content));
  return path;
}

}  // namespace lockstep::data

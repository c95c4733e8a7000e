#include "data/document_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"

namespace lockstep::data {
namespace {

bool IsTextName(absl::string_view path) {
  return absl::EndsWith(path, ".txt") || absl::EndsWith(path, ".txt.gz") ||
         absl::EndsWith(path, ".txt.zst");
}

constexpr char kArrays[] = "a file that begins with '[' is one array, else each line is an object";
constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";

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
  if (absl::StartsWith(buffer_, kByteOrderMark)) at_ = kByteOrderMark.size();
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

namespace {

// Finds where an element of a JSON array ends: where its brackets are closed, or before the array's
// own ',' or ']'.
class ElementEnd {
 public:
  // Takes the element's next character. At its end: 1 if that character still belongs to it, else
  // 0.
  std::optional<int> At(char c) {
    if (in_string_) {
      in_string_ = escaped_ || c != '"';
      escaped_ = !escaped_ && c == '\\';
      return std::nullopt;
    }
    in_string_ = c == '"';
    const bool closes = c == '}' || c == ']';
    if (depth_ == 0 && (c == ',' || closes)) return 0;  // a bare value
    if (c == '{' || c == '[') ++depth_;
    if (closes && --depth_ == 0) return 1;
    return std::nullopt;
  }

 private:
  int depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

}  // namespace

absl::StatusOr<bool> DocumentSource::NextElement(RawDocument& document) {
  const auto where = [this] { return absl::StrCat(path_, ":", line_); };
  ASSIGN_OR_RETURN(char next, SkipSpace());
  if (array_ended_) {
    if (next == '\0') return false;
    return UserError(where(), "want nothing behind the JSON array's ']'", kArrays);
  }
  if (next == ']') {
    array_ended_ = true;
    Advance(1);
    return NextElement(document);
  }
  if (!first_element_) {
    if (next != ',')
      return UserError(where(), "want ',' or ']' behind an element of the JSON array", kArrays);
    Advance(1);
    ASSIGN_OR_RETURN(next, SkipSpace());
  }
  first_element_ = false;
  if (next == ',' || next == ']') {
    return UserError(
        where(),
        absl::StrCat("want an element of the JSON array, got '", absl::string_view(&next, 1), "'"),
        "a comma stands only between two elements");
  }
  document.line = line_;
  ElementEnd end;
  for (size_t offset = 0;; ++offset) {
    while (at_ + offset >= buffer_.size()) {
      ASSIGN_OR_RETURN(const bool more, More());
      if (!more) {
        return UserError(absl::StrCat(path_, ":", document.line),
                         "the file ends inside this element of the JSON array",
                         "a bracket or a quotation mark is not closed");
      }
    }
    if (const std::optional<int> more = end.At(buffer_[at_ + offset]); more.has_value()) {
      const size_t size = offset + static_cast<size_t>(*more);
      document.text.assign(buffer_, at_, size);
      Advance(size);
      return true;
    }
  }
}

bool IsStream(const std::string& path) {
  struct stat status;
  return path == "-" || (stat(path.c_str(), &status) == 0 &&
                         (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)));
}

absl::StatusOr<std::string> SpoolStream(const std::string& path, absl::string_view directory) {
  const std::string where = path == "-" ? "standard input" : path;
  const int input = path == "-" ? dup(STDIN_FILENO) : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (input < 0) return SystemError(where, "cannot open", errno, "give a file");
  const absl::Cleanup close_input = [&] { close(input); };
  RETURN_IF_ERROR(Annotate(MakeDirectories(directory), "--cache_dir"));
  const auto created = AtomicFile::Create(JoinPath(directory, "stdin"));
  RETURN_IF_ERROR(Annotate(created.status(), "--cache_dir"));
  AtomicFile& file = **created;
  Hasher hasher;
  std::string start;  // from what is neither a mark of the byte order nor white space
  std::string buffer(1 << 20, '\0');
  for (ssize_t got; (got = read(input, buffer.data(), buffer.size())) != 0;) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError(where, "cannot read", errno, "give a file");
    const absl::string_view part(buffer.data(), got);
    hasher.Update(part);
    RETURN_IF_ERROR(Annotate(file.Append(part), "--cache_dir"));
    if (start.empty()) {
      start = std::string(
          absl::StripLeadingAsciiWhitespace(absl::StripPrefix(part, kByteOrderMark)).substr(0, 8));
    }
  }
  if (start.empty()) {
    return UserError(
        where, "want documents, got nothing",
        "pipe documents into it, and name it once; under another launcher than our own "
        "give a file that every rank can read");
  }
  const bool json = absl::StartsWith(start, "{") || absl::StartsWith(start, "[");
  const bool text = !json && !IsCompressed(start);
  const std::string copy =
      JoinPath(directory, absl::StrCat("stdin-", hasher.Hex(), text ? ".txt" : ".jsonl"));
  RETURN_IF_ERROR(Annotate(file.CommitAs(copy), "--cache_dir"));
  return copy;
}

}  // namespace lockstep::data

// The documents of a data file, one by one, not yet parsed: lines of JSONL, elements of a JSON
// array, or paragraphs of a text file (separated by blank lines). Memory stays bounded by a batch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/byte_stream.h"

namespace lockstep::data {

struct RawDocument {
  std::string text;  // JSON, or a paragraph
  int64_t line;      // where it begins, from 1
};

class DocumentSource {
 public:
  // Text for `*.txt` (also .txt.gz, .txt.zst); else JSON: an array if the first character that is
  // not white space is '[', JSONL otherwise. A UTF-8 byte order mark and CRLF line ends are
  // accepted.
  static absl::StatusOr<std::unique_ptr<DocumentSource>> Open(absl::string_view path);

  bool is_text() const { return layout_ == Layout::kParagraphs; }

  // Documents of about `bytes` together, at least one; none at the end of the file.
  absl::StatusOr<std::vector<RawDocument>> NextBatch(size_t bytes);

  const ByteStream& stream() const { return *stream_; }

 private:
  enum class Layout { kLines, kArray, kParagraphs };

  DocumentSource(std::string path, std::unique_ptr<ByteStream> stream)
      : path_(std::move(path)), stream_(std::move(stream)) {}

  absl::Status Start();
  absl::StatusOr<bool> More();  // reads on; false at the end
  absl::StatusOr<bool> NextLine(RawDocument& document);
  absl::StatusOr<bool> NextElement(RawDocument& document);
  absl::StatusOr<bool> NextParagraph(RawDocument& document);
  absl::StatusOr<bool> TakeLine(std::string& line);  // without its end
  absl::StatusOr<char> SkipSpace();                  // the next character; '\0' at the end
  void Advance(size_t bytes);                        // counts lines

  std::string path_;
  std::unique_ptr<ByteStream> stream_;
  Layout layout_ = Layout::kLines;
  std::string buffer_;
  size_t at_ = 0;
  int64_t line_ = 1;
  bool array_ended_ = false;
  bool first_element_ = true;
};

// Whether `path` can be read but once: "-", standard input, or a pipe.
bool IsStream(const std::string& path);

// Copies a stream into a file of `directory` named by its content, so that every rank of a run can
// read it; returns the path. Error: nothing came.
absl::StatusOr<std::string> SpoolStream(const std::string& path, absl::string_view directory);

}  // namespace lockstep::data

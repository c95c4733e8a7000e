// The bytes of a data file: plain, gzip or zstd, told apart by content.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep::data {

class ByteStream {
 public:
  // Errors: the file cannot be opened, is a folder, is empty, or is of another known kind (xz,
  // bzip2, zip, Parquet, Arrow).
  static absl::StatusOr<std::unique_ptr<ByteStream>> Open(absl::string_view path);
  virtual ~ByteStream() = default;

  // Appends some decompressed bytes to `out`; false at the end. Errors: reading fails, or
  // compressed data is broken or ends too early (with the byte).
  virtual absl::StatusOr<bool> Read(std::string& out) = 0;

  // Of the file as it lies on disk.
  virtual int64_t bytes_read() const = 0;
  virtual int64_t bytes_total() const = 0;
  virtual std::string ContentHash() const = 0;  // HashHex of the bytes read so far
};

// True of the first bytes of a gzip or zstd file.
bool IsCompressed(absl::string_view start);

// HashHex of a file's bytes, read in parts.
absl::StatusOr<std::string> HashFile(absl::string_view path);

}  // namespace lockstep::data

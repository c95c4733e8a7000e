// safetensors files, read by mmap and written in pieces (huggingface/safetensors, tensor.rs):
//
//   u64 little-endian N | N bytes of JSON | data
//   JSON: {"__metadata__": {str: str}, "name": {"dtype", "shape", "data_offsets": [begin, end]}}
//
// Offsets count from behind the header; tensors cover the data without holes or overlap, row-major,
// little-endian. A file is checked whole before any of it is used; nothing in it can lead outside
// of it. Data may be at any address: copy it, never cast it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/file.h"
#include "base/hash.h"
#include "tensor/dtype.h"

namespace lockstep::nn {

struct StoredTensor {
  std::string name;
  std::string dtype;  // as the file spells it: "BF16"
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // bytes, from the start of the file
  uint64_t bytes = 0;

  int64_t numel() const;
};

// Bits of an element of a dtype as safetensors spells it; nullopt for one that is not known.
std::optional<int> StoredBits(absl::string_view dtype);
// nullopt for dtypes that this project does not compute with.
std::optional<DType> DTypeOfStored(absl::string_view dtype);
absl::string_view StoredName(DType dtype);

// "[128, 64]", for messages.
std::string ShapeText(absl::Span<const int64_t> shape);

struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;  // in the order of their data
  std::map<std::string, std::string> metadata;
};

// Checks and reads the header of a file of `file_size` bytes that begins with `bytes` (at least the
// header, if it is there at all). Errors say `where`, tensor and byte.
absl::StatusOr<SafetensorsHeader> ParseSafetensors(absl::string_view bytes, uint64_t file_size,
                                                   absl::string_view where);

class SafetensorsFile {
 public:
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> Open(const std::string& path);

  const std::string& path() const { return file_->path(); }
  absl::Span<const StoredTensor> tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  const StoredTensor* Find(absl::string_view name) const;  // nullptr: not there

  // The elements [begin, end) of a tensor, converted to `dtype` (f64, f32, bf16, f16; equal dtypes
  // are copied, integers and others only to themselves) into host memory at `out`. The pages read
  // are given back.
  absl::Status Read(const StoredTensor& tensor, int64_t begin, int64_t end, DType dtype,
                    void* out) const;

  // The tensor's bytes; unaligned.
  const uint8_t* data(const StoredTensor& tensor) const { return file_->data() + tensor.offset; }
  void Release(const StoredTensor& tensor) const { file_->Release(tensor.offset, tensor.bytes); }

 private:
  SafetensorsFile() = default;
  std::shared_ptr<const MappedFile> file_;
  SafetensorsHeader header_;
  absl::flat_hash_map<std::string, size_t> index_;
};

// Writes tensors one after the other, never all in memory; the file appears whole or not at all,
// and what a killed process has left of it goes. One writes a file at a time.
//   SafetensorsWriter writer(path);
//   for (…) writer.Declare(name, dtype, shape);
//   RETURN_IF_ERROR(writer.Begin(metadata));
//   for (const StoredTensor& tensor : writer.tensors()) RETURN_IF_ERROR(writer.Append(bytes));
//   RETURN_IF_ERROR(writer.Finish());
class SafetensorsWriter {
 public:
  explicit SafetensorsWriter(std::string path) : path_(std::move(path)) {}

  void Declare(std::string name, DType dtype, std::vector<int64_t> shape);

  // Fixes the order, which tensors() has from now on (as the library does: wide types first, then
  // by name), and writes the header.
  absl::Status Begin(const std::map<std::string, std::string>& metadata);
  absl::Span<const StoredTensor> tensors() const { return tensors_; }

  // The next bytes of data.
  absl::Status Append(absl::string_view bytes);
  absl::Status Finish();
  // HashHex of the whole file, as it was written.
  std::string ContentHash() const { return hasher_.Hex(); }

 private:
  std::string path_;
  std::vector<StoredTensor> tensors_;
  std::unique_ptr<AtomicFile> file_;
  Hasher hasher_;
  uint64_t declared_ = 0, written_ = 0;
};

}  // namespace lockstep::nn

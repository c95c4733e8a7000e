// GGUF files, version 3, as ggml and llama.cpp read them (ggml/docs/gguf.md), written in pieces:
//
//   "GGUF" | u32 version | u64 tensors | u64 values | values | tensor infos | padding | data
//   value:       string key | u32 type | value;   string: u64 length | bytes
//   tensor info: string name | u32 rank | u64 sizes[rank], innermost first | u32 type | u64 offset
//
// Everything little-endian; data and each tensor in it begin at multiples of 32 bytes.
//
//   GgufWriter writer(path);
//   writer.Set("general.architecture", "llama");  …
//   writer.Declare("token_embd.weight", GgufType::kF16, {vocab, width});  …
//   RETURN_IF_ERROR(writer.Begin());
//   RETURN_IF_ERROR(writer.Append(values));  // of each tensor in the order of Declare
//   RETURN_IF_ERROR(writer.Finish());
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/file.h"

namespace lockstep {

// The values are ggml's own.
enum class GgufType : uint32_t { kF32 = 0, kF16 = 1, kQ8_0 = 8, kBF16 = 30 };

// Q8_0: blocks of 32 values, q·d with d = max|x| / 127 in f16 and q = round(x / d) in 8 bits.
inline constexpr int64_t kQ8Block = 32;

uint64_t GgufBytes(GgufType type, int64_t numel);

// Values in the file's form. For Q8_0 whole blocks.
std::string EncodeGguf(absl::Span<const float> values, GgufType type);

class GgufWriter {
 public:
  explicit GgufWriter(std::string path) : path_(std::move(path)) {}

  void Set(absl::string_view key, absl::string_view text);
  void Set(absl::string_view key, const char* text) { Set(key, absl::string_view(text)); }
  void Set(absl::string_view key, uint32_t value);
  void Set(absl::string_view key, float value);
  void Set(absl::string_view key, bool value);
  void Set(absl::string_view key, const std::vector<std::string>& values);
  void Set(absl::string_view key, const std::vector<float>& values);
  void Set(absl::string_view key, const std::vector<int32_t>& values);

  // `shape` as elsewhere: the innermost dimension last.
  void Declare(std::string name, GgufType type, std::vector<int64_t> shape);

  absl::Status Begin();
  // The next values of the tensor whose turn it is, converted to its type; whole rows.
  absl::Status Append(absl::Span<const float> values);
  absl::Status Finish();

 private:
  struct Info {
    std::string name;
    GgufType type;
    std::vector<int64_t> shape;
    int64_t numel;
  };
  void Key(absl::string_view key, uint32_t type);

  std::string path_;
  std::string values_;  // as they will stand in the file
  uint64_t num_values_ = 0;
  std::vector<Info> tensors_;
  std::unique_ptr<AtomicFile> file_;
  size_t current_ = 0;    // the tensor whose turn it is
  int64_t appended_ = 0;  // elements of it that are written
};

}  // namespace lockstep

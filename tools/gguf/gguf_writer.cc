#include "tools/gguf/gguf_writer.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "tensor/half.h"

namespace lockstep {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint64_t kAlignment = 32;
enum ValueType : uint32_t {
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9
};

template <typename T>
void Put(std::string& out, T value) {
  static_assert(std::is_trivially_copyable_v<T>);
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void PutString(std::string& out, absl::string_view text) {
  Put<uint64_t>(out, text.size());
  out.append(text.data(), text.size());
}

uint64_t Padding(uint64_t position) { return (kAlignment - position % kAlignment) % kAlignment; }

void PutQ8Block(const float* values, std::string& out) {
  float largest = 0;
  for (int64_t i = 0; i < kQ8Block; ++i) largest = std::max(largest, std::abs(values[i]));
  const float scale = largest / 127;
  const float inverse = scale == 0 ? 0 : 1 / scale;
  Put<uint16_t>(out, FloatToF16(scale));
  for (int64_t i = 0; i < kQ8Block; ++i) {
    out.push_back(static_cast<char>(static_cast<int8_t>(std::round(values[i] * inverse))));
  }
}

}  // namespace

uint64_t GgufBytes(GgufType type, int64_t numel) {
  switch (type) {
    case GgufType::kF32:
      return 4 * numel;
    case GgufType::kF16:
    case GgufType::kBF16:
      return 2 * numel;
    case GgufType::kQ8_0:
      return numel / kQ8Block * (2 + kQ8Block);
  }
  return 0;
}

std::string EncodeGguf(absl::Span<const float> values, GgufType type) {
  const int64_t size = static_cast<int64_t>(values.size());
  std::string out;
  out.reserve(GgufBytes(type, size));
  switch (type) {
    case GgufType::kF32:
      out.assign(reinterpret_cast<const char*>(values.data()), 4 * values.size());
      break;
    case GgufType::kF16:
      for (const float value : values) Put<uint16_t>(out, FloatToF16(value));
      break;
    case GgufType::kBF16:
      for (const float value : values) Put<uint16_t>(out, FloatToBf16(value));
      break;
    case GgufType::kQ8_0:
      CHECK_EQ(size % kQ8Block, 0);
      for (int64_t i = 0; i < size; i += kQ8Block) PutQ8Block(values.data() + i, out);
      break;
  }
  return out;
}

void GgufWriter::Key(absl::string_view key, uint32_t type) {
  PutString(values_, key);
  Put<uint32_t>(values_, type);
  ++num_values_;
}

void GgufWriter::Set(absl::string_view key, absl::string_view text) {
  Key(key, kString);
  PutString(values_, text);
}

void GgufWriter::Set(absl::string_view key, uint32_t value) {
  Key(key, kUint32);
  Put(values_, value);
}

void GgufWriter::Set(absl::string_view key, float value) {
  Key(key, kFloat32);
  Put(values_, value);
}

void GgufWriter::Set(absl::string_view key, bool value) {
  Key(key, kBool);
  Put<uint8_t>(values_, value);
}

void GgufWriter::Set(absl::string_view key, const std::vector<std::string>& values) {
  Key(key, kArray);
  Put<uint32_t>(values_, kString);
  Put<uint64_t>(values_, values.size());
  for (const std::string& value : values) PutString(values_, value);
}

void GgufWriter::Set(absl::string_view key, const std::vector<float>& values) {
  Key(key, kArray);
  Put<uint32_t>(values_, kFloat32);
  Put<uint64_t>(values_, values.size());
  for (const float value : values) Put(values_, value);
}

void GgufWriter::Set(absl::string_view key, const std::vector<int32_t>& values) {
  Key(key, kArray);
  Put<uint32_t>(values_, kInt32);
  Put<uint64_t>(values_, values.size());
  for (const int32_t value : values) Put(values_, value);
}

void GgufWriter::Declare(std::string name, GgufType type, std::vector<int64_t> shape) {
  int64_t numel = 1;
  for (const int64_t size : shape) numel *= size;
  tensors_.push_back({std::move(name), type, std::move(shape), numel});
}

absl::Status GgufWriter::Begin() {
  std::string header = "GGUF";
  Put<uint32_t>(header, kVersion);
  Put<uint64_t>(header, tensors_.size());
  Put<uint64_t>(header, num_values_);
  header += values_;
  uint64_t offset = 0;
  for (const Info& info : tensors_) {
    PutString(header, info.name);
    Put<uint32_t>(header, static_cast<uint32_t>(info.shape.size()));
    for (auto size = info.shape.rbegin(); size != info.shape.rend(); ++size) {
      Put<uint64_t>(header, *size);
    }
    Put<uint32_t>(header, static_cast<uint32_t>(info.type));
    Put<uint64_t>(header, offset);
    offset += GgufBytes(info.type, info.numel);
    offset += Padding(offset);
  }
  header.append(Padding(header.size()), '\0');
  AtomicFile::RemoveRemains(path_);
  ASSIGN_OR_RETURN(file_, AtomicFile::Create(path_));
  return file_->Append(header);
}

absl::Status GgufWriter::Append(absl::Span<const float> values) {
  CHECK_LT(current_, tensors_.size());
  const Info& info = tensors_[current_];
  RETURN_IF_ERROR(file_->Append(EncodeGguf(values, info.type)));
  appended_ += static_cast<int64_t>(values.size());
  CHECK_LE(appended_, info.numel) << info.name;
  if (appended_ < info.numel) return absl::OkStatus();
  ++current_;
  appended_ = 0;
  return file_->Append(std::string(Padding(GgufBytes(info.type, info.numel)), '\0'));
}

absl::Status GgufWriter::Finish() {
  CHECK_EQ(current_, tensors_.size());
  return file_->Commit();
}

}  // namespace lockstep

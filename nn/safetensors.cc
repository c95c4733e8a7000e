#include "nn/safetensors.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status.h"
#include "nn/json.h"
#include "tensor/half.h"

namespace lockstep::nn {
namespace {

constexpr uint64_t kMostHeader = 100'000'000;
constexpr const char* kDamaged = "the file is damaged or was not downloaded whole: fetch it again";

// In the library's order of increasing alignment, which the writer sorts by.
struct StoredType {
  const char* name;
  int bits;
};
constexpr StoredType kStoredTypes[] = {{"BOOL", 8},    {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6},
                                       {"U8", 8},      {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8},
                                       {"F8_E8M0", 8}, {"I16", 16}, {"U16", 16},    {"F16", 16},
                                       {"BF16", 16},   {"I32", 32}, {"U32", 32},    {"F32", 32},
                                       {"C64", 64},    {"F64", 64}, {"I64", 64},    {"U64", 64}};

int AlignmentRank(absl::string_view dtype) {
  int rank = 0;
  for (const StoredType& type : kStoredTypes) {
    if (dtype == type.name) return rank;
    ++rank;
  }
  return rank;
}

std::optional<uint64_t> Whole(const nlohmann::json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  return std::nullopt;
}

// The tensor's entry, with offsets still counted from the data's start.
absl::StatusOr<StoredTensor> ReadEntry(const std::string& name, const nlohmann::json& entry,
                                       absl::string_view where) {
  const std::string place = absl::StrCat(where, ": tensor \"", name, "\"");
  StoredTensor tensor;
  tensor.name = name;
  if (!entry.is_object()) return UserError(place, "want an object", kDamaged);
  const auto dtype = entry.find("dtype"), shape = entry.find("shape"),
             offsets = entry.find("data_offsets");
  if (dtype == entry.end() || !dtype->is_string()) {
    return UserError(place, "dtype: want a string", kDamaged);
  }
  tensor.dtype = dtype->get<std::string>();
  if (shape == entry.end() || !shape->is_array() || shape->size() > 64) {
    return UserError(place, "shape: want a list of sizes", kDamaged);
  }
  uint64_t numel = 1;
  for (const nlohmann::json& size : *shape) {
    const std::optional<uint64_t> d = Whole(size);
    if (!d || *d > uint64_t{1} << 48 || __builtin_mul_overflow(numel, *d, &numel) ||
        numel > uint64_t{1} << 58) {
      return UserError(place, absl::StrCat("shape: sizes out of range: ", shape->dump()), kDamaged);
    }
    tensor.shape.push_back(static_cast<int64_t>(*d));
  }
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 ||
      !Whole((*offsets)[0]) || !Whole((*offsets)[1])) {
    return UserError(place, "data_offsets: want [begin, end]", kDamaged);
  }
  tensor.offset = *Whole((*offsets)[0]);
  const uint64_t end = *Whole((*offsets)[1]);
  if (end < tensor.offset) return UserError(place, "data_offsets: end before begin", kDamaged);
  tensor.bytes = end - tensor.offset;
  const std::optional<int> bits = StoredBits(tensor.dtype);
  if (bits && (numel * *bits % 8 != 0 || numel * *bits / 8 != tensor.bytes)) {
    return UserError(place,
                     absl::StrCat(ShapeText(tensor.shape), " of ", tensor.dtype, " wants ",
                                  numel * *bits / 8, " bytes, data_offsets have ", tensor.bytes),
                     kDamaged);
  }
  return tensor;
}

// No holes, no overlap, and the data ends where the file does.
absl::Status CheckCover(const std::vector<StoredTensor>& tensors, uint64_t data_size,
                        absl::string_view where) {
  uint64_t position = 0;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.offset != position) {
      return UserError(where,
                       absl::StrCat("tensor \"", tensor.name, "\": want data from byte ", position,
                                    " on, got ", tensor.offset),
                       kDamaged);
    }
    position += tensor.bytes;
    if (position > data_size) break;
  }
  if (position == data_size) return absl::OkStatus();
  return UserError(where,
                   absl::StrCat("the header describes ", position > data_size ? "at least " : "",
                                position, " bytes of data, the file has ", data_size),
                   kDamaged);
}

float ToFloat(const uint8_t* from, DType dtype) {
  uint16_t bits;
  std::memcpy(&bits, from, 2);
  return dtype == DType::kBF16 ? Bf16ToFloat(bits) : F16ToFloat(bits);
}

template <typename To>
void ConvertTo(const uint8_t* from, DType dtype, int64_t count, To* out) {
  if (dtype == DType::kF32) {
    for (int64_t i = 0; i < count; ++i) {
      float value;
      std::memcpy(&value, from + 4 * i, 4);
      out[i] = static_cast<To>(value);
    }
  } else if (dtype == DType::kF64) {
    for (int64_t i = 0; i < count; ++i) {
      double value;
      std::memcpy(&value, from + 8 * i, 8);
      out[i] = static_cast<To>(value);
    }
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = static_cast<To>(ToFloat(from + 2 * i, dtype));
  }
}

void ConvertTo16(const uint8_t* from, DType dtype, int64_t count, DType to, uint16_t* out) {
  constexpr int64_t kBlock = 1024;
  float block[kBlock];
  for (int64_t done = 0; done < count; done += kBlock) {
    const int64_t n = std::min(kBlock, count - done);
    ConvertTo(from + done * static_cast<int64_t>(SizeOf(dtype)), dtype, n, block);
    for (int64_t i = 0; i < n; ++i) {
      out[done + i] = to == DType::kBF16 ? FloatToBf16(block[i]) : FloatToF16(block[i]);
    }
  }
}

}  // namespace

int64_t StoredTensor::numel() const {
  int64_t product = 1;
  for (const int64_t d : shape) product *= d;
  return product;
}

std::optional<int> StoredBits(absl::string_view dtype) {
  for (const StoredType& type : kStoredTypes) {
    if (dtype == type.name) return type.bits;
  }
  return std::nullopt;
}

std::optional<DType> DTypeOfStored(absl::string_view dtype) {
  for (const DType candidate : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16, DType::kI64,
                                DType::kI32, DType::kU8}) {
    if (StoredName(candidate) == dtype) return candidate;
  }
  return std::nullopt;
}

absl::string_view StoredName(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "F64";
    case DType::kF32:
      return "F32";
    case DType::kBF16:
      return "BF16";
    case DType::kF16:
      return "F16";
    case DType::kI64:
      return "I64";
    case DType::kI32:
      return "I32";
    case DType::kU8:
      return "U8";
  }
  return "?";
}

std::string ShapeText(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<SafetensorsHeader> ParseSafetensors(absl::string_view bytes, uint64_t file_size,
                                                   absl::string_view where) {
  if (file_size < 8 || bytes.size() < 8) {
    return UserError(where, absl::StrCat("want at least 8 bytes, got ", file_size), kDamaged);
  }
  uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  if (length > kMostHeader || length > file_size - 8 || length > bytes.size() - 8) {
    return UserError(where,
                     absl::StrCat("byte 0: a header of ", length, " bytes does not fit a file of ",
                                  file_size, " bytes (at most ", kMostHeader, ")"),
                     absl::StartsWith(bytes, "version https://git-lfs.")
                         ? "this is a pointer of Git LFS: git lfs pull fetches the file itself"
                         : "this is not a safetensors file, or it was not downloaded whole");
  }
  ASSIGN_OR_RETURN(const nlohmann::json object,
                   ParseJsonObject(bytes.substr(8, length), absl::StrCat(where, " (header)")));
  SafetensorsHeader header;
  for (const auto& [name, entry] : object.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) return UserError(where, "__metadata__: want an object", kDamaged);
      for (const auto& [key, value] : entry.items()) {
        if (value.is_string()) header.metadata[key] = value.get<std::string>();
      }
      continue;
    }
    ASSIGN_OR_RETURN(StoredTensor tensor, ReadEntry(name, entry, where));
    header.tensors.push_back(std::move(tensor));
  }
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) {
              return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
            });
  RETURN_IF_ERROR(CheckCover(header.tensors, file_size - 8 - length, where));
  for (StoredTensor& tensor : header.tensors) tensor.offset += 8 + length;
  return header;
}

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Open(
    const std::string& path) {
  std::shared_ptr<SafetensorsFile> out(new SafetensorsFile);
  ASSIGN_OR_RETURN(out->file_, MappedFile::Open(path));
  ASSIGN_OR_RETURN(out->header_, ParseSafetensors(out->file_->view(), out->file_->size(), path));
  for (size_t i = 0; i < out->header_.tensors.size(); ++i) {
    out->index_[out->header_.tensors[i].name] = i;
  }
  return std::shared_ptr<const SafetensorsFile>(std::move(out));
}

const StoredTensor* SafetensorsFile::Find(absl::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &header_.tensors[it->second];
}

absl::Status SafetensorsFile::Read(const StoredTensor& tensor, int64_t begin, int64_t end,
                                   DType dtype, void* out) const {
  CHECK(0 <= begin && begin <= end && end <= tensor.numel());
  const std::optional<DType> stored = DTypeOfStored(tensor.dtype);
  if (!stored || (*stored != dtype && !(IsFloat(*stored) && IsFloat(dtype)))) {
    return UserError(path(),
                     absl::StrCat("tensor \"", tensor.name, "\" is ", tensor.dtype,
                                  ", which cannot be read as ", NameOf(dtype)),
                     "want F32, F16 or BF16: a quantized file does not work as a base model");
  }
  const uint64_t width = SizeOf(*stored);
  const uint64_t offset = tensor.offset + static_cast<uint64_t>(begin) * width;
  const uint8_t* from = file_->data() + offset;
  const int64_t count = end - begin;
  if (*stored == dtype) return file_->ReadAt(offset, count * width, out);
  if (dtype == DType::kF32) {
    ConvertTo(from, *stored, count, static_cast<float*>(out));
  } else if (dtype == DType::kF64) {
    ConvertTo(from, *stored, count, static_cast<double*>(out));
  } else {
    ConvertTo16(from, *stored, count, dtype, static_cast<uint16_t*>(out));
  }
  file_->Release(offset, count * width);
  return absl::OkStatus();
}

void SafetensorsWriter::Declare(std::string name, DType dtype, std::vector<int64_t> shape) {
  StoredTensor tensor;
  tensor.name = std::move(name);
  tensor.dtype = std::string(StoredName(dtype));
  tensor.shape = std::move(shape);
  tensor.bytes = tensor.numel() * SizeOf(dtype);
  tensors_.push_back(std::move(tensor));
}

absl::Status SafetensorsWriter::Begin(const std::map<std::string, std::string>& metadata) {
  std::sort(tensors_.begin(), tensors_.end(), [](const StoredTensor& a, const StoredTensor& b) {
    const int rank_a = AlignmentRank(a.dtype), rank_b = AlignmentRank(b.dtype);
    return rank_a != rank_b ? rank_a > rank_b : a.name < b.name;
  });
  // Keys stay in the order of the data.
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  if (!metadata.empty()) object["__metadata__"] = metadata;
  for (const StoredTensor& tensor : tensors_) {
    object[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {declared_, declared_ + tensor.bytes}}};
    declared_ += tensor.bytes;
  }
  std::string header = object.dump();
  header.append((8 - header.size() % 8) % 8, ' ');
  uint64_t position = 8 + header.size();
  for (StoredTensor& tensor : tensors_) {
    tensor.offset = position;
    position += tensor.bytes;
  }
  const uint64_t length = header.size();
  AtomicFile::RemoveRemains(path_);
  ASSIGN_OR_RETURN(file_, AtomicFile::Create(path_));
  const absl::string_view length_bytes(reinterpret_cast<const char*>(&length), 8);
  for (const absl::string_view bytes : {length_bytes, absl::string_view(header)}) {
    hasher_.Update(bytes);
    RETURN_IF_ERROR(file_->Append(bytes));
  }
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Append(absl::string_view bytes) {
  written_ += bytes.size();
  hasher_.Update(bytes);
  return file_->Append(bytes);
}

absl::Status SafetensorsWriter::Finish() {
  CHECK_EQ(written_, declared_) << path_;
  return file_->Commit();
}

}  // namespace lockstep::nn

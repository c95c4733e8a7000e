#include "dist/store_protocol.h"

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lockstep::dist::store_protocol {
namespace {

template <typename T>
void Append(T number, std::string* out) {
  for (size_t i = 0; i < sizeof(T); ++i) out->push_back(static_cast<char>(number >> (8 * i)));
}

template <typename T>
bool Take(absl::string_view* bytes, T* number) {
  if (bytes->size() < sizeof(T)) return false;
  *number = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    *number |= static_cast<T>(static_cast<uint8_t>((*bytes)[i])) << (8 * i);
  }
  bytes->remove_prefix(sizeof(T));
  return true;
}

bool TakeText(absl::string_view* bytes, size_t limit, std::string* text) {
  uint32_t size = 0;
  if (!Take(bytes, &size) || size > limit || size > bytes->size()) return false;
  *text = std::string(bytes->substr(0, size));
  bytes->remove_prefix(size);
  return true;
}

}  // namespace

std::string Hello(absl::string_view token) {
  CHECK_LE(token.size(), kTokenBytes);
  return absl::StrCat(kMagic, token, std::string(kTokenBytes - token.size(), '\0'));
}

void AppendU32(uint32_t number, std::string* out) { Append(number, out); }
void AppendU64(uint64_t number, std::string* out) { Append(number, out); }
bool TakeU32(absl::string_view* bytes, uint32_t* number) { return Take(bytes, number); }
bool TakeU64(absl::string_view* bytes, uint64_t* number) { return Take(bytes, number); }

std::string EncodeRequest(const Request& request) {
  std::string out(1, static_cast<char>(request.operation));
  AppendU32(static_cast<uint32_t>(request.key.size()), &out);
  absl::StrAppend(&out, request.key);
  AppendU64(request.argument, &out);
  absl::StrAppend(&out, request.value);
  return out;
}

bool DecodeRequest(absl::string_view bytes, Request* request) {
  if (bytes.empty()) return false;
  const uint8_t operation = static_cast<uint8_t>(bytes.front());
  if (operation < kSet || operation > kList) return false;
  bytes.remove_prefix(1);
  request->operation = static_cast<Operation>(operation);
  if (!TakeText(&bytes, kMaxKeyBytes, &request->key)) return false;
  if (!TakeU64(&bytes, &request->argument)) return false;
  request->value = std::string(bytes);
  return request->operation == kSet || request->value.empty();
}

std::string Framed(absl::string_view message) {
  CHECK_LE(message.size(), kMaxMessageBytes);
  std::string out;
  AppendU32(static_cast<uint32_t>(message.size()), &out);
  absl::StrAppend(&out, message);
  return out;
}

std::string EncodeEntries(const std::map<std::string, std::string>& entries) {
  std::string out;
  for (const auto& [key, value] : entries) {
    if (out.size() + key.size() + value.size() + 8 >= kMaxMessageBytes) break;
    AppendU32(static_cast<uint32_t>(key.size()), &out);
    absl::StrAppend(&out, key);
    AppendU32(static_cast<uint32_t>(value.size()), &out);
    absl::StrAppend(&out, value);
  }
  return out;
}

bool DecodeEntries(absl::string_view bytes, std::map<std::string, std::string>* entries) {
  while (!bytes.empty()) {
    std::string key, value;
    if (!TakeText(&bytes, kMaxKeyBytes, &key)) return false;
    if (!TakeText(&bytes, kMaxMessageBytes, &value)) return false;
    entries->emplace(std::move(key), std::move(value));
  }
  return true;
}

}  // namespace lockstep::dist::store_protocol

// The bytes of the store's protocol (store.h), shared by both of its ends.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "dist/store.h"

namespace lockstep::dist::store_protocol {

inline constexpr absl::string_view kMagic = "LKSTORE1";
inline constexpr size_t kHelloBytes = 8 + kTokenBytes;

enum Operation : uint8_t { kSet = 1, kGet, kWait, kAdd, kList };
enum Reply : uint8_t { kDone = 0, kNotThere = 1 };

struct Request {
  Operation operation = kGet;
  std::string key;
  uint64_t argument = 0;  // kWait: milliseconds; kAdd: the amount, two's complement
  std::string value;      // kSet
};

// Magic and the padded token.
std::string Hello(absl::string_view token);

void AppendU32(uint32_t number, std::string* out);
void AppendU64(uint64_t number, std::string* out);
// Takes a number off the front of `bytes`; false if it is too short.
bool TakeU32(absl::string_view* bytes, uint32_t* number);
bool TakeU64(absl::string_view* bytes, uint64_t* number);

// Without the length in front.
std::string EncodeRequest(const Request& request);
bool DecodeRequest(absl::string_view bytes, Request* request);

// With the length in front.
std::string Framed(absl::string_view message);

// kList's value: u32 length, key, u32 length, value, and so on.
std::string EncodeEntries(const std::map<std::string, std::string>& entries);
bool DecodeEntries(absl::string_view bytes, std::map<std::string, std::string>* entries);

}  // namespace lockstep::dist::store_protocol

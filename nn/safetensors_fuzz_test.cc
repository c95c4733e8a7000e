#include "base/check.h"
#include "base/fuzz/driver.h"
#include "nn/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto header = lockstep::nn::ParseSafetensors(bytes, size, "fuzz");
  if (!header.ok()) return 0;
  for (const lockstep::nn::StoredTensor& tensor : header->tensors) {
    CHECK_LE(tensor.offset, size);
    CHECK_LE(tensor.bytes, size - tensor.offset);
  }
  return 0;
}

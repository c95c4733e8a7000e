#include "tools/gguf/gguf_writer.h"

#include <cmath>
#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tensor/half.h"

namespace lockstep {
namespace {

template <typename T>
T Get(const std::string& bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}

TEST(GgufWriterTest, WritesTheFormatByteForByte) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/small.gguf");
  GgufWriter writer(path);
  writer.Set("k", uint32_t{7});
  writer.Declare("t", GgufType::kF16, {2, 1});
  writer.Declare("u", GgufType::kF32, {1});
  ASSERT_TRUE(writer.Begin().ok());
  ASSERT_TRUE(writer.Append({1.0f}).ok());
  ASSERT_TRUE(writer.Append({-2.0f}).ok());
  ASSERT_TRUE(writer.Append({0.5f}).ok());
  ASSERT_TRUE(writer.Finish().ok());

  std::string want = "GGUF";
  const auto u32 = [&](uint32_t v) { want.append(reinterpret_cast<const char*>(&v), 4); };
  const auto u64 = [&](uint64_t v) { want.append(reinterpret_cast<const char*>(&v), 8); };
  u32(3), u64(2), u64(1);                                       // version, tensors, values
  u64(1), want += "k", u32(4), u32(7);                          // a u32
  u64(1), want += "t", u32(2), u64(1), u64(2), u32(1), u64(0);  // innermost size first; f16
  u64(1), want += "u", u32(1), u64(1), u32(0), u64(32);
  want.resize((want.size() + 31) / 32 * 32);
  want += std::string("\x00\x3c\x00\xc0", 4) + std::string(28, '\0');  // 1, −2
  want += std::string("\x00\x00\x00\x3f", 4) + std::string(28, '\0');  // 0.5
  EXPECT_EQ(*ReadFile(path), want);
}

TEST(EncodeGgufTest, Q8KeepsValuesWithinHalfAStep) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(4 * kQ8Block);
  for (float& value : values) value = normal(random);
  for (int64_t i = 0; i < kQ8Block; ++i) values[kQ8Block + i] = 0;  // a block of zeros
  const std::string bytes = EncodeGguf(values, GgufType::kQ8_0);
  ASSERT_EQ(bytes.size(), GgufBytes(GgufType::kQ8_0, 4 * kQ8Block));
  ASSERT_EQ(bytes.size(), 4 * 34);
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t block = i / kQ8Block * 34;
    const float scale = F16ToFloat(Get<uint16_t>(bytes, block));
    const float back = scale * Get<int8_t>(bytes, block + 2 + i % kQ8Block);
    EXPECT_NEAR(back, values[i], 0.5 * scale + std::abs(values[i]) * 0x1p-10) << i;
  }
  EXPECT_EQ(Get<int8_t>(EncodeGguf(std::vector<float>(32, -3.0f), GgufType::kQ8_0), 2), -127);
}

TEST(EncodeGgufTest, HalfTypesRoundToNearest) {
  EXPECT_EQ(Get<uint16_t>(EncodeGguf({1.0f}, GgufType::kBF16), 0), 0x3F80);
  EXPECT_EQ(Get<uint16_t>(EncodeGguf({1.0f + 0x1p-9f}, GgufType::kBF16), 0), 0x3F80);
  EXPECT_EQ(Get<uint16_t>(EncodeGguf({65504.0f}, GgufType::kF16), 0), 0x7BFF);
}

}  // namespace
}  // namespace lockstep

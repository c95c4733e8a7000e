#include "nn/safetensors.h"

#include <fstream>
#include <random>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tensor/half.h"

namespace lockstep::nn {
namespace {

using ::testing::HasSubstr;

std::string FileWith(std::string header, absl::string_view data) {
  const uint64_t length = header.size();
  std::string out(reinterpret_cast<const char*>(&length), 8);
  return absl::StrCat(out, header, data);
}

std::string Save(const std::string& name, const std::string& content) {
  const std::string path = ::testing::TempDir() + "/" + name;
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

std::string ErrorOf(const std::string& content) {
  const auto header = ParseSafetensors(content, content.size(), "f.safetensors");
  EXPECT_FALSE(header.ok()) << content;
  return std::string(header.status().message());
}

TEST(Safetensors, WritesWhatItReads) {
  const std::string path = ::testing::TempDir() + "/round.safetensors";
  SafetensorsWriter writer(path);
  writer.Declare("b", DType::kBF16, {3});
  writer.Declare("z", DType::kF32, {2, 2});
  writer.Declare("a", DType::kF32, {});
  writer.Declare("empty", DType::kF32, {0, 4});
  ASSERT_TRUE(writer.Begin({{"format", "pt"}}).ok());
  // Wide types first, then names.
  std::vector<std::string> names;
  for (const StoredTensor& tensor : writer.tensors()) names.push_back(tensor.name);
  EXPECT_THAT(names, ::testing::ElementsAre("a", "empty", "z", "b"));
  const float floats[] = {7, 1, 2, 3, 4};
  const uint16_t halves[] = {FloatToBf16(1.5f), FloatToBf16(-2), FloatToBf16(0.25f)};
  ASSERT_TRUE(writer.Append({reinterpret_cast<const char*>(floats), sizeof(floats)}).ok());
  ASSERT_TRUE(writer.Append({reinterpret_cast<const char*>(halves), sizeof(halves)}).ok());
  ASSERT_TRUE(writer.Finish().ok());

  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->metadata().at("format"), "pt");
  const StoredTensor* b = (*file)->Find("b");
  ASSERT_NE(b, nullptr);
  double values[2];
  ASSERT_TRUE((*file)->Read(*b, 1, 3, DType::kF64, values).ok());
  EXPECT_EQ(values[0], -2);
  EXPECT_EQ(values[1], 0.25);
  EXPECT_EQ((*file)->Find("a")->shape.size(), 0u);
  EXPECT_EQ((*file)->tensors()[0].offset % 8, 0u);
  uint8_t bytes[3];
  EXPECT_FALSE((*file)->Read(*b, 0, 3, DType::kU8, bytes).ok());
}

TEST(Safetensors, UnalignedDataOfEveryFloatType) {
  // 15 header bytes more or less put the data on an odd address.
  std::string data(3, '\0');
  const uint16_t bf16 = FloatToBf16(3.0f), f16 = FloatToF16(-0.5f);
  const float f32 = 1.25f;
  const double f64 = -7.0;
  data.append(reinterpret_cast<const char*>(&bf16), 2);
  data.append(reinterpret_cast<const char*>(&f16), 2);
  data.append(reinterpret_cast<const char*>(&f32), 4);
  data.append(reinterpret_cast<const char*>(&f64), 8);
  const std::string header = R"({"pad":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                             R"("h":{"dtype":"F16","shape":[1],"data_offsets":[5,7]},)"
                             R"("b":{"dtype":"BF16","shape":[1],"data_offsets":[3,5]},)"
                             R"("d":{"dtype":"F64","shape":[1],"data_offsets":[11,19]},)"
                             R"("f":{"dtype":"F32","shape":[1],"data_offsets":[7,11]}})";
  const auto file = SafetensorsFile::Open(Save("odd.safetensors", FileWith(header, data)));
  ASSERT_TRUE(file.ok()) << file.status();
  for (const auto& [name, want] :
       std::map<std::string, double>{{"b", 3.0}, {"h", -0.5}, {"f", 1.25}, {"d", -7.0}}) {
    float as_float;
    ASSERT_TRUE((*file)->Read(*(*file)->Find(name), 0, 1, DType::kF32, &as_float).ok());
    EXPECT_EQ(as_float, want) << name;
    uint16_t as_bf16;
    ASSERT_TRUE((*file)->Read(*(*file)->Find(name), 0, 1, DType::kBF16, &as_bf16).ok());
    EXPECT_EQ(Bf16ToFloat(as_bf16), want) << name;
  }
}

TEST(Safetensors, RefusesLyingHeaders) {
  const auto one = [](const char* dtype, const char* shape, const char* offsets) {
    return absl::StrCat(R"({"w":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)",
                        offsets, "}}");
  };
  const std::string data(8, '\0');
  const std::string good = FileWith(one("F32", "[2]", "[0,8]"), data);
  EXPECT_TRUE(ParseSafetensors(good, good.size(), "f").ok());
  EXPECT_THAT(ErrorOf(""), HasSubstr("at least 8 bytes"));
  EXPECT_THAT(ErrorOf(std::string(8, '\xff')), HasSubstr("does not fit"));
  EXPECT_THAT(ErrorOf(FileWith("{]", data)), HasSubstr("byte"));
  EXPECT_THAT(ErrorOf(FileWith(one("F32", "[3]", "[0,8]"), data)), HasSubstr("12 bytes"));
  EXPECT_THAT(ErrorOf(FileWith(one("F32", "[2]", "[0,8]"), "")), HasSubstr("the file has 0"));
  EXPECT_THAT(ErrorOf(FileWith(one("F32", "[2]", "[0,8]"), data + "x")), HasSubstr("has 9"));
  EXPECT_THAT(ErrorOf(FileWith(one("F32", "[2]", "[4,12]"), data + data)), HasSubstr("byte 0"));
  EXPECT_THAT(ErrorOf(FileWith(one("F32", "[2]", "[8,0]"), data)), HasSubstr("end before"));
  EXPECT_THAT(ErrorOf(FileWith(one("F32", "[-2]", "[0,8]"), data)), HasSubstr("out of range"));
  EXPECT_THAT(ErrorOf(FileWith(one("F32", "[4294967296,4294967296]", "[0,8]"), data)),
              HasSubstr("out of range"));
  EXPECT_THAT(ErrorOf(FileWith(one("F32", "2", "[0,8]"), data)), HasSubstr("list of sizes"));
  EXPECT_THAT(ErrorOf(FileWith(one("F32", "[2]", "[0,8.5]"), data)), HasSubstr("[begin, end]"));
  EXPECT_THAT(ErrorOf(FileWith(R"({"w":3})", data)), HasSubstr("object"));
  EXPECT_THAT(ErrorOf(FileWith(R"({"w":{"shape":[2],"data_offsets":[0,8]}})", data)),
              HasSubstr("dtype"));
}

TEST(Safetensors, UnknownTypesFailOnlyWhenRead) {
  const auto file = SafetensorsFile::Open(
      Save("new.safetensors",
           FileWith(R"({"w":{"dtype":"F2_NEW","shape":[7],"data_offsets":[0,4]}})", "abcd")));
  ASSERT_TRUE(file.ok()) << file.status();
  float out[7];
  const absl::Status status = (*file)->Read(*(*file)->Find("w"), 0, 7, DType::kF32, out);
  EXPECT_THAT(std::string(status.message()), HasSubstr("F2_NEW"));
}

// Random damage never crashes and never allocates by what a damaged number says.
TEST(Safetensors, SurvivesRandomDamage) {
  const std::string good = FileWith(
      R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
      R"("v":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]}})",
      std::string(12, 'x'));
  ASSERT_TRUE(ParseSafetensors(good, good.size(), "f").ok());
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    std::string bad = good;
    for (int k = random() % 4; k >= 0; --k)
      bad[random() % bad.size()] = static_cast<char>(random());
    if (random() % 4 == 0) bad.resize(random() % bad.size());
    const auto header = ParseSafetensors(bad, bad.size(), "f");
    if (!header.ok()) continue;
    for (const StoredTensor& tensor : header->tensors) {
      ASSERT_LE(tensor.offset + tensor.bytes, bad.size());
    }
  }
}

}  // namespace
}  // namespace lockstep::nn

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nn/safetensors.h"
#include "tools/testing.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

std::string WriteExample(const std::string& folder) {
  const std::string path = JoinPath(folder, "model.safetensors");
  nn::SafetensorsWriter writer(path);
  writer.Declare("b.weight", DType::kBF16, {2, 3});
  writer.Declare("a", DType::kF32, {});
  writer.Declare("none", DType::kI64, {0, 4});
  EXPECT_TRUE(writer.Begin({{"format", "pt"}}).ok());
  for (const nn::StoredTensor& tensor : writer.tensors()) {
    EXPECT_TRUE(writer.Append(std::string(tensor.bytes, tensor.name[0])).ok());
  }
  EXPECT_TRUE(writer.Finish().ok());
  return path;
}

TEST(InspectTest, PrintsEveryTensor) {
  const std::string folder = FreshFolder("inspect");
  const std::string path = WriteExample(folder);
  const std::string want =
      absl::StrCat("none I64 [0, 4] ", HashHex(""), "\na F32 [] ", HashHex("aaaa"),
                   "\nb.weight BF16 [2, 3] ", HashHex(std::string(12, 'b')), "\n");
  const ToolResult file = RunTool("inspect", {path});
  EXPECT_EQ(file.exit_code, 0) << file.err;
  EXPECT_EQ(file.out, want);
  EXPECT_THAT(file.err, HasSubstr("3 tensors, 7 elements, 16 bytes"));
  EXPECT_THAT(file.err, HasSubstr("format: pt"));
  EXPECT_EQ(RunTool("inspect", {folder}).out, want);
}

TEST(InspectTest, SaysWhatIsWrong) {
  const std::string folder = FreshFolder("broken");
  const std::string path = WriteExample(folder);
  const std::string whole = *ReadFile(path);
  ASSERT_TRUE(WriteFileAtomically(path, whole.substr(0, whole.size() - 1)).ok());
  const ToolResult cut = RunTool("inspect", {path});
  EXPECT_EQ(cut.exit_code, 1);
  EXPECT_THAT(cut.err, HasSubstr("the file has 15"));
  EXPECT_THAT(cut.err, HasSubstr("HINT: "));
  for (const std::string missing : {"nothing", "nothing.safetensors"}) {
    EXPECT_EQ(RunTool("inspect", {JoinPath(folder, missing)}).exit_code, 1);
  }
  EXPECT_THAT(RunTool("inspect", {FreshFolder("empty")}).err, HasSubstr("no *.safetensors"));
  EXPECT_EQ(RunTool("inspect", {}).exit_code, 1);
  const ToolResult flag = RunTool("inspect", {"--hash=md5", path});
  EXPECT_EQ(flag.exit_code, 1);
  EXPECT_THAT(flag.err, HasSubstr("there is no flag --hash"));
}

}  // namespace
}  // namespace lockstep

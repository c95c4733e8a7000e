#include "data/tokenizer/shared_tokenizers.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/file.h"

namespace lockstep::data {
namespace {

constexpr char kAssets[] = "external/shared/assets/";

void RunOrDie(const std::string& command) { CHECK_EQ(std::system(command.c_str()), 0) << command; }

}  // namespace

bool HaveSharedTokenizers() { return FileExists(absl::StrCat(kAssets, "tokenizers/phi3.tar.xz")); }

std::string UnpackSharedTokenizer(absl::string_view name) {
  const std::string folder = ::testing::TempDir();
  const std::string path = JoinPath(folder, absl::StrCat(name, "/tokenizer.json"));
  if (!FileExists(path)) {
    RunOrDie(absl::StrCat("tar -xJf ", kAssets, "tokenizers/", name, ".tar.xz -C ", folder));
  }
  return path;
}

std::vector<std::string> ReadXzLines(absl::string_view path) {
  const std::string unpacked = JoinPath(::testing::TempDir(), "unpacked");
  RunOrDie(absl::StrCat("xz -dc ", kAssets, path, " > ", unpacked));
  const absl::StatusOr<std::string> content = ReadFile(unpacked);
  CHECK(content.ok()) << content.status();
  return absl::StrSplit(*content, '\n', absl::SkipEmpty());
}

}  // namespace lockstep::data

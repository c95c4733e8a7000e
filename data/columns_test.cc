#include "data/columns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::data {
namespace {

using ::testing::HasSubstr;

TEST(CheckColumns, EachIsInSomeDocument) {
  const auto error = [](const std::vector<std::string>& keys) {
    return std::string(CheckColumns({{"prompt", "q"}, {"text", "nosuch"}}, keys).message());
  };
  EXPECT_TRUE(CheckColumns({}, {}).ok());
  EXPECT_EQ(error({"nosuch", "a", "q"}), "");
  EXPECT_THAT(error({"a", "q", "text"}), HasSubstr("[--columns=text:nosuch] want documents with "
                                                   "the key nosuch, got a, q, text\nHINT: "));
  EXPECT_THAT(error({}), HasSubstr("[--columns=prompt:q] want documents with the key q, got plain "
                                   "text"));
  EXPECT_THAT(error(std::vector<std::string>(21, "q")), HasSubstr("q, q, …\n"));
}

}  // namespace
}  // namespace lockstep::data

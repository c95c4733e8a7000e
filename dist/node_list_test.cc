#include "dist/node_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::dist {
namespace {

using ::testing::ElementsAre;

TEST(NodeList, OneName) {
  EXPECT_THAT(*ExpandNodeList("login1.example"), ElementsAre("login1.example"));
}

TEST(NodeList, ListsRangesAndLeadingZeros) {
  EXPECT_THAT(*ExpandNodeList("gnode[10,20,25,37]"),
              ElementsAre("gnode10", "gnode20", "gnode25", "gnode37"));
  EXPECT_THAT(*ExpandNodeList("a[008-011,3],b"),
              ElementsAre("a008", "a009", "a010", "a011", "a3", "b"));
  EXPECT_THAT(*ExpandNodeList("n[9-11]"), ElementsAre("n9", "n10", "n11"));
  EXPECT_THAT(*ExpandNodeList("n[4294967294-4294967295]"),
              ElementsAre("n4294967294", "n4294967295"));
}

TEST(NodeList, SeveralBracketsMultiplyAndSuffixesStay) {
  EXPECT_THAT(*ExpandNodeList("r[1-2]n[3-4].hpc"),
              ElementsAre("r1n3.hpc", "r1n4.hpc", "r2n3.hpc", "r2n4.hpc"));
}

TEST(NodeList, MalformedIsAnError) {
  for (const char* text : {"", "a[1-", "a]1[", "a[1]]", "a[2-1]", "a[x]", "a[1-2-3]", "a,,b",
                           "a[[1]]", "a[]", "a[0-4000000000]", "a[1-999][1-999]"}) {
    EXPECT_FALSE(ExpandNodeList(text).ok()) << text;
  }
}

TEST(TasksPerNode, Repeats) {
  EXPECT_THAT(*ExpandTasksPerNode("2(x3),1"), ElementsAre(2, 2, 2, 1));
  EXPECT_THAT(*ExpandTasksPerNode("8"), ElementsAre(8));
}

TEST(TasksPerNode, MalformedIsAnError) {
  for (const char* text : {"", "x", "2(x", "2(x0)", "0", "2(3)", "1(x999999)"}) {
    EXPECT_FALSE(ExpandTasksPerNode(text).ok()) << text;
  }
}

}  // namespace
}  // namespace lockstep::dist

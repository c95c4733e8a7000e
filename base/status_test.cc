#include "base/status.h"

#include "gtest/gtest.h"

namespace lockstep {
namespace {

TEST(UserErrorTest, NamesThePlaceTheProblemAndTheWayOut) {
  const absl::Status status = UserError("data.jsonl:7", "want an object, got a list", "see README");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()),
            "[data.jsonl:7] want an object, got a list\nHINT: see README");
}

TEST(UserErrorTest, LeavesOutAnEmptyHint) {
  EXPECT_EQ(std::string(UserError("a", "b").message()), "[a] b");
}

TEST(SystemErrorTest, SaysWhatTheSystemSaidAndTheUsualWayOut) {
  EXPECT_EQ(std::string(SystemError("x.json", "cannot write", ENOSPC).message()),
            "[x.json] cannot write: No space left on device\n"
            "HINT: make room there, or choose a folder on another disk");
  EXPECT_EQ(std::string(SystemError("x.json", "cannot write", ENOSPC, "wait").message()),
            "[x.json] cannot write: No space left on device\nHINT: wait");
  EXPECT_NE(SystemError("x.json", "cannot map", ENOMEM).message().find("ulimit -v"),
            absl::string_view::npos);
  EXPECT_EQ(std::string(SystemError("x.json", "cannot read", EIO).message()),
            "[x.json] cannot read: Input/output error");
}

TEST(WithHintTest, AddsOneWhereThereIsNone) {
  EXPECT_EQ(std::string(WithHint(UserError("a", "b"), "c").message()), "[a] b\nHINT: c");
  EXPECT_EQ(std::string(WithHint(UserError("a", "b", "first"), "c").message()),
            "[a] b\nHINT: first");
  EXPECT_TRUE(WithHint(absl::OkStatus(), "c").ok());
}

absl::StatusOr<int> Half(int x) {
  if (x % 2 != 0) return UserError("half", "want an even number");
  return x / 2;
}

absl::StatusOr<int> Quarter(int x) {
  ASSIGN_OR_RETURN(const int half, Half(x));
  return Half(half);
}

TEST(AssignOrReturnTest, PassesErrorsUp) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_FALSE(Quarter(6).ok());
  EXPECT_FALSE(Quarter(7).ok());
}

}  // namespace
}  // namespace lockstep

#include "trainer/provenance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ProvenanceTest, EachDifferenceIsALine) {
  const Provenance before = {{"gpus", "NVIDIA H100"}, {"cudnn", "9.14.0"}, {"cuda", "13.0"}};
  Provenance now = before;
  EXPECT_THAT(ProvenanceChanges(before, now), IsEmpty());
  now["gpus"] = "NVIDIA H200";
  now["cudnn"] = "9.19.0";
  EXPECT_THAT(ProvenanceChanges(before, now),
              ElementsAre("warning: cudnn was 9.14.0 and is 9.19.0: bits may differ from those of "
                          "the run so far",
                          "warning: gpus was NVIDIA H100 and is NVIDIA H200: bits may differ from "
                          "those of the run so far"));
  EXPECT_THAT(ProvenanceChanges({}, now), IsEmpty()) << "an older run recorded nothing";
}

TEST(ProvenanceTest, ReadsWhatARunHasRecorded) {
  const std::string path = ::testing::TempDir() + "/run.json";
  ASSERT_TRUE(WriteFileAtomically(path, R"({"provenance": {"cuda": "13.0"}})").ok());
  EXPECT_EQ(ReadProvenance(path), (Provenance{{"cuda", "13.0"}}));
  ASSERT_TRUE(WriteFileAtomically(path, R"({"provenance": )").ok());
  EXPECT_THAT(ReadProvenance(path), IsEmpty());
  EXPECT_THAT(ReadProvenance("/no/such/file"), IsEmpty());
}

}  // namespace
}  // namespace lockstep

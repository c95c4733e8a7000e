#include "dist/communicator.h"

#include <gtest/gtest.h>

namespace lockstep::dist {
namespace {

TEST(SoloCommunicator, CollectivesLeaveOneRanksDataAsItIs) {
  const std::unique_ptr<Communicator> solo = MakeSoloCommunicator();
  EXPECT_EQ(solo->rank(), 0);
  EXPECT_EQ(solo->size(), 1);
  const Stream stream;
  int64_t data[2] = {4, -5}, copy[2] = {0, 0};
  const View view = MakeView(data, DType::kI64, stream.device, {2});
  const View target = MakeView(copy, DType::kI64, stream.device, {2});
  solo->Wait(solo->AllReduce(view, ReduceOp::kSum, stream), stream);
  solo->Wait(solo->Broadcast(view, 0, stream), stream);
  solo->Wait(solo->Barrier(stream), stream);
  EXPECT_EQ(data[1], -5);
  solo->Wait(solo->AllGather(view, target, stream), stream);
  EXPECT_EQ(copy[1], -5);
  copy[1] = 0;
  const Communicator::Work last = solo->ReduceScatter(view, target, stream);
  solo->Wait(last, stream);
  EXPECT_EQ(copy[1], -5);
  EXPECT_EQ(last.sequence, 5);
  EXPECT_EQ(solo->position().completed, 5);
}

TEST(SoloCommunicator, HostValues) {
  const std::unique_ptr<Communicator> solo = MakeSoloCommunicator();
  EXPECT_EQ(AllReduceValue(*solo, int64_t{7}, ReduceOp::kMax, "tokens"), 7);
  EXPECT_EQ(AllReduceValue(*solo, 0.5, ReduceOp::kSum, "seconds"), 0.5);
}

TEST(CommunicatorDeathTest, MisuseIsNamed) {
  const std::unique_ptr<Communicator> solo = MakeSoloCommunicator();
  const Stream stream;
  uint8_t bytes[4] = {};
  const View view = MakeView(bytes, DType::kU8, stream.device, {4});
  EXPECT_DEATH(solo->AllReduce(view, ReduceOp::kSum, stream, "mask"), "all_reduce mask.*got u8");
  EXPECT_DEATH(solo->Broadcast(view, 1, stream), "root 1 of 1");
  EXPECT_DEATH(solo->AllGather(view.Slice(0, 0, 2), view, stream), "want whole = 1 parts");
  View holes = MakeView(bytes, DType::kU8, stream.device, {2, 2}).Slice(1, 0, 1);
  EXPECT_DEATH(solo->Broadcast(holes, 0, stream), "contiguous");
}

}  // namespace
}  // namespace lockstep::dist

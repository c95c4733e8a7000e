#include "tensor/kernels/attention_graph.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels::cuda::cudnn {
namespace {

// Heads of 12 elements, which attention_cudnn.cc never asks for.
TEST(AttentionGraphDeathTest, WhatCudnnRefusesIsSaidWithAWayOut) {
  SKIP_WITHOUT_GPU();
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const GraphKey key = {.backward = true,
                        .ragged = false,
                        .count = 3,
                        .longest = 128,
                        .rows = 0,
                        .heads = 2,
                        .kv_heads = 1,
                        .dim = 12,
                        .q_row = 48,
                        .kv_row = 48,
                        .out_row = 24,
                        .lse_row = 2,
                        .window = 0,
                        .scale = 1};
  EXPECT_DEATH(GraphWorkspace(key),
               "does not compute the backward of 3 documents of 128 rows, 2 heads and 1 of keys, "
               "12 wide, on this GPU: .*\nHINT: --dtype=fp32");
}

}  // namespace
}  // namespace lockstep::kernels::cuda::cudnn

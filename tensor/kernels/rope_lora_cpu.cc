#include "tensor/kernels/cpu/lora_share.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/rope.h"
#include "tensor/kernels/rope_lora.h"

namespace lockstep::kernels::cpu {

void RopeLora(const Stream& stream, const View& x, const std::vector<HeadsShare>& parts,
              int64_t rotated, const View& table) {
  const int64_t head_dim = x.shape[2];
  View flat = x;  // [T, N·D]
  flat.rank = 2;
  flat.shape[1] *= head_dim;
  flat.stride[1] = 1;
  DispatchFloat(x.dtype, [&](auto zero) {
    int64_t column = 0;
    for (const HeadsShare& part : parts) {
      const int64_t end = column + part.heads * head_dim;
      AddShare<decltype(zero)>(part.share, flat.Slice(1, column, end));
      column = end;
    }
  });
  kernels::Rope(stream, x.Slice(1, 0, rotated), table, 1);
}

}  // namespace lockstep::kernels::cpu

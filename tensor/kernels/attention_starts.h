// Where the documents of one call start in each of its tensors, in elements, on the device: what
// cuDNN calls ragged offsets. For attention_cudnn.cc alone.
#pragma once

#include <cstdint>

#include "tensor/view.h"

namespace lockstep::kernels::cuda {

inline constexpr int kStartTensors = 4;  // q and dq; k, v and dk, dv; out and dout; lse
struct StartStrides {
  int64_t row[kStartTensors];  // elements between rows
};

// lengths[count]: rows of documents first, first + 1, …; 0 from `last` on.
// starts[kStartTensors][count + 1]: cu_seqlens · strides.row[t]; the end of the last from there on.
void DocumentStarts(const Stream& stream, const View& cu_seqlens, int64_t first, int64_t last,
                    int64_t count, const StartStrides& strides, int32_t* lengths, int32_t* starts);

}  // namespace lockstep::kernels::cuda

#include "tensor/kernels/attention_flash.h"
#include "tensor/kernels/device/flash_attention_forward.cuh"
#include "tensor/kernels/device/flash_attention_launch.cuh"

namespace lockstep::kernels::cuda::flash {
namespace {

using namespace device;         // NOLINT(build/namespaces)
using namespace device::flash;  // NOLINT(build/namespaces)

// Of the shapes that fit, the fastest on an H200 for documents of 4096 tokens.
template <int kDim>
using Shape = std::conditional_t<
    kDim == 64, ForwardShape<64, 2, 128, 4>,
    std::conditional_t<kDim == 256, ForwardShape<256, 1, 64, 4>, ForwardShape<kDim, 2, 64, 4>>>;

}  // namespace

absl::string_view Refusal(const AttentionShape& shape, const AttentionOptions& options) {
  if (shape.dtype != DType::kBF16) return "its type is not bf16";
  if (shape.head_dim % 8 != 0) return "the width of its heads is no multiple of 8";
  if (shape.head_dim > 256) return "its heads are wider than 256";
  if (options.scale <= 0) return "its scores are not scaled by a positive number";
  return "";
}

bool Aligned(std::initializer_list<const View*> tensors) {
  for (const View* x : tensors) {
    if (!Vectorizable(*x, x->stride[1], x->stride[0])) return false;
  }
  return true;
}

void Attention(const Stream& stream, const View& q, const View& k, const View& v,
               const PackedDocuments& documents, const AttentionOptions& options, const View& out,
               const View& lse) {
  const ForwardArguments arguments = {attention::MakeProblem(q, k, documents, options),
                                      Heads(q),
                                      Heads(k),
                                      Heads(v),
                                      Heads(out),
                                      lse.as<float>()};
  DispatchDim(q.shape[2], [&](auto dim) {
    using S = Shape<dim()>;
    Launch<S>(stream, &ForwardKernel<S>, arguments, q.shape[0], q.shape[1]);
  });
}

}  // namespace lockstep::kernels::cuda::flash

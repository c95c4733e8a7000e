#include "tensor/kernels/attention.h"

#include <algorithm>

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {
namespace {

constexpr char kOp[] = "attention";

void CheckHeads(const char* name, const View& x, int64_t tokens, int64_t heads, const View& q) {
  CheckShape(kOp, name, x, {tokens, heads, q.shape[2]});
  CHECK_DTYPE(kOp, name, x, q.dtype);
  CHECK(x.stride[2] == 1 || x.shape[2] == 1)
      << "[attention] " << name << ": want contiguous heads, got " << Describe(x);
}

void CheckInputs(const View& q, const View& k, const View& v) {
  CHECK(q.rank == 3 && k.rank == 3)
      << "[attention] q, k: want [T, heads, D], got " << Describe(q) << " and " << Describe(k);
  CHECK(k.shape[1] > 0 && q.shape[1] % k.shape[1] == 0)
      << "[attention] want a multiple of the " << k.shape[1] << " kv heads, got " << q.shape[1]
      << " heads";
  CheckHeads("q", q, q.shape[0], q.shape[1], q);
  CheckHeads("k", k, k.shape[0], k.shape[1], q);
  CheckHeads("v", v, k.shape[0], k.shape[1], q);
}

void CheckDocuments(const PackedDocuments& documents, int64_t tokens_q, int64_t tokens_k) {
  const int32_t *q = documents.starts_q, *k = documents.starts_k;
  CHECK(q[0] == 0 && k[0] == 0) << "[attention] the first document starts at row 0";
  for (int64_t d = 0; d < documents.size; ++d) {
    const int64_t queries = q[d + 1] - q[d], keys = k[d + 1] - k[d];
    CHECK(0 <= queries && (queries == 0 || queries <= keys) && keys >= 0)
        << "[attention] document " << d << " has " << queries << " queries and " << keys << " keys";
  }
  CHECK(q[documents.size] <= tokens_q && k[documents.size] <= tokens_k)
      << "[attention] documents end at row " << q[documents.size] << " of " << tokens_q << ", "
      << k[documents.size] << " of " << tokens_k;
}

void CheckLse(const View& lse, const View& q) {
  CheckShape(kOp, "lse", lse, {q.shape[0], q.shape[1]});
  CHECK_DTYPE(kOp, "lse", lse, AccumulateType(q.dtype));
  CHECK(lse.contiguous());
}

void CheckWorkspace(const View& workspace, int64_t bytes) {
  if (bytes == 0) return;
  CHECK_DTYPE(kOp, "workspace", workspace, DType::kU8);
  CHECK(workspace.contiguous() && workspace.numel() >= bytes)
      << "[attention] workspace: want " << bytes << " bytes, got " << Describe(workspace);
}

}  // namespace

void Attention(const Stream& stream, const View& q, const View& k, const View& v,
               const PackedDocuments& documents, const AttentionOptions& options, const View& out,
               const View& lse, const View& workspace) {
  CheckInputs(q, k, v);
  CheckDocuments(documents, q.shape[0], k.shape[0]);
  CheckHeads("out", out, q.shape[0], q.shape[1], q);
  if (lse.data != nullptr) CheckLse(lse, q);
  CheckWorkspace(workspace,
                 AttentionWorkspace(stream.device, ShapeOf(q, k), documents, options).forward);
  LOCKSTEP_DISPATCH(stream, Attention, q, k, v, documents, options, out, lse, workspace);
}

void AttentionBackward(const Stream& stream, const View& dout, const View& q, const View& k,
                       const View& v, const View& out, const View& lse,
                       const PackedDocuments& documents, const AttentionOptions& options,
                       const View& dq, const View& dk, const View& dv, const View& workspace) {
  CheckInputs(q, k, v);
  CheckDocuments(documents, q.shape[0], k.shape[0]);
  for (const View* x : {&dout, &out, &dq})
    CheckHeads("out, dout, dq", *x, q.shape[0], q.shape[1], q);
  for (const View* x : {&dk, &dv}) CheckHeads("dk, dv", *x, k.shape[0], k.shape[1], q);
  CheckLse(lse, q);
  CheckWorkspace(workspace,
                 AttentionWorkspace(stream.device, ShapeOf(q, k), documents, options).backward);
  LOCKSTEP_DISPATCH(stream, AttentionBackward, dout, q, k, v, out, lse, documents, options, dq, dk,
                    dv, workspace);
}

WorkspaceBytes AttentionWorkspace(Device device, const AttentionShape& shape,
                                  const PackedDocuments& documents,
                                  const AttentionOptions& options) {
  WorkspaceBytes bytes;
  if (device.type != DeviceType::kCUDA) {
    bytes = cpu::AttentionWorkspace(shape, documents, options);
  }
#ifdef LOCKSTEP_OP_HAS_CUDA
  if (device.type != DeviceType::kCPU) {
    const WorkspaceBytes on_gpu = cuda::AttentionWorkspace(
        shape, documents, options, /*ask=*/device.type == DeviceType::kCUDA);
    bytes.forward = std::max(bytes.forward, on_gpu.forward);
    bytes.backward = std::max(bytes.backward, on_gpu.backward);
  }
#endif
  return bytes;
}

std::vector<bool> PrepareAttention(Device device, absl::Span<const AttentionProblem> problems,
                                   int num_threads, const std::atomic<bool>& stop) {
#ifdef LOCKSTEP_OP_HAS_CUDA
  if (device.type == DeviceType::kCUDA) {
    return cuda::PrepareAttention(device, problems, num_threads, stop);
  }
#endif
  return std::vector<bool>(problems.size(), false);
}

int64_t NumAttentionPlans() {
#ifdef LOCKSTEP_OP_HAS_CUDA
  return cuda::NumAttentionPlans();
#else
  return 0;
#endif
}

absl::string_view WhyAttentionIsSlow(Device device, const AttentionShape& shape,
                                     const AttentionOptions& options) {
#ifdef LOCKSTEP_OP_HAS_CUDA
  if (device.type == DeviceType::kCUDA) return cuda::WhyAttentionIsSlow(shape, options);
#endif
  return "";
}

}  // namespace lockstep::kernels

#include "nn/merged_rows.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "base/status.h"
#include "tensor/kernels/gemm.h"

namespace lockstep::nn {
namespace {

// "<path>.weight" without its end.
std::string Path(const std::string& name) {
  return name.substr(0, name.size() - sizeof(".weight") + 1);
}

}  // namespace

const LoraTarget* MergedRows::Target(const std::string& name) const {
  if (!absl::EndsWith(name, ".weight")) return nullptr;
  const auto it = trainable_.targets.find(Path(name));
  return it == trainable_.targets.end() ? nullptr : &it->second;
}

bool MergedRows::IsEmbedding(const std::string& name) const {
  return parameters_.IndexOf(Path(name) + ".lora_embedding_A") >= 0;
}

absl::Status MergedRows::Prepare(const std::string& name, const WeightFiles::Entry& entry) {
  principal_ = {};
  if (!pissa_ || Target(name) == nullptr || IsEmbedding(name)) return absl::OkStatus();
  const StoredTensor& stored = *entry.tensor;
  std::vector<float> w(stored.numel());
  RETURN_IF_ERROR(entry.file->Read(stored, 0, stored.numel(), DType::kF32, w.data()));
  const LoraTarget& target = *Target(name);
  principal_ = PissaOf(w, stored.shape[0], stored.shape[1], target.r, target.scale);
  return absl::OkStatus();
}

void MergedRows::Apply(const std::string& name, int64_t begin, int64_t end, int64_t width,
                       std::vector<float>& rows) const {
  if (const int index = parameters_.IndexOf(name); index >= 0) {
    const float* saved = parameters_.Part(parameters_.values(), index).view().as<float>();
    std::copy(saved + begin * width, saved + end * width, rows.begin());
    return;
  }
  const std::string path = Path(name);
  const double scale = Target(name)->scale;
  const View w = MakeView(rows.data(), DType::kF32, context_.device(), {end - begin, width});
  if (IsEmbedding(name)) {
    const Tensor a = Value(path + ".lora_embedding_A"), b = Value(path + ".lora_embedding_B");
    kernels::Gemm(context_.stream, kernels::Transposed(a).Slice(0, begin, end),
                  kernels::Transposed(b), w, {.alpha = scale, .beta = 1});
    return;
  }
  const Tensor a = Value(path + ".lora_A.weight");
  const Tensor b = Value(path + ".lora_B.weight").Slice(0, begin, end);
  if (pissa_) {
    const int64_t r = Target(name)->r;
    const auto view = [&](const float* values, int64_t height, int64_t columns) {
      return MakeView(const_cast<float*>(values), DType::kF32, context_.device(),
                      {height, columns});
    };
    kernels::Gemm(context_.stream, view(principal_.b.data() + begin * r, end - begin, r),
                  view(principal_.a.data(), r, width), w, {.alpha = -scale, .beta = 1});
  }
  kernels::Gemm(context_.stream, b, a, w, {.alpha = scale, .beta = 1});
  if (!trainable_.dora) return;
  const float* magnitude = Value(path + ".lora_magnitude_vector").view().as<float>() + begin;
  for (int64_t row = 0; row < end - begin; ++row) {
    float* values = rows.data() + row * width;
    double sum = 0;
    for (int64_t c = 0; c < width; ++c) sum += static_cast<double>(values[c]) * values[c];
    const float factor = magnitude[row] / static_cast<float>(std::sqrt(sum));
    for (int64_t c = 0; c < width; ++c) values[c] *= factor;
  }
}

}  // namespace lockstep::nn

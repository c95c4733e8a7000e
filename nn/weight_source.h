// Where first values of weights come from: files, or a seed.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "nn/weights.h"
#include "tensor/context.h"
#include "tensor/tensor.h"

namespace lockstep::nn {

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // Fills contiguous memory with the tensor of this Hugging Face name, converted to its dtype.
  virtual absl::Status Fill(const Context& context, const std::string& name,
                            const Tensor& destination) const = 0;
};

class FileWeights final : public WeightSource {
 public:
  explicit FileWeights(WeightFiles files) : files_(std::move(files)) {}
  absl::Status Fill(const Context& context, const std::string& name,
                    const Tensor& destination) const override {
    return files_.Load(context, name, destination);
  }

 private:
  WeightFiles files_;
};

// Matrices are normal with the config's initializer_range, biases zero, norms the identity.
class RandomWeights final : public WeightSource {
 public:
  RandomWeights(const ModelConfig& config, uint64_t seed)
      : deviation_(config.initializer_range),
        norm_(config.norm_adds_one ? 0.0 : 1.0),
        seed_(seed) {}
  absl::Status Fill(const Context& context, const std::string& name,
                    const Tensor& destination) const override;

 private:
  double deviation_, norm_;
  uint64_t seed_;
};

// Writes these values, converted, to `destination` on its device.
void Assign(const Context& context, const std::vector<float>& values, const Tensor& destination);

}  // namespace lockstep::nn

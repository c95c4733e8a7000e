// The weights of a Hugging Face folder: model.safetensors, or the shards that
// model.safetensors.index.json names, as one set of named tensors.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nn/modules.h"
#include "nn/safetensors.h"
#include "tensor/context.h"
#include "tensor/tensor.h"

namespace lockstep::nn {

// SafetensorsFile::Read by all threads.
absl::Status ReadParallel(const SafetensorsFile& file, const StoredTensor& tensor, int64_t begin,
                          int64_t end, DType dtype, void* out);

// Whether two tensors of one shape have equal bytes once they are of type `dtype`.
absl::StatusOr<bool> HaveEqualValues(const SafetensorsFile& file_a, const StoredTensor& a,
                                     const SafetensorsFile& file_b, const StoredTensor& b,
                                     DType dtype);

// Whether the folder holds such files, complete or not.
bool HasWeights(const std::string& directory);

class WeightFiles {
 public:
  struct Entry {
    std::shared_ptr<const SafetensorsFile> file;
    const StoredTensor* tensor;  // in `file`, under the file's own name
  };

  // Maps the files and checks their headers. Names of a multimodal file's text part are brought to
  // the form of ModulesOf.
  static absl::StatusOr<WeightFiles> Open(const std::string& directory, const ModelConfig& config);

  // All of `specs` are there in their shapes, in a dtype that can be read, and nothing else is but
  // what is known to be without influence (then named in `left_alone`). The error lists everything
  // that is missing, surplus or misshapen, the likeliest cause first. A tied head may have a tensor
  // of its own if its values are the embedding's.
  absl::Status Check(const std::vector<WeightSpec>& specs, const ModelConfig& config,
                     std::vector<std::string>* left_alone) const;

  const Entry* Find(const std::string& name) const;
  const absl::btree_map<std::string, Entry>& entries() const { return entries_; }

  // Copies a tensor, which Check has seen, into contiguous memory of `context`'s device, converted
  // to its dtype. Rank and shape of `destination` are free as long as the elements are as many.
  absl::Status Load(const Context& context, const std::string& name,
                    const Tensor& destination) const;

 private:
  absl::Status CheckTiedHead(const ModelConfig& config) const;

  std::string directory_;
  absl::btree_map<std::string, Entry> entries_;
};

}  // namespace lockstep::nn

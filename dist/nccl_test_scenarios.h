// What ranks on GPUs do together in nccl_communicator_test, each in a process of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "dist/communicator.h"
#include "dist/store.h"
#include "tensor/context.h"
#include "tensor/runtime.h"
#include "tensor/tensor.h"

namespace lockstep::dist {

// What a rank of a scenario has.
struct Rank {
  const Context& context;
  StoreClient& store;
  Communicator& communicator;
  std::atomic<int>& failures;  // calls of the failure handler

  const Stream& stream() const { return context.stream; }
  int rank() const { return communicator.rank(); }
  int size() const { return communicator.size(); }

  template <typename T>
  Tensor OnDevice(const std::vector<T>& values) const {
    const Tensor tensor =
        Tensor::Empty(*context.allocator, DTypeOf<T>::value, {static_cast<int64_t>(values.size())});
    CopyToDevice(context.stream, values.data(), tensor.Mutable("test"));
    return tensor;
  }
  template <typename T>
  std::vector<T> ToHost(const Tensor& tensor) const {
    std::vector<T> values(static_cast<size_t>(tensor.numel()));
    CopyToHost(context.stream, tensor.view(), values.data());
    return values;
  }
};

using Scenario = void (*)(const Rank&);
const std::map<std::string, Scenario>& Scenarios();

}  // namespace lockstep::dist

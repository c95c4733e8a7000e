// Values and moments as they were at one moment, from which a checkpoint is written while training
// goes on.
//
//   ParameterCopy copy(context, parameters, memory);
//   copy.Reserve();             // in the background
//   copy.Begin();               // queued; what is queued behind it may change the parameters
//   copy.Read(part, take);      // part by part, in another thread
//
// It lies on the device where there is room for it: a copy of 15 GB there holds up the stream for
// some 10 ms, one to the host for 300 ms, and the host then needs two pieces of it at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "nn/flat_parameters.h"
#include "tensor/context.h"
#include "tensor/runtime.h"
#include "tensor/tensor.h"

namespace lockstep {

// A tensor of the state.
struct StatePart {
  std::string name;   // under which it is stored: "exp_avg.NAME"
  int buffer = 0;     // of FlatParameters::state()
  int parameter = 0;  // of FlatParameters::parameters()
};
std::vector<StatePart> PartsOfState(const nn::FlatParameters& parameters);

class ParameterCopy {
 public:
  // `parameters` outlive this. `memory`: [3, numel] on the device, of the values' dtype; not
  // defined: the copy lies in host memory.
  ParameterCopy(const Context& context, const nn::FlatParameters& parameters, const Tensor& memory);

  // Takes what host memory it needs, which is pinned for a GPU and takes a while. Once, from any
  // thread, before anything else.
  void Reserve();
  // Copies in the order of the stream.
  void Begin();

  // Hands the bytes of a part to `take`, in pieces, one after the other. Waits for what Begin has
  // queued. From any thread, one at a time.
  using TakeFn = absl::FunctionRef<absl::Status(absl::string_view bytes)>;
  absl::Status Read(const StatePart& part, TakeFn take);

  const nn::FlatParameters& parameters() const { return parameters_; }

 private:
  bool on_device() const { return memory_.defined(); }

  const Context context_;
  const nn::FlatParameters& parameters_;
  const std::vector<Tensor> state_;  // what is copied
  const Tensor memory_;
  const std::unique_ptr<Event> copied_;
  std::vector<std::unique_ptr<HostCopy>> in_host_;  // a copy of each buffer; or two pieces of any
};

}  // namespace lockstep

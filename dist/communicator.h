// Collectives between the ranks of a run.
//
//   Communicator::Work sum = communicator.AllReduce(gradients, ReduceOp::kSum, stream);
//   …                                          // backward goes on
//   communicator.Wait(sum, stream);            // what follows on `stream` sees the sums
//
// A collective starts after what `stream` holds when it is called, runs beside it, and runs after
// the collectives called before. All ranks call the same collectives in the same order with the
// same shapes. The memory belongs to the collective until Wait. One thread calls.
//
// A collective never reports an error to its caller: when a peer is lost the rank cannot go on, and
// the communicator hands the error to `FailureHandler`, which ends the process (world.h). Views are
// contiguous; one that is not, or a dtype without the operation, is a programming error (fatal).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tensor/device.h"
#include "tensor/view.h"

namespace lockstep::dist {

enum class ReduceOp { kSum, kMax };

class Communicator {
 public:
  // Number of a collective, from 1 in the order of the calls, hence the same on all ranks.
  struct Work {
    int64_t sequence = 0;
  };
  // Called once, in a thread of the communicator, when collective `what` has failed.
  using FailureHandler = std::function<void(const absl::Status& error, const std::string& what)>;

  virtual ~Communicator() = default;  // communicates nothing
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  // data = op over ranks of data, in place. kF64, kF32, kBF16, kI64, kI32; integer sums wrap, bf16
  // sums are rounded at each addition. `what` is how a stall report calls it, e.g. "bucket 3".
  Work AllReduce(const View& data, ReduceOp op, Stream stream, absl::string_view what = "");
  // data = data of rank `root`, in place. Any dtype.
  Work Broadcast(const View& data, int root, Stream stream, absl::string_view what = "");
  // whole = the ranks' parts, one behind the other: whole.numel() == size() * part.numel(). Any
  // dtype. They do not overlap; or `part` is its place in `whole`.
  Work AllGather(const View& part, const View& whole, Stream stream, absl::string_view what = "");
  // part = the rank's part of the sum over ranks of whole: whole.numel() == size() * part.numel().
  // `whole` is overwritten; `part` may be its place in it. The same types.
  Work ReduceScatter(const View& whole, const View& part, Stream stream,
                     absl::string_view what = "");
  // Done when every rank has reached it.
  Work Barrier(Stream stream, absl::string_view what = "");

  // Orders `stream` behind `work`: on the CPU returns when it is done, on CUDA at once.
  virtual void Wait(Work work, Stream stream) = 0;

  // Milliseconds that streams have stood in Wait in all, as far as that is over: what the
  // collectives cost beyond what they hide behind other work, peers' lateness included. By the
  // caller's thread.
  virtual double waited_ms() = 0;

  // Ends every collective in flight with an error, from any thread; none can follow. No failure is
  // handed on.
  virtual void Abort() = 0;

  // How far this rank is; from any thread. Where ranks wait for each other, those with the smallest
  // `submitted` have not arrived.
  struct Position {
    int64_t submitted = 0;
    int64_t completed = 0;
    std::string current;  // name of the collective behind `completed`, "" if there is none
  };
  virtual Position position() const = 0;

 protected:
  Communicator(int rank, int size) : rank_(rank), size_(size) {}

  // One collective as it was called.
  struct Call {
    enum class Kind { kAllReduce, kBroadcast, kAllGather, kReduceScatter, kBarrier };
    Kind kind;
    View input;   // what is read: data, part (AllGather) or whole (ReduceScatter)
    View output;  // what is written; equals `input` for in-place collectives
    ReduceOp op = ReduceOp::kSum;
    int root = 0;
    std::string name;  // "all_reduce bucket 3"
  };
  virtual Work Submit(Call call, Stream stream) = 0;

 private:
  const int rank_;
  const int size_;
};

// The communicator of a world of one: nothing to exchange, every collective is done when called
// (CPU and CUDA, as no memory is touched but for AllGather and ReduceScatter between different
// buffers, which are for host memory only).
std::unique_ptr<Communicator> MakeSoloCommunicator();

// Sum or maximum of one host value over the ranks; waits for it. For figures outside the step.
int64_t AllReduceValue(Communicator& communicator, int64_t value, ReduceOp op,
                       absl::string_view what);
double AllReduceValue(Communicator& communicator, double value, ReduceOp op,
                      absl::string_view what);
// The same for `mine`, as many values on each rank: those of rank 0, then of rank 1, …
std::vector<double> AllGatherValues(Communicator& communicator, std::vector<double> mine,
                                    absl::string_view what);

}  // namespace lockstep::dist

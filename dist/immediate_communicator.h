// Collectives that are done when they are called: those of a world of one, and of tests.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/check.h"
#include "dist/communicator.h"

namespace lockstep::dist {

class ImmediateCommunicator : public Communicator {
 public:
  void Wait(Work work, Stream stream) override { CHECK_LE(work.sequence, count_); }
  double waited_ms() override { return 0; }
  void Abort() override {}
  Position position() const override {
    const int64_t count = count_;
    return {count, count, ""};
  }

 protected:
  using Communicator::Communicator;

  // Writes what the call puts out.
  virtual void Do(const Call& call) = 0;

 private:
  Work Submit(Call call, Stream stream) final {
    Do(call);
    return {++count_};
  }

  std::atomic<int64_t> count_{0};
};

}  // namespace lockstep::dist

// Signals as bytes in a pipe, so that a poll loop can wait for them beside everything else.
#pragma once

#include <signal.h>

#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "dist/socket.h"

namespace lockstep::dist {

// Catches the signals while it lives, in whatever thread they arrive. One at a time in a process.
class SignalPipe {
 public:
  explicit SignalPipe(std::initializer_list<int> signals);
  ~SignalPipe();  // restores what was before
  SignalPipe(const SignalPipe&) = delete;
  SignalPipe& operator=(const SignalPipe&) = delete;

  int fd() const { return read_end_.get(); }
  std::optional<int> Next();  // a signal that has arrived; does not wait

 private:
  Fd read_end_, write_end_;
  std::vector<std::pair<int, struct sigaction>> before_;
};

}  // namespace lockstep::dist

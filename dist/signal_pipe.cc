#include "dist/signal_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "base/check.h"

namespace lockstep::dist {
namespace {

std::atomic<int> pipe_of_signals{-1};

void Forward(int signal) {
  const int saved_errno = errno;
  const unsigned char byte = static_cast<unsigned char>(signal);
  (void)!write(pipe_of_signals, &byte, 1);
  errno = saved_errno;
}

}  // namespace

SignalPipe::SignalPipe(std::initializer_list<int> signals) {
  int ends[2];
  PCHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) << "pipe";
  read_end_ = Fd(ends[0]);
  write_end_ = Fd(ends[1]);
  CHECK_EQ(pipe_of_signals.exchange(write_end_.get()), -1) << "[signal pipe] there is one already";
  struct sigaction action = {};
  action.sa_handler = &Forward;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : signals) {
    struct sigaction before;
    PCHECK(sigaction(signal, nullptr, &before) == 0);
    if (signal == SIGHUP && before.sa_handler == SIG_IGN) continue;  // nohup
    PCHECK(sigaction(signal, &action, nullptr) == 0);
    before_.emplace_back(signal, before);
  }
}

SignalPipe::~SignalPipe() {
  for (const auto& [signal, before] : before_) sigaction(signal, &before, nullptr);
  pipe_of_signals = -1;
}

std::optional<int> SignalPipe::Next() {
  unsigned char signal = 0;
  if (read(read_end_.get(), &signal, 1) != 1) return std::nullopt;
  return signal;
}

}  // namespace lockstep::dist

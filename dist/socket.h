// TCP sockets with time limits. Every descriptor is close-on-exec.
//
// A time limit counts time in which this process runs: one that was stopped (Ctrl-Z) and continued
// has not used it up.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lockstep::dist {

using Milliseconds = std::chrono::milliseconds;

// Owns a file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.Release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { Close(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release();
  void Close();

 private:
  int fd_ = -1;
};

// Listens on an address of this machine (IP address or host name); port 0 takes any free one.
// AlreadyExists where the port is taken, FailedPrecondition where the address is not this
// machine's.
absl::StatusOr<Fd> Listen(const std::string& address, int port);

// Connects; the connection sends small messages at once (TCP_NODELAY).
absl::StatusOr<Fd> ConnectTo(const std::string& address, int port, Milliseconds timeout);

// Exactly `size` bytes. Unavailable when the other side is gone, DeadlineExceeded when it is slow.
absl::Status ReadFull(const Fd& socket, void* data, size_t size, Milliseconds timeout);
absl::Status WriteFull(const Fd& socket, const void* data, size_t size, Milliseconds timeout);

int LocalPort(const Fd& socket);
std::string LocalAddress(const Fd& socket);  // numeric

// This machine's name, for reports.
std::string HostName();

}  // namespace lockstep::dist

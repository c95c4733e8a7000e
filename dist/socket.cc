#include "dist/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lockstep::dist {
namespace {

constexpr Milliseconds kSlice{100};

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::StatusOr<AddressList> Resolve(const std::string& address, int port, int flags) {
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot resolve ", address, ": ", gai_strerror(error)));
  }
  return AddressList(list, &freeaddrinfo);
}

absl::Status Failed(const std::string& action, int error) {
  const std::string text = absl::StrCat(action, ": ", strerror(error));
  if (error == EADDRINUSE) return absl::AlreadyExistsError(text);
  if (error == EADDRNOTAVAIL) return absl::FailedPreconditionError(text);
  return absl::UnavailableError(text);
}

// Waits for `events`, a slice at a time.
absl::Status WaitFor(int fd, int16_t events, Milliseconds* left) {
  while (true) {
    pollfd entry = {fd, events, 0};
    const Milliseconds slice = std::min(kSlice, *left);
    const int ready = poll(&entry, 1, static_cast<int>(slice.count()));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return Failed("poll", errno);
    if (*left <= slice) return absl::DeadlineExceededError("no answer in time");
    *left -= slice;
  }
}

std::string Numeric(const sockaddr_storage& address, socklen_t size) {
  char host[NI_MAXHOST] = "";
  getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof(host), nullptr, 0,
              NI_NUMERICHOST);
  return host;
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = other.Release();
  }
  return *this;
}

int Fd::Release() { return std::exchange(fd_, -1); }

void Fd::Close() {
  if (fd_ >= 0) close(Release());
}

absl::StatusOr<Fd> Listen(const std::string& address, int port) {
  absl::StatusOr<AddressList> list = Resolve(address, port, AI_PASSIVE);
  if (!list.ok()) return list.status();
  absl::Status error = absl::UnavailableError(absl::StrCat("no address for ", address));
  for (const addrinfo* entry = list->get(); entry != nullptr; entry = entry->ai_next) {
    Fd socket(::socket(entry->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.valid()) {
      error = Failed("socket", errno);
      continue;
    }
    const int on = 1;
    setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(socket.get(), entry->ai_addr, entry->ai_addrlen) != 0 ||
        listen(socket.get(), 1024) != 0) {
      error = Failed(absl::StrCat("listen on ", address, ":", port), errno);
      continue;
    }
    return socket;
  }
  return error;
}

namespace {

// Where nobody listens yet on a port of this machine, TCP may take that very port as the caller's
// own and connect the socket with itself (simultaneous open, RFC 9293, 3.5).
bool IsConnectedToItself(const Fd& socket) {
  sockaddr_storage own{}, peer{};
  socklen_t own_size = sizeof(own), peer_size = sizeof(peer);
  return getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &own_size) == 0 &&
         getpeername(socket.get(), reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0 &&
         own_size == peer_size && std::memcmp(&own, &peer, own_size) == 0;
}

}  // namespace

absl::StatusOr<Fd> ConnectTo(const std::string& address, int port, Milliseconds timeout) {
  absl::StatusOr<AddressList> list = Resolve(address, port, 0);
  if (!list.ok()) return list.status();
  absl::Status error = absl::UnavailableError(absl::StrCat("no address for ", address));
  for (const addrinfo* entry = list->get(); entry != nullptr; entry = entry->ai_next) {
    Fd socket(::socket(entry->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.valid()) return Failed("socket", errno);
    const std::string action = absl::StrCat("connect to ", address, ":", port);
    if (connect(socket.get(), entry->ai_addr, entry->ai_addrlen) != 0) {
      if (errno != EINPROGRESS) {
        error = Failed(action, errno);
        continue;
      }
      Milliseconds left = timeout;
      error = WaitFor(socket.get(), POLLOUT, &left);
      if (!error.ok()) continue;
      int failure = 0;
      socklen_t size = sizeof(failure);
      getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &failure, &size);
      if (failure != 0) {
        error = Failed(action, failure);
        continue;
      }
    }
    if (IsConnectedToItself(socket)) {
      error = Failed(action, ECONNREFUSED);
      continue;
    }
    const int on = 1;
    setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return socket;
  }
  return error;
}

absl::Status ReadFull(const Fd& socket, void* data, size_t size, Milliseconds timeout) {
  char* next = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = recv(socket.get(), next, size, 0);
    if (got > 0) {
      next += got;
      size -= static_cast<size_t>(got);
    } else if (got == 0) {
      return absl::UnavailableError("the other side closed the connection");
    } else if (errno == EAGAIN) {
      if (absl::Status s = WaitFor(socket.get(), POLLIN, &timeout); !s.ok()) return s;
    } else if (errno != EINTR) {
      return Failed("receive", errno);
    }
  }
  return absl::OkStatus();
}

absl::Status WriteFull(const Fd& socket, const void* data, size_t size, Milliseconds timeout) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t put = send(socket.get(), next, size, MSG_NOSIGNAL);
    if (put >= 0) {
      next += put;
      size -= static_cast<size_t>(put);
    } else if (errno == EAGAIN) {
      if (absl::Status s = WaitFor(socket.get(), POLLOUT, &timeout); !s.ok()) return s;
    } else if (errno != EINTR) {
      return Failed("send", errno);
    }
  }
  return absl::OkStatus();
}

int LocalPort(const Fd& socket) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  PCHECK(getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port
                   : reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

std::string LocalAddress(const Fd& socket) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  PCHECK(getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  return Numeric(address, size);
}

std::string HostName() {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  return name;
}

}  // namespace lockstep::dist

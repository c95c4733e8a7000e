#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "dist/socket.h"
#include "dist/store.h"
#include "dist/store_protocol.h"

namespace lockstep::dist {
namespace {

using store_protocol::Request;
using Clock = std::chrono::steady_clock;

constexpr size_t kMaxStrangers = 64;
constexpr std::chrono::seconds kHelloTimeout{5};

// Every rank holds two connections; the usual limit on files, 1,024, would end at 500 ranks.
void AllowManyConnections() {
  rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &files);
}

struct Connection {
  Fd socket;
  Clock::time_point opened;
  bool welcome = false;     // has shown the token
  bool broken = false;      // to be closed
  std::string in, out;      // received and not used, to be sent
  std::string waiting_for;  // key of a kWait that is not there yet
  Clock::time_point wait_until;
};

class Server final : public StoreServer {
 public:
  Server(Fd listener, const std::string& token)
      : listener_(std::move(listener)),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        hello_(store_protocol::Hello(token)),
        port_(LocalPort(listener_)) {
    PCHECK(wake_.valid());
    thread_ = std::thread([this] { Serve(); });
  }

  ~Server() override {
    const uint64_t one = 1;
    PCHECK(write(wake_.get(), &one, sizeof(one)) == sizeof(one));
    thread_.join();
  }

  int port() const override { return port_; }

 private:
  void Serve() {
    std::vector<pollfd> entries;
    while (true) {
      entries = {{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
      for (const Connection& c : connections_) {
        const int in = c.waiting_for.empty() ? POLLIN : 0;
        const int out = c.out.empty() ? 0 : POLLOUT;
        entries.push_back({c.socket.get(), static_cast<int16_t>(in | out | POLLRDHUP), 0});
      }
      const int timeout_ms = 100;  // for hellos and waits that run out of time
      if (poll(entries.data(), entries.size(), timeout_ms) < 0) PCHECK(errno == EINTR) << "poll";
      if (entries[0].revents != 0) return;
      size_t i = 2;
      for (Connection& c : connections_) {
        const int16_t events = entries[i++].revents;
        if ((events & POLLIN) != 0) Receive(&c);
        if ((events & POLLOUT) != 0) Send(&c);
        if ((events & (POLLERR | POLLHUP | POLLRDHUP | POLLNVAL)) != 0) c.broken = true;
      }
      if (entries[1].revents != 0) Accept();
      Expire();
      connections_.remove_if([](const Connection& c) { return c.broken; });
    }
  }

  void Accept() {
    while (true) {
      Fd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!socket.valid()) break;
      Connection connection;
      connection.socket = std::move(socket);
      connection.opened = Clock::now();
      connections_.push_back(std::move(connection));
    }
    const auto is_stranger = [](const Connection& c) { return !c.welcome && !c.broken; };
    size_t strangers = std::count_if(connections_.begin(), connections_.end(), is_stranger);
    for (Connection& c : connections_) {  // the oldest come first
      if (strangers <= kMaxStrangers) break;
      if (!is_stranger(c)) continue;
      c.broken = true;
      --strangers;
    }
  }

  void Expire() {
    const Clock::time_point now = Clock::now();
    for (Connection& c : connections_) {
      if (!c.welcome && now - c.opened > kHelloTimeout) c.broken = true;
      if (!c.waiting_for.empty() && now > c.wait_until) {
        c.waiting_for.clear();
        Answer(&c, store_protocol::kNotThere, "");
        Process(&c);
      }
    }
  }

  void Receive(Connection* c) {
    char buffer[65536];
    // No more than one request lies here at a time, so the sender waits, not our memory.
    const size_t limit = c->welcome ? kMaxMessageBytes + 4 : store_protocol::kHelloBytes;
    while (c->in.size() < limit) {
      const ssize_t got =
          recv(c->socket.get(), buffer, std::min(sizeof(buffer), limit - c->in.size()), 0);
      if (got < 0) {
        if (errno != EAGAIN && errno != EINTR) c->broken = true;
        break;
      }
      if (got == 0) {
        c->broken = true;
        break;
      }
      c->in.append(buffer, static_cast<size_t>(got));
    }
    Process(c);
  }

  // Compares all bytes whatever they are, so that the time tells nothing of the token.
  bool IsHello(absl::string_view bytes) const {
    unsigned difference = 0;
    for (size_t i = 0; i < hello_.size(); ++i) {
      difference |= static_cast<unsigned char>(bytes[i] ^ hello_[i]);
    }
    return difference == 0;
  }

  void Process(Connection* c) {
    if (!c->welcome && !c->broken) {
      const size_t known = std::min(c->in.size(), store_protocol::kMagic.size());
      if (c->in.substr(0, known) != store_protocol::kMagic.substr(0, known)) c->broken = true;
      if (c->broken || c->in.size() < store_protocol::kHelloBytes) return;
      if (!IsHello(c->in)) {
        c->broken = true;
        return;
      }
      c->welcome = true;
      c->in.clear();
      c->out = std::string(store_protocol::kMagic);
      Send(c);
    }
    while (!c->broken && c->waiting_for.empty()) {
      absl::string_view bytes = c->in;
      uint32_t size = 0;
      if (!store_protocol::TakeU32(&bytes, &size)) break;
      if (size > kMaxMessageBytes) {
        c->broken = true;
        break;
      }
      if (bytes.size() < size) break;
      Request request;
      if (!store_protocol::DecodeRequest(bytes.substr(0, size), &request)) {
        c->broken = true;
        break;
      }
      c->in.erase(0, 4 + size);
      Execute(c, std::move(request));
    }
  }

  void Execute(Connection* c, Request request) {
    const auto found = entries_.find(request.key);
    switch (request.operation) {
      case store_protocol::kSet:
        Put(request.key, std::move(request.value));
        return Answer(c, store_protocol::kDone, "");
      case store_protocol::kGet:
      case store_protocol::kWait:
        if (found != entries_.end()) return Answer(c, store_protocol::kDone, found->second);
        if (request.operation == store_protocol::kGet) {
          return Answer(c, store_protocol::kNotThere, "");
        }
        c->waiting_for = request.key;
        c->wait_until = Clock::now() +
                        std::chrono::milliseconds(std::min<uint64_t>(request.argument, 86400000));
        return;
      case store_protocol::kAdd: {
        int64_t sum = 0;
        if (found != entries_.end() && !absl::SimpleAtoi(found->second, &sum)) c->broken = true;
        sum = static_cast<int64_t>(static_cast<uint64_t>(sum) + request.argument);
        Put(request.key, absl::StrCat(sum));
        return Answer(c, store_protocol::kDone, absl::StrCat(sum));
      }
      case store_protocol::kList: {
        std::map<std::string, std::string> matching;
        for (auto entry = entries_.lower_bound(request.key);
             entry != entries_.end() && absl::StartsWith(entry->first, request.key); ++entry) {
          matching.insert(*entry);
        }
        return Answer(c, store_protocol::kDone, store_protocol::EncodeEntries(matching));
      }
    }
  }

  void Put(const std::string& key, std::string value) {
    for (Connection& c : connections_) {
      if (c.waiting_for != key) continue;
      c.waiting_for.clear();
      Answer(&c, store_protocol::kDone, value);
    }
    entries_[key] = std::move(value);
  }

  void Answer(Connection* c, store_protocol::Reply reply, absl::string_view value) {
    c->out += store_protocol::Framed(absl::StrCat(std::string(1, static_cast<char>(reply)), value));
    Send(c);
  }

  void Send(Connection* c) {
    while (!c->out.empty()) {
      const ssize_t put = send(c->socket.get(), c->out.data(), c->out.size(), MSG_NOSIGNAL);
      if (put < 0) {
        if (errno != EAGAIN && errno != EINTR) c->broken = true;
        return;
      }
      c->out.erase(0, static_cast<size_t>(put));
    }
  }

  const Fd listener_;
  const Fd wake_;
  const std::string hello_;
  const int port_;
  std::list<Connection> connections_;
  std::map<std::string, std::string> entries_;
  std::thread thread_;
};

}  // namespace

std::string RandomToken() {
  char bytes[kTokenBytes / 2];
  PCHECK(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes));
  return absl::BytesToHexString(absl::string_view(bytes, sizeof(bytes)));
}

absl::StatusOr<std::unique_ptr<StoreServer>> StoreServer::Start(const std::string& address,
                                                                int port, int candidates,
                                                                const std::string& token) {
  AllowManyConnections();
  absl::StatusOr<Fd> listener = absl::InvalidArgumentError("no port to listen on");
  for (int i = 0; i < candidates; ++i) {
    listener = Listen(address, port == 0 ? 0 : port + i);
    if (listener.ok() || !absl::IsAlreadyExists(listener.status())) break;
  }
  if (!listener.ok()) return listener.status();
  return std::make_unique<Server>(*std::move(listener), token);
}

}  // namespace lockstep::dist

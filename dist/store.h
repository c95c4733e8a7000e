// A small key-value store over TCP, by which the ranks of a run find and watch each other: Gloo's
// and NCCL's rendezvous, start-up agreement, heartbeats, stop requests, the verdict about a lost
// rank. Served by the parent of node 0, or by rank 0 under another launcher.
//
// Protocol (little endian). A connection begins with a hello: 8 bytes "LKSTORE1", then 32 bytes of
// token, padded with zeros; the server answers with "LKSTORE1". Then requests and replies
// alternate, each a u32 length (at most kMaxMessageBytes) and that many bytes:
//   request  u8 operation | u32 key length, key | u64 argument | value
//   reply    u8 status (0 found or done, 1 not there) | value
// A connection whose hello is wrong, or not complete within 5 s, or that breaks the format, is
// closed; so is the oldest one without a hello when there are more than 64. Nothing else happens.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep::dist {

inline constexpr size_t kMaxKeyBytes = 256;
inline constexpr size_t kMaxMessageBytes = size_t{1} << 20;
inline constexpr size_t kTokenBytes = 32;

// 32 random hexadecimal digits from the kernel.
std::string RandomToken();

// Serves until it is destroyed, in a thread of its own.
class StoreServer {
 public:
  // Listens on `address` (an IP address or host name of this machine) and the first free port of
  // [port, port + candidates); port 0: any free one. The token has at most kTokenBytes.
  static absl::StatusOr<std::unique_ptr<StoreServer>> Start(const std::string& address, int port,
                                                            int candidates,
                                                            const std::string& token);
  virtual ~StoreServer() = default;
  virtual int port() const = 0;
};

// Asked while something is waited for: whether that is over.
using GiveUp = absl::FunctionRef<bool()>;
inline bool Never() { return false; }

// One connection. Calls may come from several threads; they take turns, also while one waits.
class StoreClient {
 public:
  // Tries until `timeout`, or until `give_up` says so (Cancelled), every port of [port,
  // port + candidates) for a server that takes the token.
  static absl::StatusOr<std::unique_ptr<StoreClient>> Connect(const std::string& address, int port,
                                                              int candidates,
                                                              const std::string& token,
                                                              std::chrono::milliseconds timeout,
                                                              GiveUp give_up = Never);
  virtual ~StoreClient() = default;

  // Errors: Unavailable when the server is gone, DeadlineExceeded for Wait.
  virtual absl::Status Set(absl::string_view key, absl::string_view value) = 0;
  virtual absl::StatusOr<std::optional<std::string>> Get(absl::string_view key) = 0;
  virtual absl::StatusOr<std::string> Wait(absl::string_view key,
                                           std::chrono::milliseconds timeout) = 0;
  // Adds to a counter (0 where the key is new) and returns the sum.
  virtual absl::StatusOr<int64_t> Add(absl::string_view key, int64_t amount) = 0;
  // Every key that begins with `prefix`, as far as it fits into one message, in order.
  virtual absl::StatusOr<std::map<std::string, std::string>> List(absl::string_view prefix) = 0;

  // The address of this machine by which it reaches the server, where other ranks reach it too.
  virtual const std::string& local_address() const = 0;
  virtual int port() const = 0;  // where the server was found
};

}  // namespace lockstep::dist

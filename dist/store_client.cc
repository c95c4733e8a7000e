#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "dist/socket.h"
#include "dist/store.h"
#include "dist/store_protocol.h"

namespace lockstep::dist {
namespace {

using store_protocol::Request;

constexpr Milliseconds kAnswerTimeout{15000};
constexpr Milliseconds kHelloTimeout{2000};
constexpr Milliseconds kPause{50};

class Client final : public StoreClient {
 public:
  Client(Fd socket, int port)
      : socket_(std::move(socket)), local_address_(LocalAddress(socket_)), port_(port) {}

  absl::Status Set(absl::string_view key, absl::string_view value) override {
    return Exchange({store_protocol::kSet, std::string(key), 0, std::string(value)}, kAnswerTimeout)
        .status();
  }

  absl::StatusOr<std::optional<std::string>> Get(absl::string_view key) override {
    return Exchange({store_protocol::kGet, std::string(key), 0, ""}, kAnswerTimeout);
  }

  absl::StatusOr<std::string> Wait(absl::string_view key, Milliseconds timeout) override {
    ASSIGN_OR_RETURN(auto value, Exchange({store_protocol::kWait, std::string(key),
                                           static_cast<uint64_t>(timeout.count()), ""},
                                          timeout + kAnswerTimeout));
    if (value) return *std::move(value);
    return absl::DeadlineExceededError(
        absl::StrCat("no \"", key, "\" after ", timeout.count() / 1000, " s"));
  }

  absl::StatusOr<int64_t> Add(absl::string_view key, int64_t amount) override {
    ASSIGN_OR_RETURN(auto value, Exchange({store_protocol::kAdd, std::string(key),
                                           static_cast<uint64_t>(amount), ""},
                                          kAnswerTimeout));
    int64_t sum = 0;
    if (!value || !absl::SimpleAtoi(*value, &sum)) return Malformed();
    return sum;
  }

  absl::StatusOr<std::map<std::string, std::string>> List(absl::string_view prefix) override {
    ASSIGN_OR_RETURN(auto value,
                     Exchange({store_protocol::kList, std::string(prefix), 0, ""}, kAnswerTimeout));
    std::map<std::string, std::string> entries;
    if (!value || !store_protocol::DecodeEntries(*value, &entries)) return Malformed();
    return entries;
  }

  const std::string& local_address() const override { return local_address_; }
  int port() const override { return port_; }

 private:
  absl::Status Malformed() {
    error_ = absl::UnavailableError("[store] a malformed answer");
    return error_;
  }

  // The answer's value, nothing for "not there". A connection that failed once stays failed: an
  // answer that comes late must not be taken for the next one's.
  absl::StatusOr<std::optional<std::string>> Exchange(const Request& request,
                                                      Milliseconds timeout) {
    CHECK(!request.key.empty() || request.operation == store_protocol::kList);
    CHECK_LE(request.key.size(), kMaxKeyBytes) << request.key;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!error_.ok()) return error_;
    absl::StatusOr<std::optional<std::string>> answer = DoExchange(request, timeout);
    if (!answer.ok()) {
      error_ = absl::UnavailableError(absl::StrCat("[store] ", answer.status().message()));
      return error_;
    }
    return answer;
  }

  absl::StatusOr<std::optional<std::string>> DoExchange(const Request& request,
                                                        Milliseconds timeout) {
    const std::string message = store_protocol::Framed(store_protocol::EncodeRequest(request));
    RETURN_IF_ERROR(WriteFull(socket_, message.data(), message.size(), kAnswerTimeout));
    std::string head(4, '\0');
    RETURN_IF_ERROR(ReadFull(socket_, head.data(), head.size(), timeout));
    absl::string_view bytes = head;
    uint32_t size = 0;
    store_protocol::TakeU32(&bytes, &size);
    if (size < 1 || size > kMaxMessageBytes) return absl::UnavailableError("a malformed answer");
    std::string reply(size, '\0');
    RETURN_IF_ERROR(ReadFull(socket_, reply.data(), size, kAnswerTimeout));
    if (reply[0] == store_protocol::kNotThere) return std::optional<std::string>();
    return std::optional<std::string>(reply.substr(1));
  }

  const Fd socket_;
  const std::string local_address_;
  const int port_;
  std::mutex mutex_;
  absl::Status error_;
};

absl::StatusOr<Fd> Greet(const std::string& address, int port, const std::string& token) {
  ASSIGN_OR_RETURN(Fd socket, ConnectTo(address, port, kHelloTimeout));
  const std::string hello = store_protocol::Hello(token);
  RETURN_IF_ERROR(WriteFull(socket, hello.data(), hello.size(), kHelloTimeout));
  std::string answer(store_protocol::kMagic.size(), '\0');
  absl::Status status = ReadFull(socket, answer.data(), answer.size(), kHelloTimeout);
  if (!status.ok() || answer != store_protocol::kMagic) {
    return absl::PermissionDeniedError(
        absl::StrCat("what listens on ", address, ":", port, " is not this run's store"));
  }
  return socket;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StoreClient>> StoreClient::Connect(const std::string& address,
                                                                  int port, int candidates,
                                                                  const std::string& token,
                                                                  Milliseconds timeout,
                                                                  GiveUp give_up) {
  const auto start = std::chrono::steady_clock::now();
  absl::Status error = absl::UnavailableError("not tried");
  while (true) {
    for (int i = 0; i < candidates; ++i) {
      if (give_up()) return absl::CancelledError("given up");
      absl::StatusOr<Fd> socket = Greet(address, port + i, token);
      if (socket.ok()) return std::make_unique<Client>(*std::move(socket), port + i);
      // What refuses the token says more than the silence of the other ports.
      if (error.ok() || !absl::IsPermissionDenied(error) ||
          absl::IsPermissionDenied(socket.status())) {
        error = socket.status();
      }
    }
    if (std::chrono::steady_clock::now() - start >= timeout) break;
    std::this_thread::sleep_for(kPause);
  }
  return absl::DeadlineExceededError(absl::StrCat("no store at ", address, ":", port, " after ",
                                                  timeout.count() / 1000,
                                                  " s; last: ", error.message()));
}

}  // namespace lockstep::dist

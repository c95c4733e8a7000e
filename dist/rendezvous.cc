#include "dist/rendezvous.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "dist/socket.h"

namespace lockstep::dist {
namespace {

constexpr std::chrono::seconds kReachItself{5};
constexpr char kLoopbackHint[] =
    "the loopback interface is missing or down: ip link set lo up; ip addr add 127.0.0.1/8 dev lo";

// Where several processes take themselves for rank 0, each would serve on a port of its own.
absl::Status CheckOnlyStore(const LaunchEnv& env, int own_port) {
  for (int i = 0; i < env.port_candidates; ++i) {
    const int port = env.master_port + i;
    if (env.master_port == 0 || port == own_port) continue;
    const auto other =
        StoreClient::Connect(env.master_addr, port, 1, env.token, std::chrono::milliseconds(0));
    if (!other.ok()) continue;
    return UserError(absl::StrCat("store at ", env.master_addr, ":", own_port),
                     absl::StrCat("another process serves this run at port ", port,
                                  ": several processes take themselves for rank 0"),
                     "give each process its own rank (--node_rank, or its launcher's variables)");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<StoreServer>> StartStore(const LaunchEnv& env) {
  auto server =
      StoreServer::Start(env.master_addr, env.master_port, env.port_candidates, env.token);
  const std::string where = absl::StrCat("store at ", env.master_addr, ":", env.master_port);
  if (server.ok()) {
    const auto itself = ConnectTo(env.master_addr, (*server)->port(), kReachItself);
    if (!itself.ok()) {
      return UserError(
          where, absl::StrCat(HostName(), " cannot reach itself: ", itself.status().message()),
          env.num_nodes == 1 ? kLoopbackHint : "");
    }
    RETURN_IF_ERROR(CheckOnlyStore(env, (*server)->port()));
    return server;
  }
  if (absl::IsFailedPrecondition(server.status())) {
    if (env.num_nodes == 1) return UserError(where, server.status().message(), kLoopbackHint);
    return UserError(
        where,
        absl::StrCat("this process is node 0 of ", env.num_nodes,
                     " and has to serve there, but that is no address of ", HostName()),
        "either the address is wrong, or every node takes itself for node 0: give each its own "
        "--node_rank, or start it with its launcher's variables");
  }
  return UserError(where, server.status().message(),
                   absl::IsAlreadyExists(server.status()) ? "choose another --master_port" : "");
}

absl::StatusOr<std::unique_ptr<StoreClient>> FindStore(const LaunchEnv& env,
                                                       std::chrono::milliseconds timeout,
                                                       GiveUp give_up) {
  auto client = StoreClient::Connect(env.master_addr, env.master_port, env.port_candidates,
                                     env.token, timeout, give_up);
  const std::string where = absl::StrCat("store at ", env.master_addr, ":", env.master_port);
  if (!client.ok()) {
    return UserError(where, client.status().message(),
                     "is node 0 running, and does a firewall let its port through?");
  }
  const std::string& local = (*client)->local_address();
  if (env.num_nodes > 1 && (absl::StartsWith(local, "127.") || local == "::1")) {
    return UserError(where,
                     absl::StrCat("want an address that the other nodes reach, but on ", HostName(),
                                  " it leads to the loopback address ", local),
                     "give --master_addr as the IP address of node 0");
  }
  return client;
}

}  // namespace lockstep::dist

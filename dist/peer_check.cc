#include "dist/peer_check.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "tensor/cuda_check.h"

namespace lockstep::dist {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kWords = 1 << 15;  // 256 KiB
constexpr char kWrong[] = "wrong";  // what a rank says about a pair
constexpr char kNone[] = "none";

uint64_t Pattern(int rank, size_t i) {
  return MixKeys(static_cast<uint64_t>(rank) + 1, static_cast<uint64_t>(i));
}

// Tells machines apart whose names are equal.
std::string ThisHost() {
  return std::string(
      absl::StripAsciiWhitespace(ReadFile("/proc/sys/kernel/random/boot_id").value_or("unknown")));
}

// A GPU's number in this process, or -1 if it is not visible here.
int NumberOf(const std::string& bus_id) {
  int number = -1;
  if (cudaDeviceGetByPCIBusId(&number, bus_id.c_str()) != cudaSuccess) {
    cudaGetLastError();
    return -1;
  }
  return number;
}

// This rank's GPU: memory with its pattern, and a second piece for others' patterns.
class Side {
 public:
  Side(int rank, Device device) : device_(device.index) {
    CUDA_CHECK(cudaSetDevice(device_));
    CUDA_CHECK(cudaMalloc(&own_, kWords * sizeof(uint64_t)));
    CUDA_CHECK(cudaMalloc(&received_, kWords * sizeof(uint64_t)));
    CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    std::vector<uint64_t> words(kWords);
    for (size_t i = 0; i < kWords; ++i) words[i] = Pattern(rank, i);
    CUDA_CHECK(cudaMemcpyAsync(own_, words.data(), kWords * sizeof(uint64_t),
                               cudaMemcpyHostToDevice, stream_));
    CUDA_CHECK(cudaStreamSynchronize(stream_));  // peers read it, whom no stream of ours orders
  }

  // Of a copy that is stuck, memory and stream are left to the end of the process.
  ~Side() {
    if (stuck_) return;
    cudaFree(own_);
    cudaFree(received_);
    cudaStreamDestroy(stream_);
  }

  std::string Address() const {
    cudaIpcMemHandle_t handle;
    CUDA_CHECK(cudaIpcGetMemHandle(&handle, own_));
    char bus_id[32] = {};
    CUDA_CHECK(cudaDeviceGetPCIBusId(bus_id, sizeof(bus_id), device_));
    return absl::StrCat(
        bus_id, "\t",
        absl::BytesToHexString({reinterpret_cast<const char*>(&handle), sizeof(handle)}));
  }

  // "" if the peer's pattern arrives; kNone where there is no way; kWrong and how otherwise.
  std::string Read(int peer, const std::string& address, std::chrono::milliseconds limit) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(address, '\t');
    const int number = NumberOf(parts.first);
    int can = 1;  // also where ranks share this GPU, which is no peer of itself
    if (number >= 0 && number != device_)
      CUDA_CHECK(cudaDeviceCanAccessPeer(&can, device_, number));
    const std::string bytes = absl::HexStringToBytes(parts.second);
    cudaIpcMemHandle_t handle;
    if (can == 0 || bytes.size() != sizeof(handle)) return kNone;
    std::memcpy(&handle, bytes.data(), sizeof(handle));
    void* theirs = nullptr;
    if (cudaIpcOpenMemHandle(&theirs, handle, cudaIpcMemLazyEnablePeerAccess) != cudaSuccess) {
      cudaGetLastError();
      return kNone;
    }
    CUDA_CHECK(cudaMemsetAsync(received_, 0, kWords * sizeof(uint64_t), stream_));
    CUDA_CHECK(cudaMemcpyAsync(received_, theirs, kWords * sizeof(uint64_t),
                               cudaMemcpyDeviceToDevice, stream_));
    const auto deadline = Clock::now() + limit;
    cudaError_t state;
    while ((state = cudaStreamQuery(stream_)) == cudaErrorNotReady && Clock::now() < deadline) {
      std::this_thread::yield();
    }
    if (state == cudaErrorNotReady) {
      stuck_ = true;
      return absl::StrCat(kWrong, ": not there within ", limit.count(), " ms");
    }
    CUDA_CHECK(state);
    std::vector<uint64_t> words(kWords);
    CUDA_CHECK(
        cudaMemcpy(words.data(), received_, kWords * sizeof(uint64_t), cudaMemcpyDeviceToHost));
    CUDA_CHECK(cudaIpcCloseMemHandle(theirs));
    size_t different = 0;
    for (size_t i = 0; i < kWords; ++i) different += words[i] != Pattern(peer, i);
    if (different == 0) return "";
    return absl::StrCat(kWrong, ": ", different, " of ", kWords, " words arrive changed");
  }

 private:
  const int device_;
  void* own_ = nullptr;
  void* received_ = nullptr;
  cudaStream_t stream_ = nullptr;
  bool stuck_ = false;
};

}  // namespace

absl::StatusOr<PeerReport> TestPeers(int rank, int size, StoreClient& store,
                                     const std::string& name, Device device,
                                     std::chrono::milliseconds limit,
                                     std::chrono::milliseconds timeout) {
  const std::string host = ThisHost();
  const auto start = Clock::now();
  Side side(rank, device);
  RETURN_IF_ERROR(
      store.Set(absl::StrCat(name, "/", rank), absl::StrCat(host, "\n", side.Address())));
  PeerReport report;
  std::vector<std::string> failed;
  for (int k = 1; k < size; ++k) {  // each rank begins with another one
    const int peer = (rank + k) % size;
    ASSIGN_OR_RETURN(const std::string text, store.Wait(absl::StrCat(name, "/", peer), timeout));
    const std::pair<std::string, std::string> entry =
        absl::StrSplit(text, absl::MaxSplits('\n', 1));
    if (entry.first != host) continue;
    ++report.num_pairs;
    const std::string found = side.Read(peer, entry.second, limit);
    if (!found.empty()) failed.push_back(absl::StrCat(peer, " to ", rank, " ", found));
    if (absl::StrContains(found, "not there")) break;  // nothing comes behind it
  }
  report.ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  RETURN_IF_ERROR(store.Set(absl::StrCat(name, "/result/", rank), absl::StrJoin(failed, "; ")));

  // Everybody hears everybody, so all decide alike; and nobody's memory goes before it was read.
  std::vector<std::string> all;
  for (int r = 0; r < size; ++r) {
    ASSIGN_OR_RETURN(const std::string result,
                     store.Wait(absl::StrCat(name, "/result/", r), timeout));
    if (!result.empty()) all.push_back(result);
    if (absl::StrContains(result, kWrong)) report.usable = false;
  }
  if (all.empty()) return report;
  constexpr size_t kMaxShown = 4;
  const std::string pairs =
      absl::StrCat(absl::StrJoin(all.begin(), all.begin() + std::min(kMaxShown, all.size()), "; "),
                   all.size() > kMaxShown ? "; …" : "");
  report.line = absl::StrCat(
      report.usable ? "no direct way between the GPUs of some ranks, sums take NCCL's other one ("
                    : "direct copies between GPUs go wrong and are not used: NCCL_P2P_DISABLE=1 (",
      pairs, ")");
  return report;
}

}  // namespace lockstep::dist

// A bad network between two hosts, for tests: an Ethernet link that delays and loses frames.
//
//   lossy_link NAME_A NAME_B DELAY_MS LOSS_PERCENT
//
// Makes two TAP interfaces (move them into the hosts' network namespaces; needs root) and carries
// each frame from one to the other, DELAY_MS later, or not at all. Which frames are lost follows
// from a fixed seed. Runs until it is killed; the interfaces end with it. Prints "ready" when they
// are there.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "base/check.h"

namespace lockstep::dist {
namespace {

using Clock = std::chrono::steady_clock;

int OpenTap(const std::string& name) {
  const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  PCHECK(fd >= 0) << "/dev/net/tun";
  ifreq request = {};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  CHECK_LT(name.size(), sizeof(request.ifr_name)) << name;
  std::memcpy(request.ifr_name, name.data(), name.size());
  PCHECK(ioctl(fd, TUNSETIFF, &request) == 0) << name;
  return fd;
}

// One direction of the link.
class Direction {
 public:
  Direction(int from, int to, std::chrono::milliseconds delay, double loss, unsigned seed)
      : from_(from), to_(to), delay_(delay), loss_(loss), random_(seed) {}

  void Receive() {
    char frame[65536];
    for (ssize_t size; (size = read(from_, frame, sizeof(frame))) > 0;) {
      if (std::uniform_real_distribution<double>(0, 1)(random_) < loss_) continue;
      frames_.push_back({Clock::now() + delay_, std::string(frame, static_cast<size_t>(size))});
    }
  }

  void Deliver() {
    while (!frames_.empty() && frames_.front().due <= Clock::now()) {
      // A frame that the other side cannot take is lost, as on any wire.
      (void)!write(to_, frames_.front().bytes.data(), frames_.front().bytes.size());
      frames_.pop_front();
    }
  }

 private:
  struct Frame {
    Clock::time_point due;
    std::string bytes;
  };
  const int from_, to_;
  const std::chrono::milliseconds delay_;
  const double loss_;
  std::mt19937 random_;
  std::deque<Frame> frames_;
};

int Main(const std::vector<std::string>& arguments) {
  int delay_ms = 0;
  double loss_percent = 0;
  CHECK(arguments.size() == 5 && absl::SimpleAtoi(arguments[3], &delay_ms) &&
        absl::SimpleAtod(arguments[4], &loss_percent))
      << "lossy_link NAME_A NAME_B DELAY_MS LOSS_PERCENT";
  const int a = OpenTap(arguments[1]), b = OpenTap(arguments[2]);
  std::puts("ready");
  std::fflush(stdout);
  const std::chrono::milliseconds delay(delay_ms);
  Direction forth(a, b, delay, loss_percent / 100, 1), back(b, a, delay, loss_percent / 100, 2);
  pollfd entries[] = {{a, POLLIN, 0}, {b, POLLIN, 0}};
  while (true) {
    const int timeout_ms = 1;  // for frames that become due
    PCHECK(poll(entries, 2, timeout_ms) >= 0 || errno == EINTR);
    forth.Receive();
    back.Receive();
    forth.Deliver();
    back.Deliver();
  }
}

}  // namespace
}  // namespace lockstep::dist

int main(int argc, char** argv) { return lockstep::dist::Main({argv, argv + argc}); }

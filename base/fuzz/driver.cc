#include "base/fuzz/driver.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "base/fuzz/allocation_limit.h"
#include "base/fuzz/mutate.h"
#include "gtest/gtest.h"

namespace {

constexpr unsigned kSecondsPerInput = 10;
constexpr size_t kAllocationFloor = 16 << 20;
constexpr size_t kAllocationPerByte = 64;

// The input being tried, for the signal handler.
std::atomic<const std::string*> current{nullptr};
char crash_path[4096];

void Say(const char* text) { (void)!write(STDERR_FILENO, text, strlen(text)); }

// Writes the input that the process dies of, then lets it die.
void OnDeath(int signal_number) {
  const std::string* input = current;
  if (input != nullptr) {
    const int file = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file >= 0) {
      (void)!write(file, input->data(), input->size());
      close(file);
    }
    Say(signal_number == SIGALRM ? "one input took too long; it is in " : "died of the input in ");
    Say(crash_path);
    Say("\n");
  }
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

void CatchDeath() {
  const char* folder = getenv("TEST_UNDECLARED_OUTPUTS_DIR");
  std::snprintf(crash_path, sizeof(crash_path), "%s/crash_input",
                folder != nullptr ? folder : "/tmp");
  for (int s : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM, SIGTERM}) signal(s, OnDeath);
}

void Try(const std::string& input) {
  // A copy of exactly this size, so that AddressSanitizer sees a read behind its end.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  current = &input;
  alarm(kSecondsPerInput);
  lockstep::fuzz::allocation_limit = kAllocationFloor + kAllocationPerByte * input.size();
  EXPECT_EQ(LLVMFuzzerTestOneInput(bytes.data(), bytes.size()), 0);
  lockstep::fuzz::allocation_limit = SIZE_MAX;
  alarm(0);
  current = nullptr;
}

int iterations = 0;
std::vector<std::string> seeds;

TEST(Fuzz, SeedsAndTheirMutations) {
  for (const std::string& seed : seeds) Try(seed);
  Try("");
  std::mt19937_64 random(20260101);
  for (int i = 0; i < iterations && !HasFailure(); ++i) {
    std::string input = seeds.empty() ? "" : seeds[random() % seeds.size()];
    lockstep::fuzz::Mutate(seeds, random, input);
    Try(input);
  }
}

}  // namespace

// Arguments: the number of mutations, then the seeds' files.
int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s ITERATIONS [SEED_FILE...]\n", argv[0]);
    return 1;
  }
  iterations = std::atoi(argv[1]);
  for (int i = 2; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "cannot read seed %s\n", argv[i]);
      return 1;
    }
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  CatchDeath();
  return RUN_ALL_TESTS();
}

// The interface of fuzz tests (bazel/defs.bzl: lockstep_fuzz_test), and what runs them.
#pragma once

#include <cstddef>
#include <cstdint>

// What a fuzz test defines (libFuzzer's interface): gives `data` to the reader under test, which
// may refuse it but must not crash, hang, or allocate more than the input justifies. Returns 0.
//
// The driver of this folder calls it, in an ordinary test run, with every seed and with a fixed
// number of mutations of the seeds; the random numbers are fixed too, so a failure repeats. It
// fails when the process dies, when one input takes more than 10 s, and when one allocation
// exceeds 16 MiB and 64 times the input. The input that it died of is then written to
// "crash_input" in $TEST_UNDECLARED_OUTPUTS_DIR (Bazel keeps it below
// bazel-testlogs/<package>/<test>/test.outputs), and can be made a seed.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

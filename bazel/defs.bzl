"""The project's C++ rules: the only place with compiler options and test defaults."""

load("//bazel:cuda.bzl", "CUDA_ONLY", "cuda_library")

# x86-64-v3 (AVX2, FMA) is the oldest processor that the CPU back end is compiled for.
COPTS = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-march=x86-64-v3"]

GTEST = "@com_google_googletest//:gtest_main"

SANITIZER = "//bazel:sanitizer_options"

# In a bundle for another machine (tools/gpu_bundle) bin/ and tests/ lie beside lib/. RPATH, not
# RUNPATH, so that it also holds for the libraries' own libraries.
BUNDLE_LINKOPTS = ["-Wl,-rpath,$$ORIGIN/../lib", "-Wl,--disable-new-dtags"]

# Nobody reads floating-point exception flags or errno; keeping them would keep selects and square
# roots from vectorizing. No option here changes a result.
KERNEL_COPTS = ["-O3", "-fno-trapping-math", "-fno-math-errno"]

def lockstep_library(name, copts = [], **kwargs):
    native.cc_library(name = name, copts = COPTS + copts, **kwargs)

def lockstep_binary(name, deps = [], copts = [], linkopts = [], **kwargs):
    native.cc_binary(
        name = name,
        copts = COPTS + copts,
        linkopts = linkopts + BUNDLE_LINKOPTS,
        deps = deps + [SANITIZER],
        **kwargs
    )

def lockstep_test(name, srcs = None, deps = [], copts = [], linkopts = [], size = "small", **kwargs):
    """A GoogleTest binary; `srcs` defaults to <name>.cc. With tags = ["gpu"] it needs a GPU."""
    native.cc_test(
        name = name,
        srcs = [name + ".cc"] if srcs == None else srcs,
        copts = COPTS + copts,
        linkopts = linkopts + BUNDLE_LINKOPTS,
        deps = deps + [GTEST, SANITIZER],
        size = size,
        **kwargs
    )

def lockstep_fuzz_test(name, srcs = None, deps = [], seeds = [], iterations = 20000, copts = [], size = "small", **kwargs):
    """A fuzz test: <name>.cc defines LLVMFuzzerTestOneInput (base/fuzz/driver.h).

    In an ordinary test run it is a GoogleTest that tries the seeds and a fixed number of their
    mutations, the same ones every time. To search on, for as long as one likes, by coverage:

      bazel run --config=fuzz //data:documents_fuzz_test -- -max_total_time=60 CORPUS_DIR

    (Debian: clang-14 libclang-rt-14-dev.)

    Args:
      name: the test; ends in _fuzz_test.
      srcs: defaults to <name>.cc.
      deps: libraries under test.
      seeds: small valid files, and ones that once failed.
      iterations: the number of mutations in an ordinary test run.
      copts: further compiler options.
      size: the test's size.
      **kwargs: as in cc_test.
    """
    native.cc_test(
        name = name,
        srcs = srcs or [name + ".cc"],
        args = select({
            "//bazel:fuzzing": [],
            "//conditions:default": [str(iterations)] + ["$(locations %s)" % s for s in seeds],
        }),
        copts = COPTS + copts,
        data = seeds,
        deps = deps + [SANITIZER] + select({
            "//bazel:fuzzing": ["//base/fuzz:libfuzzer"],
            "//conditions:default": ["//base/fuzz:driver"],
        }),
        size = size,
        **kwargs
    )

def _op_test(name, deps, size):
    # The cases are a library of their own, for gpu_tests.
    lockstep_library(
        name = name + "_test_cases",
        testonly = True,
        srcs = native.glob([name + "_test.cc", name + "_cuda_test.cc"], allow_empty = True),
        deps = [":" + name, "@com_google_googletest//:gtest"] + deps,
        alwayslink = True,
    )
    lockstep_test(
        name = name + "_test",
        srcs = [],
        deps = [":" + name + "_test_cases"],
        size = size,
    )

def gpu_tests(name):
    """All ops' tests of the package in one binary, for a machine with a GPU (tools/gpu_bundle).

    Stands last in the BUILD file. The cases are those of the ops' own tests, hence "manual".

    Args:
      name: the test.
    """
    lockstep_test(
        name = name,
        srcs = [],
        deps = [":" + rule for rule in native.existing_rules() if rule.endswith("_test_cases")],
        tags = ["gpu", "manual"],
    )

def tensor_op(name, deps = [], cpu_deps = [], cuda_deps = [], test_deps = [], test_size = "small"):
    """One kernel: <name>.h (contract), .cc (checks, dispatch), _cpu.cc, _cuda.cu, _test.cc,
    _cuda_test.cc (the GPU's results against the CPU's).

    Where <name>_cuda.cu does not exist, or the build is without CUDA, the dispatch reports it.
    Adding an op is adding its files: nothing here, and no other C++ file, lists ops.

    Args:
      name: the file stem.
      deps: further libraries whose headers the contract includes.
      cpu_deps: libraries of the CPU side alone.
      cuda_deps: libraries of the CUDA side alone.
      test_deps: libraries of the test alone.
      test_size: the test's size.
    """
    contract = ["//tensor", "//tensor/kernels:dispatch"] + deps
    has_cuda = len(native.glob([name + "_cuda.cu"], allow_empty = True)) > 0
    native.cc_library(
        name = name + "_contract",
        hdrs = [name + ".h"],
        deps = contract,
    )
    if has_cuda:
        cuda_library(
            name = name + "_cuda",
            srcs = [name + "_cuda.cu"],
            deps = [name + "_contract"],
            implementation_deps = [
                "//tensor/kernels/device",
                "@local_config_cuda//:cudart",
            ] + cuda_deps,
            target_compatible_with = CUDA_ONLY,
        )
    cuda_side = [":" + name + "_cuda"] if has_cuda else []
    cuda_define = ["LOCKSTEP_OP_HAS_CUDA=1"] if has_cuda else []
    lockstep_library(
        name = name,
        srcs = [name + ".cc", name + "_cpu.cc"],
        hdrs = [name + ".h"],
        copts = KERNEL_COPTS,
        local_defines = select({
            "//bazel:with_cuda": cuda_define,
            "//conditions:default": [],
        }),
        deps = contract + cpu_deps + select({
            "//bazel:with_cuda": cuda_side,
            "//conditions:default": [],
        }),
    )
    _op_test(name, test_deps + ["//tensor/kernels:testing"], test_size)

def autograd_op(name, deps = [], test_deps = [], test_size = "small"):
    """One differentiable op: <name>.h, .cc (forward and, right below it, backward), _test.cc."""
    lockstep_library(
        name = name,
        srcs = [name + ".cc"],
        hdrs = [name + ".h"],
        deps = ["//autograd"] + deps,
    )
    _op_test(name, test_deps + ["//autograd:gradcheck"], test_size)

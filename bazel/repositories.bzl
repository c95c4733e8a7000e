"""Repositories that are detected on the machine: the CUDA toolkit, the reference material, and
Python packages that tests compare with."""

def _cuda_impl(rctx):
    root = rctx.os.environ.get("CUDA_HOME", "/usr/local/cuda")
    found = rctx.path(root + "/bin/nvcc").exists
    rctx.file("defs.bzl", "CUDA_AVAILABLE = %s\nCUDA_HOME = %s\n" % (found, repr(root)))
    build = "package(default_visibility = [\"//visibility:public\"])\n"
    build += "cc_library(name = \"headers\", hdrs = glob([\"include/**\"], allow_empty = True), includes = [\"include\"])\n"
    if found:
        # All but cccl, which nvcc finds by itself.
        for entry in rctx.path(root + "/include").readdir():
            name = entry.basename
            if name.endswith(".h") or name.endswith(".hpp") or name in ["crt", "nvtx3", "nccl_device"]:
                rctx.symlink(entry, "include/" + name)
    libraries = {
        "cudart": ["-lcudart"],
        "cudart_static": ["-lcudart_static", "-ldl", "-lrt", "-pthread"],
        "cublaslt": ["-lcublasLt"],
        "cudnn": ["-lcudnn"],
        "nccl": ["-lnccl"],
    }
    for name, options in libraries.items():
        if found:
            options = ["-L%s/lib64" % root, "-Wl,-rpath,%s/lib64" % root] + options
        else:
            options = []
        build += "cc_library(name = \"%s\", linkopts = %s, deps = [\":headers\"])\n" % (name, repr(options))
    rctx.file("BUILD", build)

_cuda_configure = repository_rule(implementation = _cuda_impl, local = True, environ = ["CUDA_HOME"])

def _shared_impl(rctx):
    # ../shared beside the checkout, file by file, so that tests may name what they read as data.
    # Where it is missing the repository is empty and the tests that want it say that they skip.
    root = rctx.path(Label("//:WORKSPACE")).dirname.dirname.get_child("shared")
    root = rctx.os.environ.get("LOCKSTEP_SHARED", str(root))
    files = []
    if rctx.path(root).exists:
        out = rctx.execute(["find", "-L", ".", "-type", "f"], working_directory = root)
        files = sorted([f[2:] for f in out.stdout.split("\n") if f])
        for f in files:
            rctx.symlink(root + "/" + f, f)
    build = "package(default_visibility = [\"//visibility:public\"])\n"
    for group in ["goldens", "assets/stories260k", "assets/tokenizers", "assets/tokenizer_vectors", "assets/chat", "assets/datasets"]:
        members = [f for f in files if f.startswith(group + "/")]
        build += "filegroup(name = %s, srcs = %s)\n" % (repr(group.split("/")[-1]), repr(members))
    rctx.file("BUILD", build)

shared_files = repository_rule(implementation = _shared_impl, local = True, environ = ["LOCKSTEP_SHARED"])

def _pypi_impl(rctx):
    # No --python-version of the running pip: the wheels are for the Python that tests run.
    platforms = ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"]
    command = ["python3", "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "--retries", "1", "--timeout", "20"]
    command += ["--python-version", "3.11", "--dest", "."]
    for platform in platforms:
        command += ["--platform", platform]
    out = rctx.execute(command + ["-r", rctx.path(rctx.attr.requirements)], timeout = 300)
    if out.return_code:
        rctx.execute(["sh", "-c", "rm -f *.whl"])
    rctx.file("BUILD", """filegroup(
    name = "wheels",
    srcs = glob(["*.whl"], allow_empty = True),
    visibility = ["//visibility:public"],
)
""")

# @name//:wheels, the packages of a requirements file that pins their hashes, for Debian 12's Python
# 3.11. Empty where pip is missing or reaches no package index: tests that want them say that they
# skip. Asked once an output base, and only for a target that needs it.
pypi_packages = repository_rule(
    implementation = _pypi_impl,
    attrs = {"requirements": attr.label(allow_single_file = True)},
)

def _headers_impl(rctx):
    rctx.file("BUILD", rctx.attr.build)
    if "CUDA_AVAILABLE = True" not in rctx.read(Label("@local_config_cuda//:defs.bzl")):
        # Nothing compiles this then, but whoever builds //... looks at the package.
        rctx.file("wheel/include/" + rctx.attr.header, "#error there is no CUDA toolkit\n")
        return

    # A Python wheel as what it is, a zip file with headers in it.
    rctx.file("requirements.txt", rctx.attr.requirement)
    out = rctx.execute([
        "python3", "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
        "--require-hashes", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64",
        "-r", "requirements.txt", "-d", ".",
    ])
    if out.return_code:
        # Only what compiles it fails, and says why.
        why = out.stderr.strip().split("\n")[-1]
        message = "%s is missing: %s (--config=cpu builds without it)" % (rctx.attr.requirement.split(" ")[0], why)
        rctx.file("wheel/include/" + rctx.attr.header, "#error %s\n" % message)
        return

    rctx.symlink([f for f in rctx.path(".").readdir() if f.basename.endswith(".whl")][0], "wheel.zip")
    rctx.extract("wheel.zip", output = "wheel")

# Headers that only the CUDA back end includes.
_pypi_headers = repository_rule(
    implementation = _headers_impl,
    attrs = {"requirement": attr.string(), "header": attr.string(), "build": attr.string()},
)

def cuda_repositories():
    """What the CUDA back end is built with: the toolkit, where the machine has one, and headers.

    The headers are cuDNN's frontend's; only builds with CUDA fetch them, by their hash.
    """
    _cuda_configure(name = "local_config_cuda")
    _pypi_headers(
        name = "cudnn_frontend",
        build = """
cc_library(
    name = "cudnn_frontend",
    hdrs = glob(["wheel/include/**"]),
    includes = ["wheel/include"],
    visibility = ["//visibility:public"],
    deps = ["@local_config_cuda//:cudart", "@local_config_cuda//:cudnn"],
)
""",
        header = "cudnn_frontend.h",
        requirement = "nvidia-cudnn-frontend==1.18.0 --hash=sha256:382ea063b92cbfd5b442cb75ff8422932d78276aecf139e46713ed1ad3d07af4",
    )

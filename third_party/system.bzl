"""Debian's libraries as Bazel repositories, under the labels that their own projects use.

/usr/include is searched by the compiler itself, so a target here is nothing but link options.
Another workspace can bring its own Abseil or GoogleTest under the same labels.
docs/dependencies.md says why each one is here.
"""

_PUBLIC = "package(default_visibility = [\"//visibility:public\"])\n"

# Bazel package: its targets. pkg-config knows each as absl_<target>.
_ABSL = {
    "base": ["base"],
    "cleanup": ["cleanup"],
    "container": ["flat_hash_map", "flat_hash_set", "inlined_vector", "btree"],
    "functional": ["any_invocable", "function_ref"],
    "hash": ["hash"],
    "numeric": ["int128"],
    "status": ["status", "statusor"],
    "strings": ["strings", "str_format", "cord"],
    "synchronization": ["synchronization"],
    "time": ["time"],
    "types": ["span"],
}

def _static_link_options(rctx, target):
    out = rctx.execute(["/usr/bin/pkg-config", "--static", "--libs", "absl_" + target])
    if out.return_code:
        fail("pkg-config absl_%s (Debian: pkg-config libabsl-dev): %s" % (target, out.stderr))
    libraries = [o.strip()[2:] for o in out.stdout.split(" ") if o.strip().startswith("-labsl_")]
    return ["-l:lib%s.a" % library for library in libraries] + ["-lrt", "-pthread"]

def _absl_impl(rctx):
    for package, targets in _ABSL.items():
        build = _PUBLIC
        for target in targets:
            build += "cc_library(name = \"%s\", linkopts = %s)\n" % (
                target,
                repr(_static_link_options(rctx, target)),
            )
        rctx.file("absl/%s/BUILD" % package, build)

_absl = repository_rule(implementation = _absl_impl, local = True)

def _library_impl(rctx):
    if not rctx.path("/usr/include/" + rctx.attr.header).exists:
        fail("/usr/include/%s is missing: apt-get install %s" %
             (rctx.attr.header, rctx.attr.debian))
    rctx.file("BUILD", _PUBLIC + "".join([
        "cc_library(name = \"%s\", linkopts = %s)\n" % (target, repr(options))
        for target, options in rctx.attr.targets.items()
    ]))

_library = repository_rule(
    implementation = _library_impl,
    local = True,
    attrs = {
        "targets": attr.string_list_dict(),
        "header": attr.string(),
        "debian": attr.string(),
    },
)

# Libraries whose headers do not say which version they are, by pkg-config's names.
_VERSIONS = {"GFLAGS_VERSION": "gflags", "GLOG_VERSION": "libglog"}

def _versions_impl(rctx):
    text = "#pragma once\n"
    for macro, package in _VERSIONS.items():
        out = rctx.execute(["/usr/bin/pkg-config", "--modversion", package])
        version = out.stdout.strip() if out.return_code == 0 else "unknown"
        text += "#define %s \"%s\"\n" % (macro, version)
    rctx.file("library_versions.h", text)
    rctx.file("BUILD", _PUBLIC + "cc_library(name = \"library_versions\", " +
                       "hdrs = [\"library_versions.h\"], includes = [\".\"])\n")

_versions = repository_rule(implementation = _versions_impl, local = True)

def system_libraries():
    """Declares every library that the project links from Debian."""
    _versions(name = "library_versions")
    _absl(name = "com_google_absl")
    _library(
        name = "com_github_gflags_gflags",
        debian = "libgflags-dev",
        header = "gflags/gflags.h",
        targets = {"gflags": ["-l:libgflags.a", "-pthread"]},
    )
    _library(
        name = "com_github_google_glog",
        debian = "libgoogle-glog-dev",
        header = "glog/logging.h",
        targets = {"glog": ["-l:libglog.a", "-l:libgflags.a", "-lunwind", "-pthread"]},
    )
    _library(
        name = "com_google_googletest",
        debian = "libgtest-dev libgmock-dev",
        header = "gmock/gmock.h",
        targets = {
            "gtest": ["-l:libgmock.a", "-l:libgtest.a", "-pthread"],
            "gtest_main": ["-l:libgmock_main.a", "-l:libgmock.a", "-l:libgtest.a", "-pthread"],
        },
    )
    _library(
        name = "com_github_google_benchmark",
        debian = "libbenchmark-dev",
        header = "benchmark/benchmark.h",
        targets = {"benchmark": ["-lbenchmark", "-pthread"]},
    )
    _library(
        name = "onednn",
        debian = "libdnnl-dev",
        header = "dnnl.h",
        targets = {"onednn": ["-ldnnl", "-lgomp"]},
    )
    _library(
        name = "icu",
        debian = "libicu-dev",
        header = "unicode/normalizer2.h",
        # Shared: its data alone is 30 MB, which every program would carry.
        targets = {"icu": ["-licui18n", "-licuuc", "-licudata"]},
    )
    _library(
        name = "gloo",
        debian = "libgloo-dev",
        header = "gloo/allreduce.h",
        targets = {"gloo": ["-lgloo", "-pthread"]},
    )
    _library(
        name = "pcre2",
        debian = "libpcre2-dev",
        header = "pcre2.h",
        targets = {"pcre2": ["-l:libpcre2-8.a"]},
    )
    _library(
        name = "simdjson",
        debian = "libsimdjson-dev",
        header = "simdjson.h",
        targets = {"simdjson": ["-lsimdjson"]},
    )
    _library(
        name = "nlohmann_json",
        debian = "nlohmann-json3-dev",
        header = "nlohmann/json.hpp",
        targets = {"json": []},
    )
    _library(
        name = "zstd",
        debian = "libzstd-dev",
        header = "zstd.h",
        targets = {"zstd": ["-l:libzstd.a"]},
    )
    _library(
        name = "zlib",
        debian = "zlib1g-dev",
        header = "zlib.h",
        targets = {"zlib": ["-l:libz.a"]},
    )
    _library(
        name = "xxhash",
        debian = "libxxhash-dev",
        header = "xxhash.h",
        targets = {"xxhash": ["-l:libxxhash.a"]},
    )

"""cuda_library: .cu files through nvcc into objects that cc_* rules link."""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")
load("@local_config_cuda//:defs.bzl", "CUDA_HOME")

Setting = provider(fields = ["value"])

def _setting_impl(ctx):
    return Setting(value = ctx.build_setting_value)

bool_flag = rule(implementation = _setting_impl, build_setting = config.bool(flag = True))
string_flag = rule(implementation = _setting_impl, build_setting = config.string(flag = True))

# For `target_compatible_with`: the target exists only in builds with CUDA.
CUDA_ONLY = select({
    "//bazel:with_cuda": [],
    "//conditions:default": ["//bazel:incompatible"],
})

_MODE_FLAGS = {"opt": ["-O3", "-DNDEBUG"], "dbg": ["-O2", "-lineinfo"]}

def _compile(ctx, src, context):
    obj = ctx.actions.declare_file("_objs/%s/%s.o" % (ctx.label.name, src.basename[:-3]))
    args = ctx.actions.args()
    args.add_all(["-c", src, "-o", obj, "-std=c++20", "-ccbin=/usr/bin/g++"])
    args.add_all(["-Xcompiler=-fPIC,-Wall", "-Werror=all-warnings"])
    args.add_all(_MODE_FLAGS.get(ctx.var["COMPILATION_MODE"], ["-O2"]) + ctx.attr.copts)

    # These two make the object's bytes independent of the folder it was built in.
    args.add_all(["--objdir-as-tempdir", "-Xcudafe=--orig_src_path_name=" + src.path])
    for arch in ctx.attr._archs[Setting].value.split(","):
        # "90a": machine code for that one; "90ptx": PTX, which drivers of later GPUs translate.
        name = arch.replace("ptx", "")
        code = "compute_" if arch.endswith("ptx") else "sm_"
        args.add("-gencode=arch=compute_%s,code=%s%s" % (name, code, name))
    args.add_all(context.defines, format_each = "-D%s")
    args.add_all(depset(transitive = [context.quote_includes, context.includes]), before_each = "-I")
    args.add_all(context.system_includes, before_each = "-isystem")
    ctx.actions.run(
        executable = CUDA_HOME + "/bin/nvcc",
        arguments = [args],
        inputs = depset(ctx.files.srcs, transitive = [context.headers]),
        outputs = [obj],
        mnemonic = "CudaCompile",
        progress_message = "Compiling %s with nvcc" % src.short_path,
        use_default_shell_env = True,
    )
    return obj

def _cuda_library_impl(ctx):
    toolchain = find_cpp_toolchain(ctx)
    features = cc_common.configure_features(
        ctx = ctx,
        cc_toolchain = toolchain,
        requested_features = ctx.features,
        unsupported_features = ctx.disabled_features,
    )
    own = CcInfo(compilation_context = cc_common.create_compilation_context(
        headers = depset(ctx.files.hdrs),
        defines = depset(ctx.attr.defines),
    ))
    public = [own] + [d[CcInfo] for d in ctx.attr.deps]
    all = public + [d[CcInfo] for d in ctx.attr.implementation_deps]
    context = cc_common.merge_cc_infos(cc_infos = all).compilation_context
    objects = [_compile(ctx, src, context) for src in ctx.files.srcs if src.extension == "cu"]
    linking, _ = cc_common.create_linking_context_from_compilation_outputs(
        actions = ctx.actions,
        feature_configuration = features,
        cc_toolchain = toolchain,
        name = ctx.label.name,
        compilation_outputs = cc_common.create_compilation_outputs(
            objects = depset(objects),
            pic_objects = depset(objects),
        ),
        linking_contexts = [info.linking_context for info in all],
        disallow_dynamic_library = True,
        alwayslink = ctx.attr.alwayslink,
    )
    return [
        DefaultInfo(files = depset(objects)),
        CcInfo(
            compilation_context = cc_common.merge_cc_infos(cc_infos = public).compilation_context,
            linking_context = linking,
        ),
    ]

cuda_library = rule(
    implementation = _cuda_library_impl,
    fragments = ["cpp"],
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
    attrs = {
        "srcs": attr.label_list(allow_files = [".cu", ".cuh", ".h"]),
        "hdrs": attr.label_list(allow_files = [".cuh", ".h"]),
        # What srcs include is for them alone; what hdrs include is for those who use the library.
        "deps": attr.label_list(providers = [CcInfo]),
        "implementation_deps": attr.label_list(providers = [CcInfo]),
        "copts": attr.string_list(),
        "defines": attr.string_list(),
        "alwayslink": attr.bool(),
        "_archs": attr.label(default = "//bazel:cuda_archs"),
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
    },
)

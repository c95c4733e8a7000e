#!/bin/bash
# Writes compile_commands.json for clangd and other editors' tools: one entry for each C++ and CUDA
# file that Bazel compiles.
#
#   tools/dev/compile_commands.sh [targets, default //...]
set -euo pipefail
cd "$(dirname "$0")/../.."
targets=${*:-//...}
base=$(./bazelw info output_base 2>/dev/null)

# aquery prints each action's command one argument a line, quoted for the shell where need be:
#   Command Line: (exec /usr/bin/gcc \
#     -c \
#     base/file.cc \
#     -o \
#     bazel-out/k8-opt/bin/base/_objs/file/file.o)
./bazelw aquery --config=quiet --output=text \
  "mnemonic('CppCompile|CudaCompile', deps(${targets// / + }))" |
  awk -v root="$PWD" -v base="$base" '
    function json(s) {
      if (s ~ /^\047.*\047$/) s = substr(s, 2, length(s) - 2)
      sub(/^external\//, base "/external/", s)
      gsub(/\\/, "\\\\", s)
      gsub(/"/, "\\\"", s)
      return "\"" s "\""
    }
    BEGIN { print "[" }
    sub(/^  Command Line: \(exec /, "") { inside = 1; arguments = file = previous = "" }
    !inside { next }
    {
      sub(/^ +/, "")
      inside = sub(/ \\$/, "")
      if (!inside) sub(/\)$/, "")
      if (previous == "-c") file = $0
      if ($0 != "-fno-canonical-system-headers")
        arguments = arguments (arguments == "" ? "" : ", ") json($0)
      previous = $0
    }
    !inside && file != "" && !(file in seen) {
      seen[file] = 1
      printf "%s{\"directory\": %s, \"file\": %s, \"arguments\": [%s]}", separator, json(root),
        json(file), arguments
      separator = ",\n"
    }
    END { print "\n]" }' >compile_commands.json
echo "compile_commands.json: $(grep -c '"file"' compile_commands.json) files"

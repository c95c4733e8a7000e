#!/bin/bash
# Shows that another workspace can use the libraries by the names in the top BUILD file, with what
# docs/architecture.md tells it to declare. Analyzed, not built: nothing is compiled twice.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
workspace=$(mktemp -d)
trap 'chmod -R u+w "$workspace"; rm -rf "$workspace"' EXIT
cd "$workspace"

cat >WORKSPACE <<END
local_repository(name = "lockstep", path = "$root")
local_repository(name = "rules_cc", path = "$root/third_party/rules_cc")
local_repository(name = "rules_java", path = "/usr/share/bazel/rules/java")
local_repository(name = "remote_coverage_tools", path = "$root/third_party/remote_coverage_tools")

load("@lockstep//third_party:system.bzl", "system_libraries")
load("@lockstep//bazel:repositories.bzl", "cuda_repositories")

system_libraries()

cuda_repositories()
END
sed 's,--//bazel,--@lockstep//bazel,g' "$root/.bazelrc" >.bazelrc
bazel() { command bazel --batch --output_user_root="$workspace/output" "$@"; }

mapfile -t names < <(cd "$root" && ./bazelw query 'kind(alias, //:all)' 2>/dev/null)
[ ${#names[@]} -gt 0 ]
echo "cc_library(name = \"user\", deps = [$(printf '"@lockstep%s",' "${names[@]}")])" >BUILD
bazel build --config=quiet --nobuild //:user
echo "another workspace can use ${#names[@]} libraries"

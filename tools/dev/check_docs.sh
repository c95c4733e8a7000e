#!/bin/bash
# Shows that what the pages name is there: files in links and in backquotes, Bazel targets, flags.
set -euo pipefail
cd "$(dirname "$0")/../.."
pages=(README.md CONTRIBUTING.md docs/*.md examples/README.md)
folders='autograd|base|bazel|data|dist|docs|examples|nn|tensor|tests|third_party|tools|trainer'
failed=0

missing() {
  echo "$1: $2 is not there"
  failed=1
}

# found PATTERN PAGE: what the pattern matches, each once.
found() { grep -oE -- "$1" "$2" | sort -u || true; }

targets=$(./bazelw query //... 2>/dev/null)
for page in "${pages[@]}"; do
  for link in $(found '\]\([^)#:]+' "$page"); do
    link=${link#](}
    [ -e "$(dirname "$page")/$link" ] || missing "$page" "$link"
  done
  # With its folder, a name may lack its ending; without it must be whole.
  for path in $(found "\`($folders)/[A-Za-z0-9_./]+\`" "$page" | tr -d '`'); do
    compgen -G "$path*" >/dev/null || missing "$page" "$path"
  done
  # shellcheck disable=SC2016
  for file in $(found '`[a-z0-9_]+\.(cc|h|cu|cuh|sh|py)`' "$page" | tr -d '`' | grep -vE '^x(_|\.)'); do
    [ -n "$(git ls-files "*/$file")" ] || missing "$page" "$file"
  done
  for target in $(found '//[a-z_/]+:[a-z0-9_.]*[a-z0-9_]' "$page"); do
    file=${target#//}
    [ -e "${file/://}" ] || grep -qxF -- "$target" <<<"$targets" || missing "$page" "$target"
  done
  # A flag is a gflag (--noname too), or a script or another program takes it, as our files show.
  for flag in $(found '(^|[ `(])--[a-z][a-z_-]+' "$page" | sed 's/^[^-]//'); do
    name=${flag#--}
    git grep -qE "DEFINE_[a-z0-9]+\((${name}|${name#no})," -- '*.cc' ||
      git grep -qF -e "\"$name\"" -- '*.cc' || git grep -qF -e "$flag" -- ':!*.md' ||
      missing "$page" "$flag"
  done
done
exit $failed

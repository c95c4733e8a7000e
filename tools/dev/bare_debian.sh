#!/bin/bash
# Proves that a bare Debian 12 and a clone are enough: makes debootstrap's minbase (no compiler,
# no Python, no CUDA), puts a clone of this checkout's HEAD into it and runs bazelw there.
#
#   tools/dev/bare_debian.sh test //base/...
#   tools/dev/bare_debian.sh run //trainer:train
#
# Needs root, debootstrap and the network. The system is kept under $BARE_DEBIAN_DIR (default
# /tmp/bare_debian): `base` as debootstrap made it, `system` the copy that is used up; a copy is
# made afresh for each call unless BARE_DEBIAN_KEEP=1.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/../.." && pwd)
dir=${BARE_DEBIAN_DIR:-/tmp/bare_debian}
mirror=${BARE_DEBIAN_MIRROR:-}

if [ ! -e "$dir/base/etc/debian_version" ]; then
  mkdir -p "$dir"
  debootstrap --variant=minbase bookworm "$dir/base" ${mirror:+"$mirror"} >"$dir/debootstrap.log"
fi
if [ -z "${BARE_DEBIAN_KEEP:-}" ] || [ ! -d "$dir/system" ]; then
  rm -rf "$dir/system"
  cp -a "$dir/base" "$dir/system"
fi
cp /etc/resolv.conf /etc/hosts "$dir/system/etc/"
rm -rf "$dir/system/root/lockstep"
git clone -q --no-hardlinks "$checkout" "$dir/system/root/lockstep"

# A root of its own by pivot_root: inside a plain chroot the kernel refuses the user namespaces
# that Bazel's sandbox is made of.
inside=$(
  cat <<'END'
set -eu
system=$1; shift
mount --make-rprivate /
mount --bind "$system" "$system"
mount -t proc proc "$system/proc"
mount --rbind /dev "$system/dev"
mount --rbind /sys "$system/sys"
mount -t tmpfs tmpfs "$system/tmp"
mkdir -p "$system/.old"
cd "$system"
pivot_root . .old
cd /root/lockstep
umount -l /.old
exec env -i HOME=/root USER=root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb ./bazelw "$@"
END
)
exec unshare --mount --pid --fork --kill-child sh -c "$inside" sh "$dir/system" "$@"

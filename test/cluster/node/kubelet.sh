#!/usr/bin/env bash
# node/kubelet.sh VALUES COMMAND... - runs the kubelet with files of VALUES/ over those of the same name in /proc/sys, so that what it
# sets for a whole machine is set for nobody. Needs a mount namespace of its own, see components.sh.
set -euo pipefail
values=$1
shift
mount --make-rprivate /proc
(cd "$values" && find . -type f) | while read -r file; do
  [ ! -e "/proc/sys/$file" ] || mount --bind "$values/$file" "/proc/sys/$file"
done
exec "$@"

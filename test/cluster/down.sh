#!/usr/bin/env bash
# down.sh - ends the test cluster and removes everything of it: processes, namespaces (and with them mounts and links), cgroups, files.
# Works from any state, also after a kill -9 of any part. Says nothing when there is nothing.
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=cgroups.sh
source "$CLUSTER_DIR/cgroups.sh"

case ${CLUSTER:-own} in kind) exec "$CLUSTER_DIR/kind.sh" down ;; esac
need_root
if [ "${1:-}" != --locked ]; then # up.sh holds the lock itself
  exec 9<"$CLUSTER_DIR/lib.sh"
  flock -w 900 9 || die "another up.sh or down.sh holds the lock for more than 15 minutes"
fi

links() { ip -o link show type veth | grep -oE "^[0-9]+: $HOST_LINK[:@]"; }
links_gone() { ! links; }

HOST_LINK=
[ -f "$STATE/settings" ] && HOST_LINK=$(sed -n 's/^HOST_LINK=//p' "$STATE/settings")

cgroup_kill || die "some processes do not end: $(cgroup_processes | tr '\n' ' ')"
cgroup_remove || die "some cgroups cannot be removed, see $(cgroup_hierarchies | sed "s#\$#/$FMO_CLUSTER#" | tr '\n' ' ')"
if [ -n "$HOST_LINK" ]; then
  # The kernel removes the pair with the network namespace, a little later; one that never got there is still ours to remove.
  within 2 links_gone || ip link del "$HOST_LINK" 2>/dev/null || true
fi
# Mounts are the namespace's own and gone with it. Should one be here all the same, removing files must not reach through it.
while read -r mount; do umount -l "$mount"; done < <(awk -v s="$STATE/" 'index($2, s) == 1 { print $2 }' /proc/self/mounts | sort -r)
rm -rf --one-file-system "$STATE"
rmdir --ignore-fail-on-non-empty "$STATE_ROOT" 2>/dev/null || true

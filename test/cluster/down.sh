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

# links - the names of the cluster's links on this machine.
links() { grep -lsxF "$FMO_CLUSTER" /sys/class/net/fmo*/ifalias | cut -d / -f 5; }
links_gone() { [ -z "$(links)" ]; }

cgroup_kill || die "some processes do not end: $(cgroup_processes | tr '\n' ' ')"
cgroup_remove || die "some cgroups cannot be removed, see $(cgroup_hierarchies | sed "s#\$#/$FMO_CLUSTER#" | tr '\n' ' ')"
# The kernel removes a link with its network namespace, a little later; one that never got there, or whose namespace is kept by a dying
# connection, is ours to remove.
within 1 links_gone || links | while read -r link; do ip link del "$link" 2>/dev/null || true; done
# Mounts are the namespace's own and gone with it. Should one be here all the same, removing files must not reach through it.
while read -r mount; do umount -l "$mount"; done < <(awk -v s="$STATE/" 'index($2, s) == 1 { print $2 }' /proc/self/mounts | sort -r)
rm -rf --one-file-system "$STATE"
rmdir --ignore-fail-on-non-empty "$STATE_ROOT" 2>/dev/null || true

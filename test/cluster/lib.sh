# shellcheck shell=bash
# lib.sh - names, paths and small helpers that every script of the test cluster sources. It defines and changes nothing else.
# shellcheck disable=SC2034  # what is set here is for those who source it
set -euo pipefail

CLUSTER_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$CLUSTER_DIR/../.." && pwd)
# shellcheck source=../../scripts/cache.sh
source "$REPO/scripts/cache.sh"

# One cluster per checkout unless told otherwise, so that clones do not meet.
FMO_CLUSTER=${FMO_CLUSTER:-fmo-$(printf %s "$REPO" | sha256sum | cut -c1-6)}
# kind's has a name of its own, so that one does not take away the other's state.
[ "${CLUSTER:-own}" != kind ] || FMO_CLUSTER=${FMO_CLUSTER%-kind}-kind
# /run would be natural, but containerd unpacks images here: that wants a disk, and /run is memory.
if [ "$(id -u)" = 0 ]; then STATE_ROOT=/var/lib; else STATE_ROOT=${XDG_STATE_HOME:-$HOME/.local/state}; fi # kind needs no root
STATE_ROOT=${FMO_STATE:-$STATE_ROOT/forgejo-mcp-operator}
STATE=$STATE_ROOT/$FMO_CLUSTER
NODE_NAME=$FMO_CLUSTER
KUBECONFIG_FILE=$STATE/kubeconfig

die() {
  echo "test cluster: $*" >&2
  exit 1
}

# say TEXT - a progress line with the seconds since SAY_FROM (epoch seconds with a fraction).
SAY_FROM=${SAY_FROM:-$EPOCHREALTIME}
say() {
  local us=$((${EPOCHREALTIME/./} - ${SAY_FROM/./}))
  printf '%4d.%02ds %s\n' $((us / 1000000)) $((us % 1000000 / 10000)) "$*" >&2
}

# within SECONDS COMMAND... - repeats the command every 0.1 s until it succeeds; fails after the deadline.
within() {
  local until=$((${EPOCHREALTIME/./} + $1 * 1000000))
  shift
  until "$@" >/dev/null 2>&1; do
    ((${EPOCHREALTIME/./} < until)) || return 1
    sleep 0.1
  done
}

# Interfaces, cgroups and unix sockets (107 bytes) are named after these two.
[[ $FMO_CLUSTER =~ ^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$ ]] || die "FMO_CLUSTER must be a DNS label of at most 30 characters, not '$FMO_CLUSTER'"
[[ $STATE_ROOT == /* && ${#STATE} -le 70 ]] || die "FMO_STATE must be an absolute path of at most $((69 - ${#FMO_CLUSTER})) characters"

# write_settings - prints what up.sh decided for this cluster, as declarations that components.sh, enter.sh and env.sh source.
write_settings() {
  declare -p FMO_CLUSTER STATE_ROOT FMO_CACHE BIN OWN_BIN IMAGES NODE_LINK NODE_IP HOST_IP | sed "s/^declare --/declare -g/"
}

need_root() { [ "$(id -u)" = 0 ] || die "needs root: it makes namespaces, mounts and cgroups (try sudo -E)"; }

# holder - prints the host's process id of the cluster's first process, fails when there is none. Process ids are used again, so the
# cgroup is what counts.
holder() {
  local pid
  pid=$(cat "$STATE/holder.pid" 2>/dev/null) || return 1
  grep -qs ":/$FMO_CLUSTER/" "/proc/$pid/cgroup" && echo "$pid"
}

# binaries - prints the folder of third-party programs; own_binaries that of the programs in this folder. Built once, see scripts/cache.sh.
binary_keys() { echo "$CLUSTER_DIR"/{go.mod,go.sum,runc/go.mod,runc/go.sum,build.sh}; }
binaries() { cached cluster "$(binary_keys)" "$CLUSTER_DIR/build.sh" peers; }
# clients - prints a folder with kubectl and helm, for a cluster that is not ours: the whole of ours when that is built already.
clients() {
  local keys="$CLUSTER_DIR/go.mod $CLUSTER_DIR/go.sum $CLUSTER_DIR/build.sh"
  built cluster "$(binary_keys)" || cached cluster-clients "$keys" "$CLUSTER_DIR/build.sh" clients
}
own_keys() { echo "$CLUSTER_DIR"/{go.mod,go.sum,build.sh} "$CLUSTER_DIR"/{dns,netpol,netpol/cni}/*.go; }
own_binaries() { cached cluster-own "$(own_keys)" "$CLUSTER_DIR/build.sh" own; }
images() {
  cached cluster-images "$CLUSTER_DIR/images/build.sh $(own_binaries)/dns /bin/busybox" "$CLUSTER_DIR/images/build.sh" "$(own_binaries)"
}

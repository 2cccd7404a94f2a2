#!/usr/bin/env bash
# up.sh - boots the test cluster, or finds it up. Progress goes to stderr; the last line on stdout is KUBECONFIG=<path>.
#
#   KUBECONFIG=<path>  uses that cluster: checks that it answers and changes nothing
#   CLUSTER=kind       uses kind in Docker (see kind.sh)
#   FMO_CLUSTER, FMO_STATE   another name, another folder for the state (see lib.sh)
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=cgroups.sh
source "$CLUSTER_DIR/cgroups.sh"

answers() { KUBECONFIG=$1 "$2" --request-timeout 5s get --raw /readyz >/dev/null 2>&1; }

if [ -n "${KUBECONFIG:-}" ] && [ "$KUBECONFIG" != "$KUBECONFIG_FILE" ]; then
  within 10 answers "$KUBECONFIG" "$(command -v kubectl || echo "$(clients)/kubectl")" || die "the cluster of KUBECONFIG=$KUBECONFIG does not answer"
  echo "KUBECONFIG=$KUBECONFIG"
  exit
fi
unset KUBECONFIG

case ${CLUSTER:-own} in
  own) ;;
  kind) exec "$CLUSTER_DIR/kind.sh" up ;;
  *) die "CLUSTER is 'kind' or not set, not '$CLUSTER'" ;;
esac

need_root
# One boot of a cluster at a time. The lock is on a file of the tree, so nothing is left behind.
exec 9<"$CLUSTER_DIR/lib.sh"
flock -w 900 9 || die "another up.sh or down.sh holds the lock for more than 15 minutes"

if holder >/dev/null && "$CLUSTER_DIR/health.sh" >/dev/null 2>&1; then
  echo "cluster $FMO_CLUSTER is up" >&2
  current=$(grep -cxF -e "declare -g BIN=\"$(cache_folder cluster "$(binary_keys)")\"" \
    -e "declare -g OWN_BIN=\"$(cache_folder cluster-own "$(own_keys)")\"" "$STATE/settings") || true
  [ "$current" = 2 ] || echo "note: it runs programs of other sources than these; test/cluster/down.sh first renews it" >&2
  echo "KUBECONFIG=$KUBECONFIG_FILE"
  exit
fi
"$CLUSTER_DIR/deps.sh"
BIN=$(binaries)
OWN_BIN=$(own_binaries)
IMAGES=$(images)

SAY_FROM=$EPOCHREALTIME
if [ -e "$STATE" ] || [ -n "$(cgroup_processes)" ]; then
  say "removing what is left of an earlier $FMO_CLUSTER"
  "$CLUSTER_DIR/down.sh" --locked
fi

# Each pod needs a few inotify instances, and they are counted per user of the whole machine.
for setting in fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=524288; do
  if [ "$(sysctl -n "${setting%=*}")" -lt "${setting#*=}" ]; then
    say "raising the machine's ${setting%=*} to ${setting#*=}"
    sysctl -qw "$setting"
  fi
done
# On kernels where these are modules; one that is missing shows later as the failure of what needs it.
for module in overlay veth bridge nf_tables nf_conntrack; do modprobe -q "$module" 2>/dev/null || true; done

fail() { # TEXT LOG
  say "$1; the last lines of ${2}:"
  tail -n 25 "$2" | cut -c1-400 >&2 || true
  cgroup_kill || true # the logs stay until the next up.sh or down.sh
  exit 1
}
trap 'say "interrupted"; cgroup_kill; exit 130' INT TERM HUP

mkdir -p "$STATE"
chmod 711 "$STATE" # processes of pods in user namespaces pass through
mkdir -p "$STATE"/{log,pids,etcd,kubelet,podlogs}
mkdir "$STATE"/{pki,conf}
chmod 700 "$STATE"/{pki,conf}
cgroup_create

# A /30 of the benchmarking range (RFC 2544) that this machine does not use: .1 is the host, .2 the node.
link() {
  exec 8</ # one script of all clusters at a time, from choosing to using
  flock -w 60 8 || die "the lock for choosing an address is held"
  local n used
  used=$(ip -4 -o addr && ip -4 route)
  for n in $(seq 0 255); do
    grep -qF "198.18.$n." <<<"$used" || break
  done
  HOST_LINK=fmo$n NODE_LINK=node0 HOST_IP=198.18.$n.1 NODE_IP=198.18.$n.2
  ip link add "$HOST_LINK" type veth peer name "$NODE_LINK"
  ip link set "$HOST_LINK" alias "$FMO_CLUSTER" # by this down.sh knows it
  ip addr add "$HOST_IP/30" dev "$HOST_LINK"
  ip link set "$HOST_LINK" up
  exec 8<&-
}
link

write_settings >"$STATE/settings"

: >"$STATE/log/boot.log"
# The holder: first process of the namespaces. It joins the cluster's cgroups first, so that nothing of it is ever outside.
(
  cgroup_join
  exec setsid unshare --fork --kill-child --pid --mount --net --uts --ipc --mount-proc --propagation private \
    env SAY_FROM="$SAY_FROM" FMO_CLUSTER="$FMO_CLUSTER" FMO_STATE="$STATE_ROOT" FMO_CACHE="$FMO_CACHE" "$CLUSTER_DIR/node/init.sh"
) >"$STATE/log/init.log" 2>&1 </dev/null 9<&- &
outer=$!
disown # or bash reports its end

first_process() {
  local pid
  pid=$(pgrep -P "$outer" -f node/init.sh | head -n 1) && [ -n "$pid" ] && echo "$pid" >"$STATE/holder.pid"
}
within 10 first_process || fail "the namespaces were not made" "$STATE/log/init.log"
ip link set "$NODE_LINK" netns "$(cat "$STATE/holder.pid")"

# The boot writes its progress to a file and not to this terminal: what lives on would keep a pipe open, and its reader waiting.
exec 7<"$STATE/log/boot.log"
progress() { while IFS= read -r line; do printf '%s\n' "$line" >&2; done <&7; }
until=$((SECONDS + 600))
while [ ! -s "$STATE/boot.status" ] && holder >/dev/null; do
  progress
  ((SECONDS < until)) || fail "booting took more than 600 s at $(cat "$STATE/boot.component" 2>/dev/null)" "$STATE/log/init.log"
  sleep 0.1
done
progress
read -r status component <"$STATE/boot.status" || true
if [ "${status:-}" != ok ]; then
  log=$STATE/log/${component:-init}.log
  [ -s "$log" ] || log=$STATE/log/init.log
  fail "${component:-the first process} failed" "$log"
fi
trap - INT TERM HUP
say "cluster $FMO_CLUSTER is up: node $NODE_IP, this machine $HOST_IP"
echo "KUBECONFIG=$KUBECONFIG_FILE"

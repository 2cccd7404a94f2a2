#!/usr/bin/env bash
# node/init.sh - the first process in the cluster's namespaces (process, mount, network, UTS, IPC): sets up its mounts and network, boots
# the components, then stays to reap. When it dies the kernel ends everything in the process namespace, and with that the mounts, the
# links and the sockets: nothing has to be cleaned up but cgroups and files. Started by up.sh.
set -euo pipefail
# shellcheck source=components.sh
source "$(dirname "${BASH_SOURCE[0]}")/components.sh"
trap '' PIPE

report() { echo "$*" >"$STATE/boot.status"; }
trap 'report failed node-setup' ERR

mounts() {
  # A fresh /run holds sockets, CNI's network namespaces, and the upper layers of what follows.
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /run/layers /run/netns /run/lock
  # What the kubelet, CNI and others write to fixed places (/etc, /var/log/containers, /var/lib/kubelet, /var/lib/cni) stays in here.
  # The state folder, the tree and the caches show through unlayered, for they are on the machine's disk on purpose.
  local layer keep kept=()
  for keep in "$STATE" "$REPO" "$FMO_CACHE"; do
    case $keep in /etc/* | /var/*)
      mkdir -p "/run/layers/keep${#kept[@]}"
      mount --bind "$keep" "/run/layers/keep${#kept[@]}"
      kept+=("$keep")
      ;;
    esac
  done
  for layer in etc var; do
    mkdir -p "/run/layers/$layer/upper" "/run/layers/$layer/work"
    mount -t overlay -o "lowerdir=/$layer,upperdir=/run/layers/$layer/upper,workdir=/run/layers/$layer/work" overlay "/$layer"
  done
  local i
  for i in "${!kept[@]}"; do mount --move "/run/layers/keep$i" "${kept[$i]}"; done
  # Unpacked images need a file system that can be overlaid again; a container's own root cannot.
  if [ "$(stat -f -c %T "$STATE")" = overlayfs ]; then
    progress "the state folder is on overlayfs: images are kept in memory"
    mkdir -p "$STATE/containerd" "$STATE/kubelet"
    mount -t tmpfs -o mode=711 tmpfs "$STATE/containerd"
    mount -t tmpfs -o mode=755 tmpfs "$STATE/kubelet"
  fi
  mount --make-rshared /
}

# Linux user namespaces for pods: the kubelet reads its range of ids from a user of this name (KEP-127): 64 Ki for each of 250 pods.
identity() {
  hostname "$NODE_NAME"
  echo "127.0.0.1 $NODE_NAME" >>/etc/hosts
  id kubelet >/dev/null 2>&1 || echo 'kubelet:x:64999:64999:kubelet:/nonexistent:/bin/false' >>/etc/passwd
  local file
  for file in /etc/subuid /etc/subgid; do
    touch "$file"
    sed -i '/^kubelet:/d' "$file"
    echo 'kubelet:65536:16384000' >>"$file"
  done
}

link_here() { ip link show "$NODE_LINK"; }

network() {
  ip link set lo up
  # Pods have IPv4 only. Without IPv6 there are no link-local addresses by which a pod could reach the node around its policies.
  sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 2>/dev/null || true
  # Strict reverse path filtering: a pod cannot send with another's address (each has a /32 route to its own link).
  sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1
  within 10 link_here # up.sh puts it here
  ip addr add "$NODE_IP/30" dev "$NODE_LINK"
  ip link set "$NODE_LINK" up
  # A default route that leads nowhere: an empty bridge with a gateway that never answers. Pods see an Internet that drops, and a
  # test can stand in for a part of it (`enter.sh ip addr add 203.0.113.1/32 dev outside0`).
  ip link add outside0 type bridge
  ip link set outside0 up
  ip neigh add 169.254.255.1 lladdr 02:00:00:00:00:01 dev outside0 nud permanent
  ip route add default via 169.254.255.1 dev outside0 onlink src "$NODE_IP"
}

mounts
identity
network
write_pki >"$LOG/pki.log" 2>&1
write_config
trap - ERR
if boot; then report ok; else report "failed $(cat "$STATE/boot.component" 2>/dev/null)"; fi
# bash reaps whatever is handed to the first process while it waits here.
while :; do
  sleep 86400 &
  wait $! || true
done

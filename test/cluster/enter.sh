#!/usr/bin/env bash
# enter.sh COMMAND... - runs a command in the cluster's namespaces, as on its node: process, mount, network, UTS and IPC. The command
# belongs to the cluster and ends with it. kubectl, ctr (with its socket), nft and the others are in its PATH.
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=cgroups.sh
source "$CLUSTER_DIR/cgroups.sh"

[ $# -gt 0 ] || die "usage: enter.sh COMMAND..."
if [ "${CLUSTER:-own}" = kind ]; then exec docker exec -i "$FMO_CLUSTER-control-plane" "$@"; fi
need_root
pid=$(holder) || die "cluster $FMO_CLUSTER is not up"
# shellcheck disable=SC1091
source "$STATE/settings"
cgroup_join
export PATH=$BIN:$OWN_BIN:$PATH:/usr/sbin:/sbin KUBECONFIG=$KUBECONFIG_FILE
export CONTAINERD_ADDRESS=/run/containerd/containerd.sock CONTAINERD_NAMESPACE=k8s.io CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1
# shellcheck disable=SC2016
# The directory is looked up again inside: the old one would lead out of the namespace.
exec nsenter -t "$pid" -m -n -p -u -i sh -c 'cd "$1" 2>/dev/null || cd /; shift; exec "$@"' sh "$PWD" "$@"

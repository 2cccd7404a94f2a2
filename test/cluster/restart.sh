#!/usr/bin/env bash
# restart.sh COMPONENT [SIGNAL] - ends a component (with TERM, or the signal given), starts it anew and waits until it is healthy. Pods
# live on. Components: containerd etcd kube-apiserver kube-controller-manager kube-scheduler netpol kubelet kube-proxy.
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ "${CLUSTER:-own}" != kind ] || die "this works on the project's own cluster only, not on kind"
[ $# -ge 1 ] || die "usage: restart.sh COMPONENT [SIGNAL]"
holder >/dev/null || die "cluster $FMO_CLUSTER is not up"
export FMO_CLUSTER FMO_STATE=$STATE_ROOT
# shellcheck disable=SC2016
exec "$CLUSTER_DIR/enter.sh" bash -c '
  source "$0/node/components.sh"
  name=$1
  declare -F "start_$name" >/dev/null || die "there is no component $name"
  stop_component "$name" "${2:-TERM}" || die "$name does not end"
  "start_$name"
  ready "$name" 60 || { tail -n 20 "$LOG/$name.log" >&2; die "$name did not become healthy"; }
  say "$name was restarted"' "$CLUSTER_DIR" "$@"

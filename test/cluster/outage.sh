#!/usr/bin/env bash
# outage.sh SECONDS [HOW] - an outage of the API server: it is ended (HOW: TERM), or stands still so that its clients hear nothing (STOP), and is back after so many
# seconds; waits until it is healthy. Pods live on. The controller manager is ended for as long: it ends by itself where it runs for leader, which this
# cluster's does not, and would else think that the node is dead, because it heard nothing of it.
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ "${CLUSTER:-own}" != kind ] || die "this works on the project's own cluster only, not on kind"
[ $# -ge 1 ] || die "usage: outage.sh SECONDS [HOW]"
holder >/dev/null || die "cluster $FMO_CLUSTER is not up"
export FMO_CLUSTER FMO_STATE=$STATE_ROOT
# shellcheck disable=SC2016
exec "$CLUSTER_DIR/enter.sh" bash -c '
  source "$0/node/components.sh"
  manager=kube-controller-manager api=kube-apiserver
  stop_component "$manager" || die "$manager does not end"
  if [ "${2:-TERM}" = STOP ]; then
    pid=$(cat "$STATE/pids/$api")
    trap "kill -s CONT $pid" EXIT
    kill -s STOP "$pid"
    sleep "$1"
    kill -s CONT "$pid"
  else
    stop_component "$api" || die "$api does not end"
    sleep "$1"
    "start_$api"
  fi
  ready "$api" 60 || { tail -n 20 "$LOG/$api.log" >&2; die "$api did not become healthy"; }
  "start_$manager"
  ready "$manager" 60 || { tail -n 20 "$LOG/$manager.log" >&2; die "$manager did not become healthy"; }
  say "$api is back"' "$CLUSTER_DIR" "$@"

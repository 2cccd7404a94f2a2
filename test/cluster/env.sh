#!/usr/bin/env bash
# env.sh - prints export lines that describe the running cluster: eval "$(test/cluster/env.sh)".
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pid=$(holder) || die "cluster $FMO_CLUSTER is not up: run test/cluster/up.sh"
# shellcheck disable=SC1091
source "$STATE/settings"
printf 'export %s=%q\n' KUBECONFIG "$KUBECONFIG_FILE" FMO_CLUSTER "$FMO_CLUSTER" FMO_NODE_IP "$NODE_IP" FMO_HOST_IP "$HOST_IP" \
  FMO_CLUSTER_BIN "$BIN" FMO_CLUSTER_STATE "$STATE" FMO_CLUSTER_PID "$pid"

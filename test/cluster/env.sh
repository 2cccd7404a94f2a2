#!/usr/bin/env bash
# env.sh - prints export lines that describe the running cluster: eval "$(test/cluster/env.sh)".
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# A cluster that was given is described by what is known of it.
if [ -n "${KUBECONFIG:-}" ] && [ "$KUBECONFIG" != "$KUBECONFIG_FILE" ]; then
  printf 'export %s=%q\n' KUBECONFIG "$KUBECONFIG" FMO_CLUSTER_BIN "$(clients)"
  exit
fi
if [ "${CLUSTER:-own}" = kind ]; then exec "$CLUSTER_DIR/kind.sh" env; fi
pid=$(holder) || die "cluster $FMO_CLUSTER is not up: run test/cluster/up.sh"
# shellcheck disable=SC1091
source "$STATE/settings"
printf 'export %s=%q\n' KUBECONFIG "$KUBECONFIG_FILE" FMO_CLUSTER "$FMO_CLUSTER" FMO_NODE_IP "$NODE_IP" FMO_HOST_IP "$HOST_IP" \
  FMO_CLUSTER_BIN "$BIN" FMO_CLUSTER_STATE "$STATE" FMO_CLUSTER_PID "$pid"

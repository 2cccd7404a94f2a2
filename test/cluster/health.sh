#!/usr/bin/env bash
# health.sh [COMPONENT...] - succeeds when the given components (all of them by default) are healthy now; names those that are not.
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ "${CLUSTER:-own}" != kind ] || die "this works on the project's own cluster only, not on kind"
holder >/dev/null || die "cluster $FMO_CLUSTER is not up"
export FMO_CLUSTER FMO_STATE=$STATE_ROOT
# shellcheck disable=SC2016
exec "$CLUSTER_DIR/enter.sh" bash -c '
  source "$0/node/components.sh"
  [ "$(cat "$STATE/boot.status" 2>/dev/null)" = ok ] || die "the boot has not ended well"
  bad=0
  for name in "${@:-${COMPONENTS[@]}}"; do
    { runs "$name" && "healthy_$name"; } >/dev/null 2>&1 || { echo "$name is not healthy" >&2; bad=1; }
  done
  exit $bad' "$CLUSTER_DIR" "$@"

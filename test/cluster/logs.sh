#!/usr/bin/env bash
# logs.sh [COMPONENT...] - the last lines of the components' logs (all by default); LINES=50 says how many.
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ "${CLUSTER:-own}" != kind ] || die "this works on the project's own cluster only, not on kind"
[ -d "$STATE/log" ] || die "cluster $FMO_CLUSTER has no logs"
cd "$STATE/log"
[ $# -gt 0 ] || set -- *.log
for name; do
  name=${name%.log}
  echo "==> $name ($STATE/log/$name.log)"
  tail -n "${LINES:-50}" "$name.log"
done

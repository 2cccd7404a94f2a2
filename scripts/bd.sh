#!/usr/bin/env bash
# bd.sh ARGS - the issue tracker of .beads/, at the version that the project pins: `scripts/bd.sh ready`, `scripts/bd.sh show fmo-1.4`.
# In a clone that has not seen it yet it first imports .beads/issues.jsonl. Every change is exported to that file; commit it with the work.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bd=$(test/peers/get.sh beads)/bd
export BD_DISABLE_METRICS=1 BD_NON_INTERACTIVE=1
[ -d .beads/embeddeddolt ] || "$bd" bootstrap >&2
# As `bd init` does for whoever makes the tracker; without it every command warns.
git config --get beads.role >/dev/null || git config beads.role maintainer
exec "$bd" "$@"

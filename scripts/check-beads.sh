#!/usr/bin/env bash
# check-beads.sh - proves that the issues can be had from the repository alone: in a fresh clone the real bd bootstraps from
# issues.jsonl, and lists the same ids with the same states as the file.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
bd=$("$top/test/peers/get.sh" beads)/bd
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export BD_DISABLE_METRICS=1 BD_NON_INTERACTIVE=1

git clone --quiet --no-hardlinks "$top" "$work/clone"
cd "$work/clone"
export HOME=$work
"$bd" bootstrap >"$work/bootstrap.log" 2>&1 || { cat "$work/bootstrap.log" >&2; exit 1; }
"$bd" list --all --limit 0 --json >"$work/listed.json" 2>>"$work/bootstrap.log" || { cat "$work/bootstrap.log" >&2; exit 1; }
python3 - .beads/issues.jsonl "$work/listed.json" <<'END'
import json, sys

with open(sys.argv[1], encoding="utf-8") as file:
    records = [json.loads(line) for line in file if line.strip()]
exported = {record["id"]: record["status"] for record in records if record.get("_type", "issue") == "issue"}
with open(sys.argv[2], encoding="utf-8") as file:
    listed = {issue["id"]: issue["status"] for issue in json.load(file)}

wrong = [
    f"{id}: {exported.get(id, 'absent')} in issues.jsonl, {listed.get(id, 'absent')} after bootstrap"
    for id in sorted(exported.keys() | listed.keys())
    if exported.get(id) != listed.get(id)
]
if wrong or not exported:
    sys.exit("\n".join(wrong) or "issues.jsonl holds no issue")
print(f"beads: {len(listed)} issues, the same after bootstrap in a fresh clone")
END
if [ -n "$(git status --porcelain)" ]; then
  echo "bd bootstrap changed tracked files:" >&2
  git status --short >&2
  exit 1
fi

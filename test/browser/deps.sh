#!/usr/bin/env bash
# deps.sh - installs Chromium and a font where the machine has none, from Debian's packages. Says nothing when all are there.
set -euo pipefail

missing=()
command -v chromium >/dev/null || missing+=(chromium)
# Without any font Chromium draws no text, and widths mean nothing.
[ -d /usr/share/fonts/truetype/dejavu ] || missing+=(fonts-dejavu-core)
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "browser tests: please install (Debian's names): ${missing[*]}" >&2
  exit 1
fi
echo "installing ${missing[*]} ..." >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
packages() {
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}
# Another part of the tests may be installing at the same time, and has the lock then.
for pause in 10 20 0; do
  ! packages >"$log" 2>&1 || exit 0
  sleep "$pause"
done
tail -n 20 "$log" >&2
exit 1

#!/usr/bin/env bash
# load-image.sh FILE.tar... - loads OCI image archives into the cluster. One that is there already, by name and digest, is skipped.
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ $# -gt 0 ] || die "usage: load-image.sh FILE.tar..."
if [ "${CLUSTER:-own}" = kind ]; then exec "$CLUSTER_DIR/kind.sh" load "$@"; fi
enter() { "$CLUSTER_DIR/enter.sh" "$@"; }
loaded=$(enter ctr images ls | awk 'NR > 1 { print $1 "@" $3 }')
for archive; do
  index=$(tar -xOf "$archive" index.json) || die "$archive is not an OCI image archive"
  name=$(grep -oE '"io.containerd.image.name": ?"[^"]+"' <<<"$index" | head -n 1 | cut -d '"' -f 4)
  digest=$(grep -oE 'sha256:[0-9a-f]{64}' <<<"$index" | head -n 1)
  if [ -n "$name" ] && grep -qxF "$name@$digest" <<<"$loaded"; then
    echo "$name is loaded" >&2
  else
    # Standard input, because the archive may be where the cluster's mounts hide it.
    enter ctr images import --local - <"$archive" >&2 || die "$archive could not be loaded"
  fi
done

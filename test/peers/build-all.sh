#!/usr/bin/env bash
# build-all.sh - builds every peer that the cache has not got yet, the longest first, two at a time. Prints each one's folder.
set -euo pipefail
cd "$(dirname "$0")"
printf '%s\n' forge beads forgejo-mcp-rs rust-client dockerfile-check inspector java-client python-client go-client everything-server fixture-child | xargs -P 2 -n 1 ./get.sh

#!/usr/bin/env bash
# build.sh OUTDIR - builds the launcher: static, stripped, the same bytes from the same source wherever it is built.
set -euo pipefail
out=$(mkdir -p "${1:?usage: build.sh OUTDIR}" && cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")"
CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o "$out/launcher" .

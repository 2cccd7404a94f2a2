#!/usr/bin/env bash
# build.sh OUT - builds OUT/bd, the issue tracker whose records are in .beads/ (its npm package would download a binary).
set -euo pipefail
cd "$(dirname "$0")"
export GOFLAGS="-mod=readonly -buildvcs=false -trimpath" GOTOOLCHAIN=local CGO_ENABLED=1
go build -tags gms_pure_go -ldflags "-s -w" -o "$1/bd" github.com/steveyegge/beads/cmd/bd

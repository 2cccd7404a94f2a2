#!/usr/bin/env bash
# build.sh OUT - builds OUT/go-client, a small client on the official Go SDK.
set -euo pipefail
cd "$(dirname "$0")"
export GOFLAGS="-mod=readonly -buildvcs=false -trimpath" GOTOOLCHAIN=local CGO_ENABLED=0
go build -o "$1/go-client" -ldflags "-s -w" .

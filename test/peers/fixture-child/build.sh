#!/usr/bin/env bash
# build.sh OUT - builds OUT/fixture-child, static, in seconds: the child that shows every fault and every kind of message on demand.
set -euo pipefail
cd "$(dirname "$0")"
export GOFLAGS="-mod=readonly -buildvcs=false -trimpath" GOTOOLCHAIN=local CGO_ENABLED=0
go build -o "$1/fixture-child" -ldflags "-s -w" .

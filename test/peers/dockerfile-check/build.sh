#!/usr/bin/env bash
# build.sh OUT - builds OUT/dockerfile-check, BuildKit's own Dockerfile frontend as a program: it needs neither Docker nor a daemon.
set -euo pipefail
cd "$(dirname "$0")"
export GOFLAGS="-mod=readonly -buildvcs=false -trimpath" GOTOOLCHAIN=local CGO_ENABLED=0
go build -o "$1/dockerfile-check" -ldflags "-s -w" .

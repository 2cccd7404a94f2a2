#!/usr/bin/env bash
# build.sh OUT - builds OUT/everything-server, the Go SDK's conformance server: an MCP server over stdio with a bit of everything.
set -euo pipefail
cd "$(dirname "$0")"
export GOFLAGS="-mod=readonly -buildvcs=false -trimpath" GOTOOLCHAIN=local CGO_ENABLED=0
go build -o "$1/everything-server" -ldflags "-s -w" github.com/modelcontextprotocol/go-sdk/conformance/everything-server

#!/usr/bin/env bash
# test.sh - the launcher's own tests: format, vet, tests, and each fuzz target for a few seconds (FUZZ_SECONDS, 3 unless set).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "not formatted: $unformatted" >&2; exit 1; }
go vet ./...
go test ./...
for target in $(grep -rhoE '^func Fuzz[A-Za-z]+' --include='*_test.go' wire | cut -c6-); do
  go test ./wire -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZ_SECONDS:-3}s" -parallel 2
done

#!/usr/bin/env bash
# build.sh OUT - builds the forge that the tests run against: Gitea from its Go module, whose API and OAuth provider behave as
# Forgejo's do, and beside it the templates and locales that it reads at run time. Forgejo itself is in no package registry.
#
#   OUT/gitea    static (netgo, no loadable SQLite extensions), so that it runs in an image without a C library
#   OUT/share    STATIC_ROOT_PATH: options/, templates/ and the little of public/ that the module carries
set -euo pipefail
cd "$(dirname "$0")"
out=$1
export GOFLAGS="-mod=readonly -buildvcs=false -trimpath" GOTOOLCHAIN=local CGO_ENABLED=1
go mod download code.gitea.io/gitea
source=$(go list -m -f '{{.Dir}}' code.gitea.io/gitea)
version=$(go list -m -f '{{.Version}}' code.gitea.io/gitea)
go build -o "$out/gitea" -tags "sqlite sqlite_unlock_notify sqlite_omit_load_extension netgo osusergo" \
  -ldflags "-s -w -X main.Version=${version#v} -linkmode external -extldflags -static" code.gitea.io/gitea
mkdir -p "$out/share/public"
cp -R "$source/options" "$source/templates" "$out/share/"
cp -R "$source/public/assets" "$out/share/public/" 2>/dev/null || mkdir -p "$out/share/public/assets"
chmod -R u+w "$out/share"

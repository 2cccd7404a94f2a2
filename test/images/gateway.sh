#!/usr/bin/env bash
# gateway.sh OUT.tar - makes fmo/gateway:test as deploy/gateway/Dockerfile does, without Docker: the Node of the lock file and the libraries
# that it needs, pruned production dependencies, the compiled gateway. Prints NAME:TAG@DIGEST.
#
# Three layers, by how often they change. The lower two come from the cache; the gateway is compiled each time, without type checks (they are
# a step of their own), which takes a second.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=../../scripts/cache.sh
source "$root/scripts/cache.sh"
out=${1:?where to?}

# Node without its symbols, exactly the shared libraries that the loader names, and what glibc and TLS look for in /etc.
base() {
  local to=$1 lib
  mkdir -p "$to"/{usr/local/bin,etc/ssl/certs,home/nonroot,proc,sys,dev,var/lib} && mkdir -m 1777 "$to/tmp"
  strip -o "$to/usr/local/bin/node" "$root/node_modules/node/bin/node"
  for lib in $(ldd "$to/usr/local/bin/node" | grep -oE '/[^ ]+' | sort -u) /lib/"$(uname -m)"-linux-gnu/{libnss_dns,libnss_files,libresolv}.so.2; do
    [ -e "$lib" ] || continue
    mkdir -p "$to$(dirname "$lib")"
    cp -L "$lib" "$to$lib"
  done
  cp -L /etc/ssl/certs/ca-certificates.crt "$to/etc/ssl/certs/"
  printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$to/etc/passwd"
  printf 'root:x:0:\nnonroot:x:65532:\n' >"$to/etc/group"
  printf 'hosts: files dns\n' >"$to/etc/nsswitch.conf"
  "$to/usr/local/bin/node" --version
}

dependencies() {
  local to=$1/app
  mkdir -p "$to"
  cp "$root"/{package.json,package-lock.json,.npmrc} "$to/"
  (cd "$to" && npm ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error)
  "$root/deploy/gateway/prune.sh" "$to/node_modules"
  rm "$to"/{package.json,package-lock.json,.npmrc}
}

cd "$root"
lower=$(cached gateway-base "package-lock.json test/images/gateway.sh" base)
middle=$(cached gateway-dependencies "package-lock.json .npmrc deploy/gateway/prune.sh" dependencies)
upper=$(mktemp -d)
trap 'rm -rf "$upper"' EXIT
chmod 755 "$upper"
mkdir -p "$upper/app"
node_modules/.bin/node node_modules/.bin/tsc -p tsconfig.build.json --noCheck --sourceMap false --outDir "$upper/app/dist"
cp package.json "$upper/app/"
[ ! -f LICENSE ] || cp LICENSE "$upper/app/"

mkdir -p "$(dirname "$out")"
"$here/mkimage.sh" -name fmo/gateway:test -root "$lower" -root "$middle" -root "$upper" -out "$out" -user 65532:65532 -workdir /app \
  -env NODE_ENV=production -entrypoint '["/usr/local/bin/node","/app/dist/main.js"]'

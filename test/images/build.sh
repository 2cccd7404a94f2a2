#!/usr/bin/env bash
# build.sh all|NAME... - makes test images without Docker, and prints the path of each OCI archive on a line of its own.
#
#   gateway               fmo/gateway:test              the product, compiled from the tree as it stands
#   launcher              fmo/launcher:test             the launcher alone, for the init container that copies it into other images
#   child-forgejo-mcp-rs  fmo/child-forgejo-mcp-rs:test a real Forgejo MCP server behind the launcher
#   child-everything      fmo/child-everything:test     the Go SDK's conformance server behind the launcher
#   child-fixture         fmo/child-fixture:test        the child with faults on demand behind the launcher
#   child-bare-fixture    fmo/child-bare-fixture:test   the same without the launcher
#   forge                 fmo/forge:test                Gitea with its run.sh: listens on 3000, keeps everything in /data
#
# A child image holds /launcher (its entrypoint), /child, the list of certificate authorities and nothing else: no shell, no libraries.
# It runs as 65532:65532 and works with a read-only root. Archives are in the cache, keyed by what goes into them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=../../scripts/cache.sh
source "$root/scripts/cache.sh"
all=(gateway launcher child-forgejo-mcp-rs child-everything child-fixture child-bare-fixture forge)

peer() { "$root/test/peers/get.sh" "$1"; }
launcher() {
  local sources
  sources=$(cd "$root/launcher" && find . -type f \( -name '*.go' ! -name '*_test.go' -o -name go.mod -o -name go.sum -o -name build.sh \) | sort)
  cd "$root/launcher" && cached launcher "$sources" ./build.sh
}

# image NAME INPUTS LAYER-FUNCTION... -- MKIMAGE-ARGS... - one archive; INPUTS is a text that changes whenever the content does.
image() {
  local name=$1 inputs=$2 out
  shift 2
  out=$(cached "image-$name" <(printf '%s\n' "$name $inputs $*" && cat "$here/build.sh" "$here"/mkimage/*.go) pack "$name" "$@")
  echo "$out/$name.tar"
}

# pack NAME LAYER-FUNCTION... -- MKIMAGE-ARGS... OUT - the builder behind image(): each function fills the folder of one layer.
pack() {
  local name=$1 out=${*: -1} work layers=()
  shift
  work=$(mktemp -d)
  while [ "$1" != -- ]; do
    mkdir -m 755 "$work/$1"
    "layer_$1" "$work/$1"
    layers+=(-root "$work/$1")
    shift
  done
  shift
  "$here/mkimage.sh" -name "fmo/$name:test" "${layers[@]}" -out "$out/$name.tar" "${@:1:$#-1}"
  rm -rf "$work"
}

# What any runtime mounts over, what programs look for in /etc, and a /tmp.
layer_etc() {
  mkdir -p "$1"/{proc,sys,dev,etc/ssl/certs} && mkdir -m 1777 "$1/tmp"
  cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
  printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' >"$1/etc/passwd"
  printf 'root:x:0:\nnonroot:x:65532:\n' >"$1/etc/group"
  printf 'hosts: files dns\n' >"$1/etc/nsswitch.conf"
}
layer_launcher() { install -m 755 "$(launcher)/launcher" "$1/launcher"; }
layer_forgejo() { install -m 755 "$(peer forgejo-mcp-rs)/forgejo-mcp-rs" "$1/child"; }
layer_everything() { install -m 755 "$(peer everything-server)/everything-server" "$1/child"; }
layer_fixture() { install -m 755 "$(peer fixture-child)/fixture-child" "$1/child"; }

# git runs programs of its own through sh, and Gitea's hooks are bash scripts: so this image alone has a shell, with what they call.
layer_tools() {
  local program library
  mkdir -p "$1"/usr/{bin,lib/git-core,lib64} "$1/proc" "$1/sys" "$1/dev" "$1/etc" && mkdir -m 1777 "$1/tmp" "$1/data"
  ln -s usr/bin "$1/bin" && ln -s usr/lib "$1/lib" && ln -s usr/lib64 "$1/lib64"
  for program in bash git env cat mkdir sed tr tail basename dirname rm; do
    cp -L "$(command -v "$program")" "$1/usr/bin/$program"
    for library in $(ldd "$1/usr/bin/$program" | grep -oE '/[^ ]+'); do
      mkdir -p "$1$(dirname "$library")" && cp -L "$library" "$1$library"
    done
  done
  ln -s bash "$1/usr/bin/sh"
  for program in git git-receive-pack git-upload-pack git-upload-archive; do
    [ "$program" = git ] || ln -s git "$1/usr/bin/$program"
    ln -s ../../bin/git "$1/usr/lib/git-core/$program"
  done
  printf 'root:x:0:0:root:/data:/bin/sh\nforge:x:65532:65532:forge:/data:/bin/sh\n' >"$1/etc/passwd"
  printf 'root:x:0:\nforge:x:65532:\n' >"$1/etc/group"
  printf 'hosts: files dns\n' >"$1/etc/nsswitch.conf"
}
layer_gitea() {
  mkdir -p "$1/forge"
  cp -R "$(peer forge)/." "$1/forge/"
  install -m 755 "$root/test/peers/forge/run.sh" "$1/forge/run.sh"
}

child() {
  local built
  built=$(peer "$3")
  image "$1" "$(launcher) $built" etc launcher "$2" -- -user 65532:65532 -entrypoint '["/launcher"]'
}

build() {
  case $1 in
    gateway)
      mkdir -p "$root/.run/images"
      "$here/gateway.sh" "$root/.run/images/gateway.tar" >&2
      echo "$root/.run/images/gateway.tar"
      ;;
    launcher) image launcher "$(launcher)" launcher -- -user 65532:65532 -entrypoint '["/launcher"]' ;;
    child-forgejo-mcp-rs) child "$1" forgejo forgejo-mcp-rs ;;
    child-everything) child "$1" everything everything-server ;;
    child-fixture) child "$1" fixture fixture-child ;;
    child-bare-fixture) image "$1" "$(peer fixture-child)" etc fixture -- -user 65532:65532 -entrypoint '["/child"]' ;;
    forge)
      image "$1" "$(peer forge) $(sha256sum <"$root/test/peers/forge/run.sh")" tools gitea -- -user 65532:65532 \
        -env FORGE_HOME=/forge -env FORGE_HTTP_ADDR=0.0.0.0 -env FORGE_DATA=/data -entrypoint '["/forge/run.sh"]'
      ;;
    *)
      echo "no such image: $1; there are: all ${all[*]}" >&2
      exit 2
      ;;
  esac
}

[ $# -gt 0 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
[ "$1" != all ] || set -- "${all[@]}"
for name; do build "$name"; done

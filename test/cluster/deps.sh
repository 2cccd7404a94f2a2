#!/usr/bin/env bash
# deps.sh - installs the Debian packages that the test cluster needs and this machine lacks. Says nothing when all are there.
set -euo pipefail

missing=()
need() { # COMMAND PACKAGE
  command -v "$1" >/dev/null || missing+=("$2")
}
PATH=$PATH:/usr/sbin:/sbin
need ip iproute2
need nft nftables
need iptables iptables # portmap's fallback, and what people look for
need unshare util-linux
need awk mawk
need curl curl
need openssl openssl
need gcc gcc
need getsubids uidmap
need pkg-config pkg-config
[ -e /usr/include/seccomp.h ] || missing+=(libseccomp-dev)
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
# Pods have no libraries, so the linked busybox will not do.
if ! [ -x /bin/busybox ] || ldd /bin/busybox >/dev/null 2>&1; then missing+=(busybox-static); fi

if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "test cluster: please install (Debian's names): ${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]} ..." >&2
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    exit 1
  fi
fi

command -v go >/dev/null || {
  echo "test cluster: Go is needed (https://go.dev/dl; the version is in test/cluster/runc/go.mod)" >&2
  exit 1
}

#!/usr/bin/env bash
# images/build.sh OWN-BINARIES OUT - the images that the cluster itself needs, as archives: pause, coredns, and busybox for tests.
set -euo pipefail
cd "$(dirname "$0")"
own=$1 out=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkimage=../../images/mkimage.sh
umask 022

# The pause program is not ours to write: Kubernetes' own is in its Go module.
mkdir "$work/pause"
source=$(cd .. && GOFLAGS=-mod=readonly go list -m -f '{{.Dir}}' k8s.io/kubernetes)/build/pause/linux/pause.c
gcc -Os -Wall -static -DVERSION=3.10 -o "$work/pause/pause" "$source"
strip "$work/pause/pause"
$mkimage -name forgejo-mcp-operator.test/pause:3.10 -root "$work/pause" -out "$out/pause.tar" -entrypoint '["/pause"]' -user 65535:65535

mkdir -p "$work/coredns"
cp "$own/dns" "$work/coredns/coredns"
$mkimage -name forgejo-mcp-operator.test/coredns:1 -root "$work/coredns" -out "$out/coredns.tar" -entrypoint '["/coredns"]' -user 65532:65532

busybox=$work/busybox
mkdir -p "$busybox"/{bin,dev,etc,home,proc,root,sys,tmp,usr,var}
chmod 1777 "$busybox/tmp"
ln -s ../bin "$busybox/usr/bin"
ln -s bin "$busybox/sbin"
cp /bin/busybox "$busybox/bin/"
/bin/busybox --list | while read -r applet; do [ "$applet" = busybox ] || ln -s busybox "$busybox/bin/$applet"; done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n' >"$busybox/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$busybox/etc/group"
$mkimage -name busybox:test -root "$busybox" -out "$out/busybox.tar" -cmd '["sh"]'

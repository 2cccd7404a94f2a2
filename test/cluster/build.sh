#!/usr/bin/env bash
# build.sh peers|clients|own BIN - builds the test cluster's third-party programs, kubectl and helm alone, or our own programs, into BIN. lib.sh keys and caches the result.
set -euo pipefail
cd "$(dirname "$0")"
what=$1 out=$2
export GOFLAGS="-mod=readonly -buildvcs=false -trimpath" GOTOOLCHAIN=local CGO_ENABLED=0

if [ "$what" = own ]; then
  nice go build -ldflags "-s -w" -o "$out/" ./dns ./netpol
  nice go build -ldflags "-s -w" -o "$out/netpol-cni" ./netpol/cni
  exit
fi

version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${version#v1.}
minor=${minor%%.*}
stamp="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  stamp+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$minor -X $package.gitTreeState=clean"
done
if [ "$what" = clients ]; then
  nice go build -ldflags "$stamp" -o "$out/" k8s.io/kubernetes/cmd/kubectl helm.sh/helm/v4/cmd/helm
  exit
fi

mkdir -p "$out/cni"
# runc alone needs cgo (libseccomp); the others are static.
(cd runc && CGO_ENABLED=1 nice go build -tags seccomp -ldflags "-s -w -X main.version=1.5.2" -o "$out/runc" github.com/opencontainers/runc)
# One go build: the programs share most of their packages, and Go schedules the rest over the cores.
nice go build -v -tags "no_btrfs no_devmapper no_zfs no_aufs" -ldflags "$stamp" -o "$out/" \
  k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl} \
  github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr} \
  helm.sh/helm/v4/cmd/helm
nice go build -ldflags "-s -w" -o "$out/etcd" go.etcd.io/etcd/server/v3
for plugin in main/loopback main/ptp ipam/host-local meta/portmap; do
  nice go build -ldflags "-s -w" -o "$out/cni/${plugin##*/}" "github.com/containernetworking/plugins/plugins/$plugin"
done

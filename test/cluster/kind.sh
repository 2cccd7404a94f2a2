#!/usr/bin/env bash
# kind.sh up|down|env|load FILE.tar... - the same cluster by kind, for machines where Docker works (CLUSTER=kind). KIND_IMAGE names another
# node image. Needs no root of its own.
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

NODE=$FMO_CLUSTER-control-plane
CONFIG=$REPO/deploy/kind/cluster.yaml

# kind is a Go module of its own; the version is pinned here and its content by Go's checksum database.
VERSION=v0.33.0
IMAGE=${KIND_IMAGE:-kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5}
build_kind() { GOBIN=$1 GOTOOLCHAIN=local CGO_ENABLED=0 nice go install "sigs.k8s.io/kind@$VERSION"; }

docker_works() {
  command -v docker >/dev/null || die "CLUSTER=kind needs Docker, and there is no docker command. Without CLUSTER=kind the project's own cluster is used: it needs root, no Docker"
  local why
  why=$(timeout 20 docker info --format '{{.ServerVersion}}' 2>&1 >/dev/null) || true
  [ -z "$why" ] ||
    die "CLUSTER=kind needs a Docker daemon that answers ($(tail -n 1 <<<"$why")). Start it, or leave CLUSTER=kind away: the project's own cluster needs root, no Docker"
}

kind_is() { [ "$(docker inspect -f '{{.State.Running}}' "$NODE" 2>/dev/null)" = true ]; }
kind() { "$KIND/kind" "$@"; }

case ${1:-} in
  up)
    docker_works
    KIND=$(cached kind "$CLUSTER_DIR/kind.sh" build_kind)
    KUBECTL=$(clients)/kubectl
    if kind_is && timeout 10 "$KUBECTL" --kubeconfig "$KUBECONFIG_FILE" get --raw /readyz >/dev/null 2>&1; then
      echo "cluster $FMO_CLUSTER is up (kind)" >&2
    else
      kind delete cluster --name "$FMO_CLUSTER" >/dev/null 2>&1 || true # one that is half there
      if ! docker image inspect "$IMAGE" >/dev/null 2>&1; then
        say "pulling $IMAGE"
        timeout 900 docker pull -q "$IMAGE" >&2 ||
          die "the node image $IMAGE is not here and cannot be pulled. Load one (docker load) and name it with KIND_IMAGE, or leave CLUSTER=kind away: the project's own cluster needs no images"
      fi
      mkdir -p "$STATE"
      kind create cluster --name "$FMO_CLUSTER" --image "$IMAGE" --config "$CONFIG" --kubeconfig "$KUBECONFIG_FILE" --wait 180s >&2
      "$0" load "$(images)"/busybox.tar
    fi
    echo "KUBECONFIG=$KUBECONFIG_FILE"
    ;;
  down)
    if kind_is || docker inspect "$NODE" >/dev/null 2>&1; then
      KIND=$(cached kind "$CLUSTER_DIR/kind.sh" build_kind)
      kind delete cluster --name "$FMO_CLUSTER" >&2
    fi
    rm -f "$KUBECONFIG_FILE"
    rmdir -p --ignore-fail-on-non-empty "$STATE" 2>/dev/null || true
    ;;
  env)
    kind_is || die "cluster $FMO_CLUSTER is not up (kind): run CLUSTER=kind test/cluster/up.sh"
    address() { docker inspect -f "{{range .NetworkSettings.Networks}}{{.$1}}{{end}}" "$NODE"; }
    printf 'export %s=%q\n' KUBECONFIG "$KUBECONFIG_FILE" FMO_CLUSTER "$FMO_CLUSTER" CLUSTER kind FMO_CLUSTER_BIN "$(clients)" \
      FMO_NODE_IP "$(address IPAddress)" FMO_HOST_IP "$(address Gateway)" FMO_CLUSTER_STATE "$STATE" \
      FMO_CLUSTER_PID "$(docker inspect -f '{{.State.Pid}}' "$NODE")"
    ;;
  load)
    shift
    KIND=$(cached kind "$CLUSTER_DIR/kind.sh" build_kind)
    for archive; do kind load image-archive --name "$FMO_CLUSTER" "$archive" >&2; done
    ;;
  *) die "usage: kind.sh up|down|env|load FILE.tar..." ;;
esac

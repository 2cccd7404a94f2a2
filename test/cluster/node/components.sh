# shellcheck shell=bash
# node/components.sh - the components of the cluster: how each is started, and how it is known to be healthy. Runs inside the cluster's
# namespaces only; init.sh boots with it and restart.sh restarts one with it.
# shellcheck source=../lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# What up.sh decided for this cluster: addresses, link, folders of binaries and images.
# shellcheck disable=SC1091
source "$STATE/settings"
# shellcheck source=config.sh
source "$CLUSTER_DIR/node/config.sh"

export PATH=$BIN:$OWN_BIN:$PATH:/usr/sbin:/sbin
export CONTAINERD_ADDRESS=/run/containerd/containerd.sock CONTAINERD_NAMESPACE=k8s.io CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1
PKI=$STATE/pki CONF=$STATE/conf LOG=$STATE/log
API=https://$NODE_IP:6443
# shellcheck disable=SC2034  # health.sh
COMPONENTS=(containerd etcd kube-apiserver kube-controller-manager kube-scheduler netpol kubelet kube-proxy)

launch() { # NAME COMMAND...
  local name=$1
  shift
  setsid "$@" >>"$LOG/$name.log" 2>&1 </dev/null &
  echo $! >"$STATE/pids/$name"
}

progress() { say "$*" 2>>"$LOG/boot.log"; } # up.sh shows it

runs() { # NAME
  local pid
  pid=$(cat "$STATE/pids/$1" 2>/dev/null) && kill -0 "$pid" 2>/dev/null
}

get() { curl -sf --max-time 10 "$@"; }

start_containerd() { launch containerd containerd --config "$CONF/containerd.toml"; }
healthy_containerd() { timeout 15 ctr version; }

# No fsync: the data is thrown away with the cluster, and a shared disk's flushes would be the slowest part of every write.
start_etcd() {
  launch etcd etcd --data-dir "$STATE/etcd" --unsafe-no-fsync --auto-compaction-retention=10m --log-level=warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster default=http://127.0.0.1:2380
}
healthy_etcd() { get http://127.0.0.1:2379/readyz; }

start_kube-apiserver() {
  launch kube-apiserver kube-apiserver --etcd-servers http://127.0.0.1:2379 --secure-port 6443 --bind-address 0.0.0.0 --advertise-address "$NODE_IP" \
    --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" --client-ca-file "$PKI/ca.crt" \
    --kubelet-client-certificate "$PKI/apiserver-kubelet.crt" --kubelet-client-key "$PKI/apiserver-kubelet.key" \
    --kubelet-certificate-authority "$PKI/ca.crt" --kubelet-preferred-address-types InternalIP \
    --service-account-key-file "$PKI/sa.key" --service-account-signing-key-file "$PKI/sa.key" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --requestheader-client-ca-file "$PKI/ca.crt" --requestheader-allowed-names front-proxy-client \
    --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$PKI/front-proxy.crt" --proxy-client-key-file "$PKI/front-proxy.key" \
    --audit-policy-file "$CLUSTER_DIR/manifests/audit.yaml" --audit-log-path "$LOG/audit.log" --audit-log-maxsize 64 --audit-log-maxbackup 1 \
    --service-cluster-ip-range "$SERVICE_CIDR" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --allow-privileged=true --profiling=false
}
healthy_kube-apiserver() { get --cacert "$PKI/ca.crt" --cert "$PKI/admin.crt" --key "$PKI/admin.key" "$API/readyz"; }

start_kube-controller-manager() {
  launch kube-controller-manager kube-controller-manager --kubeconfig "$CONF/controller-manager.kubeconfig" \
    --authentication-kubeconfig "$CONF/controller-manager.kubeconfig" --authorization-kubeconfig "$CONF/controller-manager.kubeconfig" \
    --service-account-private-key-file "$PKI/sa.key" --root-ca-file "$PKI/ca.crt" \
    --cluster-signing-cert-file "$PKI/ca.crt" --cluster-signing-key-file "$PKI/ca.key" --use-service-account-credentials \
    --leader-elect=false --kube-api-qps 500 --kube-api-burst 1000 --concurrent-namespace-syncs 20 --bind-address 127.0.0.1 \
    --allocate-node-cidrs=false --profiling=false
}
healthy_kube-controller-manager() { get -k https://127.0.0.1:10257/healthz; }

start_kube-scheduler() {
  launch kube-scheduler kube-scheduler --kubeconfig "$CONF/scheduler.kubeconfig" --kube-api-qps 500 --kube-api-burst 1000 \
    --authentication-kubeconfig "$CONF/scheduler.kubeconfig" --authorization-kubeconfig "$CONF/scheduler.kubeconfig" \
    --leader-elect=false --bind-address 127.0.0.1 --profiling=false
}
healthy_kube-scheduler() { get -k https://127.0.0.1:10259/readyz; }

# Enforces NetworkPolicy (see netpol/); the CNI plugin waits for it, so it starts before the first pod can.
start_netpol() {
  rm -f /run/netpol.sock # it is made when the first rules are in the kernel
  launch netpol netpol --kubeconfig "$CONF/netpol.kubeconfig" --socket /run/netpol.sock --pod-cidr "$POD_CIDR"
}
healthy_netpol() { [ -S /run/netpol.sock ] && runs netpol; }

# The kubelet sets vm.overcommit_memory, kernel.panic and others, and they are the whole machine's. It gets a /proc/sys of its own that
# already has its values, in a mount namespace of its own: pods must see a /proc without mounts on it, or user namespaces cannot work.
start_kubelet() {
  launch kubelet unshare --mount --propagation unchanged "$CLUSTER_DIR/node/kubelet.sh" "$CONF/sysctl" \
    kubelet --config "$CONF/kubelet.yaml" --kubeconfig "$CONF/kubelet.kubeconfig" --root-dir "$STATE/kubelet" --cert-dir "$PKI" \
    --hostname-override "$NODE_NAME" --node-ip "$NODE_IP"
}
healthy_kubelet() { get http://127.0.0.1:10248/healthz && kube get node "$NODE_NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' | grep -q True; }

start_kube-proxy() { launch kube-proxy kube-proxy --config "$CONF/kube-proxy.yaml"; }
healthy_kube-proxy() { get http://127.0.0.1:10256/healthz; }

kube() { kubectl --kubeconfig "$KUBECONFIG_FILE" --request-timeout 20s "$@"; }

# ready NAME [SECONDS] - waits until the component is healthy. Fails at once when it has died, else after the deadline.
ready() {
  local name=$1 until=$((SECONDS + ${2:-60}))
  until "healthy_$name" >/dev/null 2>&1; do
    runs "$name" || { sleep 0.2 && ! runs "$name" && return 1; }
    ((SECONDS < until)) || return 1
    sleep 0.1
  done
}

stop_component() { # NAME [SIGNAL] - asks it to end, and kills it after 10 s
  local pid
  pid=$(cat "$STATE/pids/$1" 2>/dev/null) || return 0
  kill -s "${2:-TERM}" "$pid" 2>/dev/null || return 0
  within 10 gone "$pid" || { kill -KILL "$pid" 2>/dev/null || true; within 5 gone "$pid"; }
}
gone() { ! kill -0 "$1" 2>/dev/null; }

# step NAME - waits for a component of the boot; what it names last is what failed.
step() {
  echo "$1" >"$STATE/boot.component"
  ready "$1" 180 || return 1
  progress "$1 is healthy"
}

load_images() {
  local archive
  echo containerd >"$STATE/boot.component"
  for archive in "$IMAGES"/*.tar; do
    ctr images import --local "$archive" >>"$LOG/images.log" 2>&1 || return 1
  done
  progress "images are loaded"
}

apply() { echo addons >"$STATE/boot.component"; within 120 kube apply --server-side -f "$1"; }
service_account() { kube -n default get serviceaccount default; }
dns_ready() { kube -n kube-system rollout status deployment/coredns --timeout 15s; }

# boot - starts everything in the order in which it can be: what needs nothing at once, the clients of the API server when it is ready
# (kube-controller-manager exits when the bootstrap roles are missing).
boot() {
  local name
  start_containerd
  start_etcd
  start_kube-apiserver
  step containerd || return 1
  load_images || return 1
  step etcd || return 1
  step kube-apiserver || return 1
  for name in kube-controller-manager kube-scheduler netpol kubelet kube-proxy; do "start_$name"; done
  apply "$CONF/addons.yaml" >>"$LOG/addons.log" 2>&1 || return 1
  for name in kube-controller-manager kube-scheduler netpol kubelet kube-proxy; do step "$name" || return 1; done
  echo default-service-account >"$STATE/boot.component"
  within 120 service_account || return 1
  echo coredns >"$STATE/boot.component"
  within 180 dns_ready || return 1
  progress "coredns is ready"
}

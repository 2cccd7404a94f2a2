# shellcheck shell=bash
# node/config.sh - the cluster's fixed addresses, its certificates and its components' configuration files.
SERVICE_CIDR=10.96.0.0/16
DNS_IP=10.96.0.10
POD_CIDR=10.244.0.0/24

# write_pki - one certificate authority for everything: a cluster that lives for a test needs no more.
write_pki() (
  cd "$PKI" || return
  umask 077
  ec_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
  certificate() { # NAME SUBJECT [ALTERNATIVE-NAMES]
    ec_key "$1"
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
    printf 'extendedKeyUsage=clientAuth,serverAuth\n%s\n' "${3:+subjectAltName=$3}" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" -days 3650 -extfile "$1.ext" -out "$1.crt"
    rm "$1.csr" "$1.ext"
  }
  ec_key ca
  openssl req -x509 -new -key ca.key -subj /CN=test-cluster-ca -days 3650 -out ca.crt
  certificate apiserver /CN=kube-apiserver "IP:127.0.0.1,IP:$NODE_IP,IP:${SERVICE_CIDR%.*}.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  certificate apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet-client
  certificate admin /O=system:masters/CN=admin
  certificate controller-manager /CN=system:kube-controller-manager
  certificate scheduler /CN=system:kube-scheduler
  certificate kube-proxy /CN=system:kube-proxy
  certificate netpol /CN=netpol
  certificate kubelet "/O=system:nodes/CN=system:node:$NODE_NAME" "IP:$NODE_IP,IP:127.0.0.1,DNS:$NODE_NAME"
  certificate front-proxy /CN=front-proxy-client
  openssl genrsa -out sa.key 2048
)

write_kubeconfig() { # FILE CERTIFICATE
  (
    umask 077
    cat >"$1" <<Y
apiVersion: v1
kind: Config
clusters: [{name: $FMO_CLUSTER, cluster: {server: "$API", certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")}}]
users: [{name: $2, user: {client-certificate-data: $(base64 -w0 "$PKI/$2.crt"), client-key-data: $(base64 -w0 "$PKI/$2.key")}}]
contexts: [{name: $FMO_CLUSTER, context: {cluster: $FMO_CLUSTER, user: $2}}]
current-context: $FMO_CLUSTER
Y
  )
}

write_config() {
  local name
  for name in controller-manager scheduler kubelet kube-proxy netpol; do write_kubeconfig "$CONF/$name.kubeconfig" "$name"; done
  write_kubeconfig "$KUBECONFIG_FILE" admin

  # What the kubelet wants (pkg/kubelet/cm), see kubelet.sh.
  mkdir -p "$CONF"/sysctl/{vm,kernel/keys}
  echo 1 >"$CONF/sysctl/vm/overcommit_memory"
  echo 0 >"$CONF/sysctl/vm/panic_on_oom"
  echo 10 >"$CONF/sysctl/kernel/panic"
  echo 1 >"$CONF/sysctl/kernel/panic_on_oops"
  echo 1000000 >"$CONF/sysctl/kernel/keys/root_maxkeys"
  echo 25000000 >"$CONF/sysctl/kernel/keys/root_maxbytes"

  # restrict_oom_score_adj: some machines give root no CAP_SYS_RESOURCE, and scores below one's own then cannot be set.
  cat >"$CONF/containerd.toml" <<Y
version = 3
root = "$STATE/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "forgejo-mcp-operator.test/pause:3.10"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["$BIN/cni", "$OWN_BIN"]
    conf_dir = "$CONF/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "$BIN/runc"
        SystemdCgroup = false
Y
  # ptp and not bridge: every packet of a pod then crosses the node's forward or input hook, where netpol's rules are.
  mkdir -p "$CONF/cni"
  cat >"$CONF/cni/10-pods.conflist" <<Y
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": true, "mtu": 1500,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$POD_CIDR"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni-ipam"}},
  {"type": "portmap", "capabilities": {"portMappings": true}},
  {"type": "netpol-cni", "socket": "/run/netpol.sock"}]}
Y
  echo "nameserver $DNS_IP" >"$CONF/resolv.conf"
  cat >"$CONF/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true, cacheTTL: 2m}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet.crt
tlsPrivateKeyFile: $PKI/kubelet.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$FMO_CLUSTER
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDNS: ["$DNS_IP"]
clusterDomain: cluster.local
resolvConf: $CONF/resolv.conf
maxPods: 250
podPidsLimit: 1024
seccompDefault: true
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
kubeAPIQPS: 200
kubeAPIBurst: 400
imageGCHighThresholdPercent: 100
imageMinimumGCAge: 24h
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}
podLogsDir: $STATE/podlogs
volumePluginDir: $STATE/kubelet/volumeplugins
Y
  cat >"$CONF/kube-proxy.yaml" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $CONF/kube-proxy.kubeconfig}
mode: nftables
clusterCIDR: $POD_CIDR
hostnameOverride: $NODE_NAME
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
oomScoreAdj: 0
conntrack: {maxPerCore: 0}
nftables: {minSyncPeriod: 100ms, syncPeriod: 30s}
Y
  sed -e "s/@DNS_IP@/$DNS_IP/g" "$CLUSTER_DIR/manifests/addons.yaml" >"$CONF/addons.yaml"
}

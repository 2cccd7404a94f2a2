// Command netpol enforces NetworkPolicy (networking.k8s.io/v1) on a node with nftables, for IPv4.
//
// Every packet of a pod crosses the node's forward or input hook (CNI ptp). There, established flows pass; a pod address that belongs to
// no pod known here is dropped, to and from; the rest is judged by the policies. The rules are one table, replaced in one transaction,
// so a change never lets anything through and never cuts an established flow. Addresses come from netpol-cni before a pod runs, and
// from pods' status after netpol itself was restarted. Traffic from the node to its pods (probes) is always allowed, as the
// NetworkPolicy documentation demands.
package main

import (
	"context"
	"flag"
	"log"
	"net/netip"
	"os/signal"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "`FILE` with access to pods, namespaces and network policies")
	socket := flag.String("socket", "/run/netpol.sock", "unix `SOCKET` on which netpol-cni calls")
	cidr := flag.String("pod-cidr", "", "the node's pod `CIDR`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, *kubeconfig, *socket, *cidr); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, kubeconfig, socket, cidr string) error {
	pods, err := netip.ParsePrefix(cidr)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 200, 400
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	// From here on nothing unknown passes, also while the informers fill. After a restart the old rules stay until there are new ones.
	if !tableExists(ctx) {
		if err := apply(ctx, render(pods, nil, nil, nil)); err != nil {
			return err
		}
	}
	e := newEnforcer(client, pods)
	if err := e.start(ctx); err != nil {
		return err
	}
	return serve(ctx, socket, e)
}

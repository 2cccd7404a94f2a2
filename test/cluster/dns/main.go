// Command dns is CoreDNS with the few plugins that the test cluster's Corefile names; the full set would double its build time.
package main

import (
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
)

// Plugins run in this order, whatever the order in the Corefile.
func init() {
	dnsserver.Directives = []string{"ready", "errors", "log", "cache", "kubernetes", "file"}
}

func main() { coremain.Run() }

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const table = "inet netpol"

// apply hands rules to the kernel as one transaction: all of them or none.
func apply(ctx context.Context, rules string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	nft := exec.CommandContext(ctx, "nft", "-f", "-")
	nft.Stdin = strings.NewReader(rules)
	if out, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func tableExists(ctx context.Context) bool {
	return exec.CommandContext(ctx, "nft", "list", "table", "inet", "netpol").Run() == nil
}

// forgetFlows removes the tracked connections of an address. Its last owner's may still be there, and a packet of the new owner on the
// same ports would count as established.
func forgetFlows(address netip.Addr) error {
	var filters []netlink.CustomConntrackFilter
	for _, field := range []netlink.ConntrackFilterType{netlink.ConntrackOrigSrcIP, netlink.ConntrackOrigDstIP, netlink.ConntrackReplySrcIP} {
		f := &netlink.ConntrackFilter{}
		if err := f.AddIP(field, address.AsSlice()); err != nil {
			return err
		}
		filters = append(filters, f)
	}
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filters...)
	return err
}

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
)

// renderer makes the nftables text. Equal input gives equal text, so that an unchanged set of rules is not applied again.
type renderer struct {
	endpoints  []endpoint
	namespaces map[string]map[string]string // name to labels
	sets       map[string]string            // elements to name, shared by the rules that choose the same peers
	setText    strings.Builder
	chains     strings.Builder
}

// render makes the whole table: a set of the known addresses, a chain for each isolated pod and direction, and the hooks.
func render(cidr netip.Prefix, known []endpoint, namespaces []*core.Namespace, policies []*networking.NetworkPolicy) string {
	r := &renderer{endpoints: known, namespaces: map[string]map[string]string{}, sets: map[string]string{}}
	for _, n := range namespaces {
		r.namespaces[n.Name] = n.Labels
	}
	policies = slices.Clone(policies)
	slices.SortFunc(policies, func(a, b *networking.NetworkPolicy) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	var addresses, ingress, egress []string
	for _, e := range known {
		addresses = append(addresses, e.ip.String())
		if chain := r.chain(e, networking.PolicyTypeIngress, policies); chain != "" {
			ingress = append(ingress, fmt.Sprintf("%s : jump %s", e.ip, chain))
		}
		if chain := r.chain(e, networking.PolicyTypeEgress, policies); chain != "" {
			egress = append(egress, fmt.Sprintf("%s : jump %s", e.ip, chain))
		}
	}
	var b strings.Builder
	// Adding first makes deleting succeed when there is no table yet.
	fmt.Fprintf(&b, "add table %s\ndelete table %s\ntable %s {\n", table, table, table)
	fmt.Fprintf(&b, " set known { type ipv4_addr;%s }\n", elements(addresses))
	b.WriteString(r.setText.String())
	b.WriteString(r.chains.String())
	fmt.Fprintf(&b, " map ingress { type ipv4_addr : verdict;%s }\n", elements(ingress))
	fmt.Fprintf(&b, " map egress { type ipv4_addr : verdict;%s }\n", elements(egress))
	// After the translation of Service addresses and before that of sources. To the node itself only egress counts.
	fmt.Fprintf(&b, ` chain forward {
  type filter hook forward priority filter - 5; policy accept;
  ct state established,related accept
  ip saddr %[1]s ip saddr != @known counter drop
  ip daddr %[1]s ip daddr != @known counter drop
  ip saddr vmap @egress
  ip daddr vmap @ingress
 }
 chain input {
  type filter hook input priority filter - 5; policy accept;
  ct state established,related accept
  iifname "lo" accept
  ip saddr %[1]s ip saddr != @known counter drop
  ip saddr vmap @egress
 }
}
`, cidr)
	return b.String()
}

func elements(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return " elements = { " + strings.Join(list, ", ") + " };"
}

// chain writes the chain of a pod's direction and returns its name, empty when no policy isolates the pod in it. A match returns, for the
// other direction has yet to agree; what matches nothing is dropped.
func (r *renderer) chain(e endpoint, direction networking.PolicyType, policies []*networking.NetworkPolicy) string {
	field, prefix := "saddr", "in"
	if direction == networking.PolicyTypeEgress {
		field, prefix = "daddr", "out"
	}
	isolated := false
	// A pod can always reach itself, also by its Service.
	lines := []string{fmt.Sprintf("ip %s %s return", field, e.ip)}
	for _, p := range policies {
		if p.Namespace != e.pod.Namespace || !governs(p, direction) || !selects(&p.Spec.PodSelector, e.pod.Labels) {
			continue
		}
		isolated = true
		for _, rule := range rulesOf(p, direction) {
			for _, match := range r.matches(e, field, p.Namespace, rule) {
				lines = append(lines, strings.TrimLeft(match+" return", " "))
			}
		}
	}
	if !isolated {
		return ""
	}
	name := prefix + "_" + strings.ReplaceAll(e.ip.String(), ".", "_")
	owner := e.pod.Namespace + "/" + e.pod.Name
	if len(owner) > 120 { // nft takes 128 bytes
		owner = owner[:120]
	}
	fmt.Fprintf(&r.chains, " chain %s {\n  %s\n  counter drop comment \"%s\"\n }\n", name, strings.Join(lines, "\n  "), owner)
	return name
}

// matches are the nftables matches of a rule for one isolated pod; an empty one matches everything.
func (r *renderer) matches(e endpoint, field, namespace string, rule rule) []string {
	pods := r.peerPods(namespace, rule.peers)
	var from []string
	switch {
	case len(rule.peers) == 0:
		from = []string{""}
		pods = r.endpoints
	case len(pods) > 0:
		from = append(blocks(field, rule.peers), fmt.Sprintf("ip %s @%s", field, r.set(pods)))
	default:
		from = blocks(field, rule.peers)
	}
	if len(rule.ports) == 0 {
		return from
	}
	var found []string
	for _, port := range rule.ports {
		if match, ok := portMatch(port); ok {
			for _, f := range from {
				found = append(found, strings.TrimLeft(f+" "+match, " "))
			}
		} else if field == "saddr" {
			// Towards the isolated pod: the name is the pod's own.
			for _, number := range namedPorts(e.pod, port) {
				for _, f := range from {
					found = append(found, strings.TrimLeft(fmt.Sprintf("%s %s dport %d", f, protocol(port), number), " "))
				}
			}
		} else {
			// Away from it: each peer has its own number for the name, and addresses that are no pod have none.
			var pairs []string
			for _, peer := range pods {
				for _, number := range namedPorts(peer.pod, port) {
					pairs = append(pairs, fmt.Sprintf("%s . %d", peer.ip, number))
				}
			}
			if len(pairs) > 0 {
				found = append(found, fmt.Sprintf("ip daddr . %s dport { %s }", protocol(port), strings.Join(pairs, ", ")))
			}
		}
	}
	return found
}

// set names the set of the endpoints' addresses, and writes it when it is new.
func (r *renderer) set(pods []endpoint) string {
	list := make([]string, len(pods))
	for i, e := range pods {
		list[i] = e.ip.String()
	}
	key := elements(list)
	name, found := r.sets[key]
	if !found {
		name = fmt.Sprintf("peers_%d", len(r.sets))
		r.sets[key] = name
		fmt.Fprintf(&r.setText, " set %s { type ipv4_addr;%s }\n", name, key)
	}
	return name
}

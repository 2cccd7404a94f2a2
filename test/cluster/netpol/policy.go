package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// endpoint is an address that belongs to a pod now.
type endpoint struct {
	ip  netip.Addr
	pod *core.Pod
}

// endpoints pairs addresses with the pods that own them, sorted by address. What CNI said wins over what a pod's status says: a status can
// still name an address that went to another pod. Pods that have ended, and those on the node's own network, have none.
func endpoints(pods []*core.Pod, leases map[netip.Addr]lease) []endpoint {
	byUID := make(map[types.UID]*core.Pod, len(pods))
	owners := make(map[netip.Addr]*core.Pod, len(pods))
	for _, pod := range pods {
		if pod.Spec.HostNetwork || pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed {
			continue
		}
		byUID[pod.UID] = pod
		for _, ip := range pod.Status.PodIPs {
			if address, err := netip.ParseAddr(ip.IP); err == nil && address.Is4() {
				owners[address] = pod
			}
		}
	}
	for address, l := range leases {
		if pod := byUID[l.uid]; pod != nil {
			owners[address] = pod
		} else {
			delete(owners, address)
		}
	}
	found := make([]endpoint, 0, len(owners))
	for address, pod := range owners {
		found = append(found, endpoint{address, pod})
	}
	slices.SortFunc(found, func(a, b endpoint) int { return a.ip.Compare(b.ip) })
	return found
}

func selects(selector *meta.LabelSelector, set map[string]string) bool {
	s, err := meta.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(set))
}

// governs tells whether a policy isolates in a direction. Without policyTypes: ingress always, egress when it has egress rules.
func governs(p *networking.NetworkPolicy, direction networking.PolicyType) bool {
	if len(p.Spec.PolicyTypes) == 0 {
		return direction == networking.PolicyTypeIngress || len(p.Spec.Egress) > 0
	}
	return slices.Contains(p.Spec.PolicyTypes, direction)
}

// rule is an ingress or egress rule; both have the same parts.
type rule struct {
	peers []networking.NetworkPolicyPeer
	ports []networking.NetworkPolicyPort
}

func rulesOf(p *networking.NetworkPolicy, direction networking.PolicyType) []rule {
	var rules []rule
	if direction == networking.PolicyTypeIngress {
		for _, r := range p.Spec.Ingress {
			rules = append(rules, rule{r.From, r.Ports})
		}
	} else {
		for _, r := range p.Spec.Egress {
			rules = append(rules, rule{r.To, r.Ports})
		}
	}
	return rules
}

// peerPods are the endpoints that the selectors of a rule's peers choose; the policy's namespace counts where a peer names none.
func (r *renderer) peerPods(namespace string, peers []networking.NetworkPolicyPeer) []endpoint {
	var found []endpoint
	for _, e := range r.endpoints {
		chosen := func(p networking.NetworkPolicyPeer) bool {
			if p.IPBlock != nil || p.PodSelector == nil && p.NamespaceSelector == nil {
				return false
			}
			if p.NamespaceSelector == nil && e.pod.Namespace != namespace {
				return false
			}
			if p.NamespaceSelector != nil && !selects(p.NamespaceSelector, r.namespaces[e.pod.Namespace]) {
				return false
			}
			return p.PodSelector == nil || selects(p.PodSelector, e.pod.Labels)
		}
		if slices.ContainsFunc(peers, chosen) {
			found = append(found, e)
		}
	}
	return found
}

// blocks are the matches of a rule's ipBlock peers. IPv6 blocks match nothing here.
func blocks(field string, peers []networking.NetworkPolicyPeer) []string {
	var matches []string
	for _, p := range peers {
		if p.IPBlock == nil {
			continue
		}
		cidr, err := netip.ParsePrefix(p.IPBlock.CIDR)
		if err != nil || !cidr.Addr().Is4() {
			continue
		}
		match := fmt.Sprintf("ip %s %s", field, cidr.Masked())
		for _, except := range p.IPBlock.Except {
			if cidr, err := netip.ParsePrefix(except); err == nil && cidr.Addr().Is4() {
				match += fmt.Sprintf(" ip %s != %s", field, cidr.Masked())
			}
		}
		matches = append(matches, match)
	}
	return matches
}

func protocol(p networking.NetworkPolicyPort) string {
	if p.Protocol == nil {
		return "tcp"
	}
	return strings.ToLower(string(*p.Protocol))
}

// portMatch is the match of a port given by number, range or protocol alone; not ok when it is given by name.
func portMatch(p networking.NetworkPolicyPort) (match string, ok bool) {
	switch {
	case p.Port == nil:
		return "meta l4proto " + protocol(p), true
	case p.Port.Type == intstr.String:
		return "", false
	case p.EndPort != nil:
		return fmt.Sprintf("%s dport %d-%d", protocol(p), p.Port.IntVal, *p.EndPort), true
	default:
		return fmt.Sprintf("%s dport %d", protocol(p), p.Port.IntVal), true
	}
}

// namedPorts are the numbers that a pod gives to a port's name, of its containers and its sidecars.
func namedPorts(pod *core.Pod, p networking.NetworkPolicyPort) []int32 {
	containers := slices.Clone(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == core.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	var numbers []int32
	for _, c := range containers {
		for _, port := range c.Ports {
			declared := string(port.Protocol)
			if declared == "" {
				declared = "TCP"
			}
			if port.Name == p.Port.StrVal && strings.EqualFold(declared, protocol(p)) && !slices.Contains(numbers, port.ContainerPort) {
				numbers = append(numbers, port.ContainerPort)
			}
		}
	}
	return numbers
}

package main

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var cidr = netip.MustParsePrefix("10.244.0.0/24")

func pod(namespace, name, ip string, labels map[string]string, ports ...core.ContainerPort) *core.Pod {
	return &core.Pod{
		ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name), Labels: labels},
		Spec:       core.PodSpec{Containers: []core.Container{{Ports: ports}}},
		Status:     core.PodStatus{Phase: core.PodRunning, PodIPs: []core.PodIP{{IP: ip}}},
	}
}

func namespace(name string, labels map[string]string) *core.Namespace {
	return &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: name, Labels: labels}}
}

func policy(ns string, spec networking.NetworkPolicySpec) *networking.NetworkPolicy {
	return &networking.NetworkPolicy{ObjectMeta: meta.ObjectMeta{Namespace: ns, Name: "p"}, Spec: spec}
}

func selector(labels map[string]string) *meta.LabelSelector {
	return &meta.LabelSelector{MatchLabels: labels}
}

func port(value intstr.IntOrString) networking.NetworkPolicyPort {
	return networking.NetworkPolicyPort{Port: &value}
}

// chainOf returns the rules of a chain in the rendered text, without the drop at its end.
func chainOf(t *testing.T, rules, chain string) []string {
	t.Helper()
	_, after, found := strings.Cut(rules, " chain "+chain+" {\n")
	if !found {
		t.Fatalf("no chain %s in\n%s", chain, rules)
	}
	body, _, _ := strings.Cut(after, " }\n")
	lines := strings.Split(strings.TrimSpace(body), "\n")
	if !strings.HasPrefix(strings.TrimSpace(lines[len(lines)-1]), "counter drop") {
		t.Fatalf("chain %s does not end in a drop:\n%s", chain, body)
	}
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines[:len(lines)-1]
}

// valid has nft check the text, where nft and the right to ask the kernel are there.
func valid(t *testing.T, rules string) {
	t.Helper()
	check := exec.Command("unshare", "-n", "nft", "-c", "-f", "-")
	if exec.Command("unshare", "-n", "nft", "list", "tables").Run() != nil {
		t.Log("not checked by nft: it needs root")
		return
	}
	check.Stdin = strings.NewReader(rules)
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s\n%s", err, out, rules)
	}
}

func TestRules(t *testing.T) {
	friend := map[string]string{"role": "friend"}
	web := []core.ContainerPort{{Name: "web", ContainerPort: 8080}, {Name: "web", ContainerPort: 8081, Protocol: core.ProtocolUDP}}
	pods := []*core.Pod{
		pod("a", "subject", "10.244.0.2", nil, web...),
		pod("a", "friend", "10.244.0.3", friend, core.ContainerPort{Name: "web", ContainerPort: 9090}),
		pod("b", "friend", "10.244.0.4", friend),
		pod("b", "stranger", "10.244.0.5", nil),
	}
	namespaces := []*core.Namespace{namespace("a", nil), namespace("b", map[string]string{"team": "blue"})}
	udp, ranged := core.ProtocolUDP, int32(90)
	only := selector(nil)
	type peer = networking.NetworkPolicyPeer
	ingress := func(from []peer, ports ...networking.NetworkPolicyPort) networking.NetworkPolicySpec {
		return networking.NetworkPolicySpec{PodSelector: *only, Ingress: []networking.NetworkPolicyIngressRule{{From: from, Ports: ports}}}
	}
	egress := func(to []peer, ports ...networking.NetworkPolicyPort) networking.NetworkPolicySpec {
		return networking.NetworkPolicySpec{PodSelector: *only, PolicyTypes: []networking.PolicyType{networking.PolicyTypeEgress},
			Egress: []networking.NetworkPolicyEgressRule{{To: to, Ports: ports}}}
	}
	for name, c := range map[string]struct {
		spec  networking.NetworkPolicySpec
		chain string
		want  []string
		sets  string
	}{
		"no rule denies all":                 {networking.NetworkPolicySpec{}, "in_10_244_0_2", nil, ""},
		"an empty rule allows all":           {ingress(nil), "in_10_244_0_2", []string{"return"}, ""},
		"pods of the policy's own namespace": {ingress([]peer{{PodSelector: selector(friend)}}), "in_10_244_0_2", []string{"ip saddr @peers_0 return"}, "10.244.0.3 }"},
		"pods of chosen namespaces": {ingress([]peer{{PodSelector: selector(friend), NamespaceSelector: selector(map[string]string{"team": "blue"})}}),
			"in_10_244_0_2", []string{"ip saddr @peers_0 return"}, "10.244.0.4 }"},
		"all pods of chosen namespaces": {ingress([]peer{{NamespaceSelector: selector(map[string]string{"team": "blue"})}}),
			"in_10_244_0_2", []string{"ip saddr @peers_0 return"}, "10.244.0.4, 10.244.0.5 }"},
		"a selector that chooses nobody allows nobody": {ingress([]peer{{PodSelector: selector(map[string]string{"role": "foe"})}}), "in_10_244_0_2", nil, ""},
		"blocks, with exceptions that overlap": {ingress([]peer{{IPBlock: &networking.IPBlock{CIDR: "10.0.0.1/8", Except: []string{"10.1.0.0/16", "10.1.2.0/24"}}}}),
			"in_10_244_0_2", []string{"ip saddr 10.0.0.0/8 ip saddr != 10.1.0.0/16 ip saddr != 10.1.2.0/24 return"}, ""},
		"the whole Internet":           {ingress([]peer{{IPBlock: &networking.IPBlock{CIDR: "0.0.0.0/0"}}}), "in_10_244_0_2", []string{"ip saddr 0.0.0.0/0 return"}, ""},
		"IPv6 blocks allow nobody":     {ingress([]peer{{IPBlock: &networking.IPBlock{CIDR: "::/0"}}}), "in_10_244_0_2", nil, ""},
		"ports by number":              {ingress(nil, port(intstr.FromInt32(80))), "in_10_244_0_2", []string{"tcp dport 80 return"}, ""},
		"ports by range and protocol":  {ingress(nil, networking.NetworkPolicyPort{Protocol: &udp, Port: new(intstr.FromInt32(80)), EndPort: &ranged}), "in_10_244_0_2", []string{"udp dport 80-90 return"}, ""},
		"a protocol alone":             {ingress(nil, networking.NetworkPolicyPort{Protocol: &udp}), "in_10_244_0_2", []string{"meta l4proto udp return"}, ""},
		"ingress ports by own name":    {ingress(nil, port(intstr.FromString("web"))), "in_10_244_0_2", []string{"tcp dport 8080 return"}, ""},
		"an unknown name allows none":  {ingress(nil, port(intstr.FromString("nope"))), "in_10_244_0_2", nil, ""},
		"egress ports by peers' names": {egress(nil, port(intstr.FromString("web"))), "out_10_244_0_2", []string{"ip daddr . tcp dport { 10.244.0.2 . 8080, 10.244.0.3 . 9090 } return"}, ""},
		"egress names on blocks":       {egress([]peer{{IPBlock: &networking.IPBlock{CIDR: "10.0.0.0/8"}}}, port(intstr.FromString("web"))), "out_10_244_0_2", nil, ""},
		"egress peers":                 {egress([]peer{{PodSelector: selector(friend)}}, port(intstr.FromInt32(443))), "out_10_244_0_2", []string{"ip daddr @peers_0 tcp dport 443 return"}, "10.244.0.3 }"},
	} {
		t.Run(name, func(t *testing.T) {
			rules := render(cidr, endpoints(pods, nil), namespaces, []*networking.NetworkPolicy{policy("a", c.spec)})
			valid(t, rules)
			self := "ip saddr 10.244.0.2 return"
			if strings.HasPrefix(c.chain, "out") {
				self = "ip daddr 10.244.0.2 return"
			}
			want := append([]string{self}, c.want...)
			if got := chainOf(t, rules, c.chain); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if c.sets != "" && !strings.Contains(rules, " set peers_0 { type ipv4_addr; elements = { "+c.sets) {
				t.Errorf("the peers are not %s in\n%s", c.sets, rules)
			}
			if strings.Contains(rules, "10_244_0_4") || strings.Contains(rules, "10_244_0_5") {
				t.Errorf("pods of another namespace are isolated:\n%s", rules)
			}
		})
	}
}

func TestOnlyGovernedDirectionsAreIsolated(t *testing.T) {
	pods := []*core.Pod{pod("a", "x", "10.244.0.2", nil)}
	both := []networking.PolicyType{networking.PolicyTypeIngress, networking.PolicyTypeEgress}
	for _, c := range []struct {
		spec    networking.NetworkPolicySpec
		in, out bool
	}{
		{networking.NetworkPolicySpec{}, true, false},
		{networking.NetworkPolicySpec{Egress: []networking.NetworkPolicyEgressRule{{}}}, true, true},
		{networking.NetworkPolicySpec{PolicyTypes: both}, true, true},
		{networking.NetworkPolicySpec{PolicyTypes: both[1:]}, false, true},
		{networking.NetworkPolicySpec{PodSelector: *selector(map[string]string{"no": "match"}), PolicyTypes: both}, false, false},
	} {
		rules := render(cidr, endpoints(pods, nil), []*core.Namespace{namespace("a", nil)}, []*networking.NetworkPolicy{policy("a", c.spec)})
		valid(t, rules)
		if strings.Contains(rules, "chain in_") != c.in || strings.Contains(rules, "chain out_") != c.out {
			t.Errorf("%+v:\n%s", c.spec, rules)
		}
	}
}

func TestEndpointsFollowCNIBeforeStatus(t *testing.T) {
	old, fresh := pod("a", "old", "10.244.0.2", nil), pod("a", "fresh", "", nil)
	ended, host := pod("a", "ended", "10.244.0.3", nil), pod("a", "host", "10.244.0.4", nil)
	fresh.Status.PodIPs, ended.Status.Phase, host.Spec.HostNetwork = nil, core.PodSucceeded, true
	pods := []*core.Pod{old, fresh, ended, host}
	address := netip.MustParseAddr("10.244.0.2")

	if got := endpoints(pods, nil); len(got) != 1 || got[0].pod != old {
		t.Errorf("by status alone: %v", got)
	}
	if got := endpoints(pods, map[netip.Addr]lease{address: {uid: fresh.UID}}); len(got) != 1 || got[0].pod != fresh {
		t.Errorf("an address that went to another pod: %v", got)
	}
	if got := endpoints(pods, map[netip.Addr]lease{address: {uid: "gone"}}); len(got) != 0 {
		t.Errorf("an address whose pod is not known: %v", got)
	}
	if got := endpoints(pods, map[netip.Addr]lease{netip.MustParseAddr("10.244.0.3"): {uid: ended.UID}}); len(got) != 1 || got[0].pod != old {
		t.Errorf("a pod that has ended: %v", got)
	}
}

func TestEmptyRulesKnowNobody(t *testing.T) {
	rules := render(cidr, nil, nil, nil)
	valid(t, rules)
	if !strings.Contains(rules, "set known { type ipv4_addr; }") || strings.Count(rules, "ip saddr != @known counter drop") != 2 {
		t.Error(rules)
	}
}

func TestOlderComparesResourceVersionsAsNumbers(t *testing.T) {
	at := func(version string) meta.Object {
		return &core.Namespace{ObjectMeta: meta.ObjectMeta{ResourceVersion: version}}
	}
	if !older(at("99"), at("100")) || older(at("100"), at("99")) || older(at("7"), at("7")) {
		t.Error("99 is older than 100, and 7 is not older than 7")
	}
}

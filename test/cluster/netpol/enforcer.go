package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"sync"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	netlisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
)

// lease is an address that CNI gave to a pod.
type lease struct {
	uid       types.UID
	container string
}

// enforcer keeps the kernel's rules equal to what the API server and CNI say.
type enforcer struct {
	client     kubernetes.Interface
	cidr       netip.Prefix
	factory    informers.SharedInformerFactory
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	policies   netlisters.NetworkPolicyLister

	mu      sync.Mutex
	leases  map[netip.Addr]lease
	wanted  uint64        // raised by every change
	applied uint64        // the change that the kernel's rules include
	changed chan struct{} // closed and replaced at every change of wanted or applied
}

func newEnforcer(client kubernetes.Interface, cidr netip.Prefix) *enforcer {
	factory := informers.NewSharedInformerFactory(client, 0)
	return &enforcer{
		client:     client,
		cidr:       cidr,
		factory:    factory,
		pods:       factory.Core().V1().Pods().Lister(),
		namespaces: factory.Core().V1().Namespaces().Lister(),
		policies:   factory.Networking().V1().NetworkPolicies().Lister(),
		leases:     map[netip.Addr]lease{},
		changed:    make(chan struct{}),
	}
}

// start returns when the first full set of rules is in the kernel, and goes on in the background until ctx ends.
func (e *enforcer) start(ctx context.Context) error {
	if err := e.awaitAccess(ctx); err != nil {
		return err
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { e.want() },
		UpdateFunc: func(any, any) { e.want() },
		DeleteFunc: func(any) { e.want() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		e.factory.Core().V1().Pods().Informer(),
		e.factory.Core().V1().Namespaces().Informer(),
		e.factory.Networking().V1().NetworkPolicies().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	e.factory.Start(ctx.Done())
	e.factory.WaitForCacheSync(ctx.Done())
	go e.loop(ctx)
	return e.until(ctx, e.appliedSince(e.want()))
}

// awaitAccess returns when the API server lets us read what we need. On a cluster that is just booting our role is not known for a moment, and
// an informer whose first list is refused backs off for seconds.
func (e *enforcer) awaitAccess(ctx context.Context) error {
	one := meta.ListOptions{Limit: 1}
	for {
		_, pods := e.client.CoreV1().Pods("").List(ctx, one)
		_, namespaces := e.client.CoreV1().Namespaces().List(ctx, one)
		_, policies := e.client.NetworkingV1().NetworkPolicies("").List(ctx, one)
		err := errors.Join(pods, namespaces, policies)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// want records that the rules have to be made anew, and returns the number of that change.
func (e *enforcer) want() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wanted++
	e.notify()
	return e.wanted
}

// notify wakes everybody in until; the caller holds mu.
func (e *enforcer) notify() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// until blocks until the condition holds; it is looked at after every change. It fails when ctx ends.
func (e *enforcer) until(ctx context.Context, condition func() bool) error {
	for {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *enforcer) appliedSince(change uint64) func() bool {
	return func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.applied >= change
	}
}

// loop makes and applies the rules after changes. Changes that come while it works are taken together the next time.
func (e *enforcer) loop(ctx context.Context) {
	last := ""
	for {
		e.mu.Lock()
		change := e.wanted
		e.mu.Unlock()
		if rules := e.rules(); rules != last {
			began := time.Now()
			if err := apply(ctx, rules); err != nil {
				log.Printf("rules are not applied, the old ones stay: %v", err)
				select {
				case <-time.After(time.Second):
					continue
				case <-ctx.Done():
					return
				}
			}
			last = rules
			log.Printf("applied %d bytes of rules in %v", len(rules), time.Since(began).Round(time.Microsecond))
		}
		e.mu.Lock()
		e.applied = change
		e.notify()
		e.mu.Unlock()
		newer := func() bool {
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.wanted > change
		}
		if e.until(ctx, newer) != nil {
			return
		}
	}
}

func (e *enforcer) rules() string {
	pods, _ := e.pods.List(labels.Everything()) // listers of a synced cache do not fail
	namespaces, _ := e.namespaces.List(labels.Everything())
	policies, _ := e.policies.List(labels.Everything())
	e.mu.Lock()
	defer e.mu.Unlock()
	return render(e.cidr, endpoints(pods, e.leases), namespaces, policies)
}

// add makes a new pod's rules and returns when they are in the kernel.
func (e *enforcer) add(ctx context.Context, namespace, name string, addresses []netip.Addr, l lease) error {
	known := func() bool {
		pod, err := e.pods.Pods(namespace).Get(name)
		return err == nil && pod.UID == l.uid
	}
	if err := e.until(ctx, known); err != nil {
		return fmt.Errorf("pod %s/%s (%s) is not known: %w", namespace, name, l.uid, err)
	}
	if err := e.catchUp(ctx, namespace); err != nil {
		return err
	}
	for _, address := range addresses {
		if err := forgetFlows(address); err != nil {
			log.Printf("flows of %s: %v", address, err)
		}
	}
	e.mu.Lock()
	for _, address := range addresses {
		e.leases[address] = l
	}
	e.mu.Unlock()
	return e.until(ctx, e.appliedSince(e.want()))
}

// catchUp waits until this process has seen the namespace and its policies as they are now. The watches run apart from each other, so a
// policy that was made before a pod may otherwise be seen after it.
func (e *enforcer) catchUp(ctx context.Context, namespace string) error {
	live, err := e.client.CoreV1().Namespaces().Get(ctx, namespace, meta.GetOptions{})
	if err != nil {
		return err
	}
	policies, err := e.client.NetworkingV1().NetworkPolicies(namespace).List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	seen := func() bool {
		n, err := e.namespaces.Get(namespace)
		if err != nil || older(n, live) {
			return false
		}
		for i := range policies.Items {
			p, err := e.policies.NetworkPolicies(namespace).Get(policies.Items[i].Name)
			if err != nil || older(p, &policies.Items[i]) {
				return false
			}
		}
		return true
	}
	// A policy that is deleted in between never shows: then the cache is right as it is.
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if e.until(ctx, seen) != nil {
		log.Printf("namespace %s: went on without having seen all policies of the list", namespace)
	}
	return nil
}

// older tells whether a cached object is behind a live one of the same name. Resource versions of one resource compare as numbers (KEP-5504).
func older(cached, live meta.Object) bool {
	c, l := cached.GetResourceVersion(), live.GetResourceVersion()
	return len(c) < len(l) || len(c) == len(l) && c < l
}

// remove forgets what CNI gave to a container.
func (e *enforcer) remove(container string) {
	e.mu.Lock()
	for address, l := range e.leases {
		if l.container == container {
			delete(e.leases, address)
		}
	}
	e.mu.Unlock()
	e.want()
}

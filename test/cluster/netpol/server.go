package main

import (
	"context"
	"encoding/json"
	"log"
	"net"
	"net/netip"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// The plugin gives up after 20 s; answering a little earlier gives the kubelet's event a reason.
const requestDeadline = 18 * time.Second

// request is one line from netpol-cni (see cni/main.go).
type request struct {
	Command   string       `json:"command"`
	Container string       `json:"container"`
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	UID       types.UID    `json:"uid"`
	Addresses []netip.Addr `json:"addresses"`
}

// serve answers netpol-cni on a unix socket until ctx ends.
func serve(ctx context.Context, socket string, e *enforcer) error {
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		listener.Close()
	}()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go answer(ctx, conn, e)
	}
}

func answer(ctx context.Context, conn net.Conn, e *enforcer) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, requestDeadline)
	defer cancel()
	_ = conn.SetDeadline(time.Now().Add(requestDeadline + time.Second))
	var r request
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		log.Printf("request: %v", err)
		return
	}
	failure := ""
	switch r.Command {
	case "ADD":
		if err := e.add(ctx, r.Namespace, r.Name, r.Addresses, lease{uid: r.UID, container: r.Container}); err != nil {
			failure = err.Error()
			log.Printf("add %s/%s: %v", r.Namespace, r.Name, err)
		}
	case "DEL":
		e.remove(r.Container)
	default:
		failure = "unknown command"
	}
	_ = json.NewEncoder(conn).Encode(map[string]string{"error": failure})
}

// Command netpol-cni is a chained CNI plugin (CNI specification 1.0): before a pod's sandbox is handed over it tells netpol which pod got
// which address and waits until that pod's rules are in the kernel. So no process of a pod ever runs in front of its policies.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// A pod's start waits this long for its rules. The kubelet tries again after a failure.
const deadline = 20 * time.Second

const versions = `{"cniVersion":"1.0.0","supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0"]}`

// configuration is what the runtime writes to our stdin (CNI specification, section 1).
type configuration struct {
	CNIVersion string          `json:"cniVersion"`
	Socket     string          `json:"socket"`
	PrevResult json.RawMessage `json:"prevResult"`
}

// request is one line on netpol's socket; its answer is one line with an error, empty when all is well.
type request struct {
	Command   string   `json:"command"`
	Container string   `json:"container"`
	Namespace string   `json:"namespace,omitempty"`
	Name      string   `json:"name,omitempty"`
	UID       string   `json:"uid,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
}

func main() {
	if err := run(os.Getenv("CNI_COMMAND"), os.Stdin, os.Stdout); err != nil {
		// CNI specification, section 5, "Error"; codes from 100 on are the plugin's.
		_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"cniVersion": "1.0.0", "code": 100, "msg": "netpol: " + err.Error()})
		os.Exit(1)
	}
}

func run(command string, stdin io.Reader, stdout io.Writer) error {
	if command == "VERSION" {
		_, err := fmt.Fprintln(stdout, versions)
		return err
	}
	var c configuration
	if err := json.NewDecoder(stdin).Decode(&c); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	r := request{Command: command, Container: os.Getenv("CNI_CONTAINERID")}
	switch command {
	case "ADD":
		if err := r.fill(c); err != nil {
			return err
		}
		if err := ask(c.Socket, r); err != nil {
			return err
		}
		_, err := stdout.Write(c.PrevResult)
		return err
	case "DEL":
		// A netpol that is not there has forgotten the pod already, and a failing DEL would keep the pod for ever.
		_ = ask(c.Socket, r)
		return nil
	case "CHECK":
		return nil
	default:
		return fmt.Errorf("unknown CNI_COMMAND %q", command)
	}
}

// fill takes the pod's identity from CNI_ARGS, as container runtimes give it, and its addresses from the plugins before us.
func (r *request) fill(c configuration) error {
	for _, pair := range strings.Split(os.Getenv("CNI_ARGS"), ";") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "K8S_POD_NAMESPACE":
			r.Namespace = value
		case "K8S_POD_NAME":
			r.Name = value
		case "K8S_POD_UID":
			r.UID = value
		}
	}
	var previous struct {
		IPs []struct {
			Address string `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(c.PrevResult, &previous); err != nil {
		return fmt.Errorf("prevResult: %w", err)
	}
	for _, ip := range previous.IPs {
		address, _, err := net.ParseCIDR(ip.Address)
		if err != nil {
			return fmt.Errorf("prevResult: %w", err)
		}
		r.Addresses = append(r.Addresses, address.String())
	}
	if r.UID == "" || len(r.Addresses) == 0 {
		return fmt.Errorf("needs K8S_POD_UID in CNI_ARGS and an address in prevResult")
	}
	return nil
}

func ask(socket string, r request) error {
	until := time.Now().Add(deadline)
	conn, err := net.Dial("unix", socket)
	for err != nil && r.Command == "ADD" && time.Now().Before(until) {
		time.Sleep(50 * time.Millisecond) // netpol is starting, or is being restarted
		conn, err = net.Dial("unix", socket)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(until); err != nil {
		return err
	}
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return err
	}
	var answer struct {
		Error string `json:"error"`
	}
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		return err
	}
	if answer.Error != "" {
		return fmt.Errorf("%s", answer.Error)
	}
	return nil
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"
)

var revisions = []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"}

const latestRevision = "2025-11-25"

// server is one conversation: who is being answered, and what the client set up in it.
type server struct {
	*wire
	inFlight sync.WaitGroup

	mu            sync.Mutex
	calls         map[string]context.CancelFunc
	cancelled     []string
	answered      int
	called        map[string]int
	initialize    json.RawMessage
	initialized   bool
	logLevel      string
	subscriptions map[string]bool
}

func newServer(out io.Writer) *server {
	return &server{
		wire:          &wire{out: out, waiting: map[string]chan message{}},
		calls:         map[string]context.CancelFunc{},
		called:        map[string]int{},
		subscriptions: map[string]bool{},
	}
}

// read serves the conversation until stdin ends; requests run side by side.
func (s *server) read(ctx context.Context, reader *bufio.Reader) error {
	return lines(reader, func(line []byte) {
		var received message
		if err := json.Unmarshal(line, &received); err != nil {
			fmt.Fprintf(os.Stderr, "fixture-child: a line of %d bytes is not JSON\n", len(line))
			s.respondError(json.RawMessage("null"), &rpcError{Code: -32700, Message: "Parse error"})
			return
		}
		switch {
		case received.Method == "" && received.ID != nil:
			s.settle(received)
		case received.ID == nil:
			s.notification(received)
		default:
			s.start(ctx, received)
		}
	})
}

// drain waits for the calls in flight; those that wait for the client or for ever have been given up by the caller's context.
func (s *server) drain() { s.inFlight.Wait() }

func (s *server) notification(received message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch received.Method {
	case "notifications/initialized":
		s.initialized = true
	case "notifications/cancelled":
		var params struct {
			RequestID json.RawMessage `json:"requestId"`
		}
		_ = json.Unmarshal(received.Params, &params)
		if cancel, ok := s.calls[string(params.RequestID)]; ok {
			cancel()
			s.cancelled = append(s.cancelled, string(params.RequestID))
		}
	}
}

// start runs one request. A cancelled one is answered by nothing (MCP 2025-11-25, Cancellation).
func (s *server) start(parent context.Context, request message) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	key := string(request.ID)
	s.mu.Lock()
	s.calls[key] = cancel
	s.mu.Unlock()
	s.inFlight.Add(1)
	go func() {
		defer s.inFlight.Done()
		result, err := s.dispatch(ctx, parent, request)
		gaveUp := ctx.Err() != nil
		cancel()
		s.mu.Lock()
		delete(s.calls, key)
		s.answered++
		s.mu.Unlock()
		switch {
		case gaveUp:
		case err != nil:
			failure, ok := err.(*rpcError)
			if !ok {
				failure = &rpcError{Code: -32603, Message: err.Error()}
			}
			s.respondError(request.ID, failure)
		default:
			s.respond(request.ID, result)
		}
	}()
}

// dispatch answers one request. ctx ends when the client cancels it; process ends when the whole child is to stop.
func (s *server) dispatch(ctx, process context.Context, request message) (json.RawMessage, error) {
	switch request.Method {
	case "initialize":
		return s.handshake(request.Params), nil
	case "ping":
		return json.RawMessage(`{}`), nil
	case "tools/list":
		return listTools(), nil
	case "tools/call":
		return s.call(ctx, process, request.Params)
	case "logging/setLevel":
		var params struct{ Level string }
		_ = json.Unmarshal(request.Params, &params)
		s.mu.Lock()
		s.logLevel = params.Level
		s.mu.Unlock()
		return json.RawMessage(`{}`), nil
	}
	if answer, ok := catalogue[request.Method]; ok {
		return answer(&call{server: s, arguments: request.Params, ctx: ctx, process: process})
	}
	return nil, &rpcError{Code: -32601, Message: "Method not found: " + request.Method}
}

func (s *server) handshake(params json.RawMessage) json.RawMessage {
	var wanted struct{ ProtocolVersion string }
	_ = json.Unmarshal(params, &wanted)
	s.mu.Lock()
	s.initialize = params
	s.mu.Unlock()
	revision := latestRevision
	if slices.Contains(revisions, wanted.ProtocolVersion) {
		revision = wanted.ProtocolVersion
	}
	return encode(map[string]any{
		"protocolVersion": revision,
		"serverInfo":      map[string]string{"name": "fixture-child", "version": "1.0.0"},
		"instructions":    "A child for tests: every tool is a kind of message or a fault.",
		"capabilities": map[string]any{
			"tools":       map[string]bool{"listChanged": true},
			"prompts":     map[string]bool{"listChanged": true},
			"resources":   map[string]bool{"subscribe": true, "listChanged": true},
			"completions": map[string]any{},
			"logging":     map[string]any{},
		},
	})
}

// state is what the client has set up in this process: what must be there again after a session was woken in another pod.
func (s *server) state() map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	subscribed := make([]string, 0, len(s.subscriptions))
	for uri := range s.subscriptions {
		subscribed = append(subscribed, uri)
	}
	sort.Strings(subscribed)
	return map[string]any{
		"pid":           os.Getpid(),
		"initialize":    s.initialize,
		"initialized":   s.initialized,
		"logLevel":      s.logLevel,
		"subscriptions": subscribed,
		"answered":      s.answered,
		"running":       len(s.calls),
		"called":        maps.Clone(s.called),
		"cancelled":     strings.Join(s.cancelled, " "),
	}
}

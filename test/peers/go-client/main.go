// go-client is an MCP client on the official Go SDK, driven by lines of JSON: go-client URL.
//
// The actions on stdin, the answers on stdout and the environment (MCP_TOKEN, MCP_HEADERS) are those of ../python-client/client.py, so a
// test runs the same script through both. Two differences are the SDK's: it always probes with server/discover first unless a revision is
// asked for ("mode": "auto" leaves it to the SDK), and it answers what the server asks by handlers of its own.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// legacyRevision is asked for in mode "legacy": the newest that opens with initialize.
const legacyRevision = "2025-11-25"

// defaultPatience bounds what an action may take where it names no time of its own.
const defaultPatience = 5 * time.Minute

type action struct {
	Do        string          `json:"do"`
	Mode      string          `json:"mode"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
	Progress  bool            `json:"progress"`
	Cancel    bool            `json:"cancel"`
	Level     string          `json:"level"`
	TimeoutMs int             `json:"timeoutMs"`
}

type answer struct {
	Did    string   `json:"did"`
	OK     bool     `json:"ok"`
	Result any      `json:"result,omitempty"`
	Error  *failure `json:"error,omitempty"`
	Ms     float64  `json:"ms"`
}

type failure struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	Code    int64  `json:"code,omitempty"`
	Status  int    `json:"status,omitempty"`
}

// conversation is one connection and what the server said in it unasked.
type conversation struct {
	url     string
	session *mcp.ClientSession
	wire    *watched

	mu       sync.Mutex
	asked    []string
	logged   int
	progress []float64
	// giveUp is called at the first progress of a call that is to be cancelled.
	giveUp context.CancelFunc
}

// watched adds the headers to every request, and notes the session id and the status of the last refusal, which the SDK's errors do not
// carry.
type watched struct {
	headers map[string]string

	mu        sync.Mutex
	sessionID string
	status    int
}

func (w *watched) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	for name, value := range w.headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if id := response.Header.Get("Mcp-Session-Id"); id != "" {
		w.sessionID = id
	}
	if response.StatusCode >= 400 && request.Method == http.MethodPost {
		w.status = response.StatusCode
	}
	return response, nil
}

func (c *conversation) open(ctx context.Context, mode string) (any, error) {
	client := mcp.NewClient(&mcp.Implementation{Name: "go-client", Version: "1.0.0"}, &mcp.ClientOptions{
		CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			c.note("sampling/createMessage")
			return &mcp.CreateMessageResult{
				Role: "assistant", Content: &mcp.TextContent{Text: "sampled by go-client"}, Model: "none", StopReason: "endTurn",
			}, nil
		},
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			c.note("elicitation/create")
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{}}, nil
		},
		LoggingMessageHandler: func(context.Context, *mcp.LoggingMessageRequest) {
			c.mu.Lock()
			c.logged++
			c.mu.Unlock()
		},
		ProgressNotificationHandler: func(_ context.Context, request *mcp.ProgressNotificationClientRequest) {
			c.mu.Lock()
			c.progress = append(c.progress, request.Params.Progress)
			giveUp := c.giveUp
			c.mu.Unlock()
			if giveUp != nil {
				giveUp()
			}
		},
	})
	client.AddRoots(&mcp.Root{URI: "file:///go-client", Name: "go-client"})
	options := &mcp.ClientSessionOptions{}
	if mode != "auto" {
		options.ProtocolVersion = legacyRevision
	}
	// A negative size lifts the SDK's limit for one event; here messages of any size must pass.
	transport := &mcp.StreamableClientTransport{Endpoint: c.url, HTTPClient: &http.Client{Transport: c.wire}, MaxEventSize: -1}
	session, err := client.Connect(ctx, transport, options)
	if err != nil {
		return nil, err
	}
	c.session = session
	agreed := session.InitializeResult()
	return map[string]any{"protocolVersion": agreed.ProtocolVersion, "serverInfo": agreed.ServerInfo, "sessionId": c.wire.sessionID}, nil
}

func (c *conversation) note(method string) {
	c.mu.Lock()
	c.asked = append(c.asked, method)
	c.mu.Unlock()
}

func (c *conversation) perform(wanted action) (any, error) {
	if wanted.Do == "initialize" {
		return c.open(context.Background(), wanted.Mode)
	}
	if c.session == nil {
		return nil, errors.New("initialize first")
	}
	patience := defaultPatience
	if wanted.TimeoutMs > 0 {
		patience = time.Duration(wanted.TimeoutMs) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch wanted.Do {
	case "tools":
		names := []string{}
		for tool, err := range c.session.Tools(ctx, nil) {
			if err != nil {
				return nil, err
			}
			names = append(names, tool.Name)
		}
		return names, nil
	case "ping":
		return map[string]any{}, c.session.Ping(ctx, nil)
	case "level":
		return map[string]any{}, c.session.SetLoggingLevel(ctx, &mcp.SetLoggingLevelParams{Level: mcp.LoggingLevel(wanted.Level)})
	case "call":
		return c.call(ctx, wanted)
	}
	return nil, fmt.Errorf("no such action: %s", wanted.Do)
}

func (c *conversation) call(ctx context.Context, wanted action) (any, error) {
	c.mu.Lock()
	c.asked, c.progress, c.logged, c.giveUp = []string{}, []float64{}, 0, nil
	if wanted.Cancel {
		ctx, c.giveUp = context.WithCancel(ctx)
		defer c.giveUp()
	}
	c.mu.Unlock()
	if wanted.Arguments == nil {
		wanted.Arguments = json.RawMessage(`{}`)
	}
	params := &mcp.CallToolParams{Name: wanted.Name, Arguments: wanted.Arguments}
	if wanted.Progress || wanted.Cancel {
		params.SetProgressToken("progress")
	}
	result, err := c.session.CallTool(ctx, params)
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(result)
	if err != nil {
		return nil, err
	}
	told := map[string]any{}
	if err := json.Unmarshal(encoded, &told); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	told["asked"], told["progress"], told["logged"] = c.asked, c.progress, c.logged
	return told, nil
}

func (c *conversation) act(wanted action) answer {
	began := time.Now()
	c.wire.mu.Lock()
	c.wire.status = 0
	c.wire.mu.Unlock()
	said := answer{Did: wanted.Do, OK: true}
	var err error
	if wanted.Do == "close" {
		said.Result = map[string]any{}
		if c.session != nil {
			err = c.session.Close()
		}
	} else {
		said.Result, err = c.perform(wanted)
	}
	if err != nil {
		said.OK, said.Result = false, nil
		said.Error = &failure{Type: fmt.Sprintf("%T", err), Message: err.Error()}
		var remote *jsonrpc.Error
		if errors.As(err, &remote) {
			said.Error.Code = remote.Code
		}
		c.wire.mu.Lock()
		said.Error.Status = c.wire.status
		c.wire.mu.Unlock()
	}
	said.Ms = float64(time.Since(began).Microseconds()) / 1000
	return said
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go-client URL")
		os.Exit(64)
	}
	headers := map[string]string{}
	if extra := os.Getenv("MCP_HEADERS"); extra != "" {
		if err := json.Unmarshal([]byte(extra), &headers); err != nil {
			fmt.Fprintln(os.Stderr, "go-client: MCP_HEADERS:", err)
			os.Exit(64)
		}
	}
	if token := os.Getenv("MCP_TOKEN"); token != "" {
		headers["Authorization"] = "Bearer " + token
	}
	talk := &conversation{url: os.Args[1], wire: &watched{headers: headers}}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	reader := bufio.NewReader(os.Stdin)
	for {
		line, err := reader.ReadBytes('\n')
		wanted := action{Do: "close"}
		if len(line) > 0 {
			if err := json.Unmarshal(line, &wanted); err != nil {
				fmt.Fprintln(os.Stderr, "go-client: not an action:", err)
				os.Exit(64)
			}
		}
		_ = out.Encode(talk.act(wanted))
		if wanted.Do == "close" || err != nil {
			return
		}
	}
}

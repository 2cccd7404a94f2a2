package main

import (
	"context"
	"encoding/json"
	"sort"
	"time"
)

// call is one tools/call: its arguments, how to report progress, and the two ends that a tool may have to watch.
type call struct {
	*server
	arguments     json.RawMessage
	progressToken json.RawMessage
	// ctx ends when the client cancels the call; process when the child is to stop.
	ctx, process context.Context
}

// tool is one entry of tools/list and what runs for it. A returned error is a tool's error (isError), an *rpcError the protocol's.
type tool struct {
	description string
	schema      string
	run         func(*call) (json.RawMessage, error)
}

// tools is filled by the init functions of the tools_*.go files.
var tools = map[string]tool{}

// annotated is whether tools say that they only read; see FIXTURE_START.
var annotated bool

func textContent(text string) map[string]string {
	return map[string]string{"type": "text", "text": text}
}

// textResult is a tool result of texts.
func textResult(texts ...string) json.RawMessage {
	content := make([]any, len(texts))
	for i, text := range texts {
		content[i] = textContent(text)
	}
	return encode(map[string]any{"content": content})
}

// jsonResult is a tool result whose one text is a JSON document.
func jsonResult(value any) json.RawMessage { return textResult(string(encode(value))) }

func listTools() json.RawMessage {
	names := make([]string, 0, len(tools))
	for name := range tools {
		names = append(names, name)
	}
	sort.Strings(names)
	list := make([]any, len(names))
	for i, name := range names {
		listed := map[string]any{
			"name": name, "description": tools[name].description,
			"inputSchema": json.RawMessage(`{"type":"object","properties":{` + tools[name].schema + `}}`),
		}
		if annotated {
			listed["annotations"] = map[string]bool{"readOnlyHint": name != "writefile"}
		}
		list[i] = listed
	}
	return encode(map[string]any{"tools": list})
}

func (s *server) call(ctx, process context.Context, params json.RawMessage) (json.RawMessage, error) {
	var wanted struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
		Meta      struct {
			ProgressToken json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	}
	if err := json.Unmarshal(params, &wanted); err != nil {
		return nil, &rpcError{Code: -32602, Message: "Invalid params: " + err.Error()}
	}
	chosen, ok := tools[wanted.Name]
	if !ok {
		return nil, &rpcError{Code: -32602, Message: "Unknown tool: " + wanted.Name}
	}
	s.mu.Lock()
	s.called[wanted.Name]++
	s.mu.Unlock()
	if wanted.Arguments == nil {
		wanted.Arguments = json.RawMessage(`{}`)
	}
	result, err := chosen.run(&call{server: s, arguments: wanted.Arguments, progressToken: wanted.Meta.ProgressToken, ctx: ctx, process: process})
	if _, protocol := err.(*rpcError); err != nil && !protocol && ctx.Err() == nil {
		return encode(map[string]any{"content": []any{textContent(err.Error())}, "isError": true}), nil
	}
	return result, err
}

// parse reads the arguments into the struct that value points at.
func (c *call) parse(value any) error {
	if err := json.Unmarshal(c.arguments, value); err != nil {
		return &rpcError{Code: -32602, Message: "Invalid arguments: " + err.Error()}
	}
	return nil
}

// progress reports a step, where the caller gave a progress token.
func (c *call) progress(done, total int) {
	if c.progressToken == nil {
		return
	}
	c.notify("notifications/progress", map[string]any{"progressToken": c.progressToken, "progress": done, "total": total})
}

// sleep waits, or returns the reason why the call was given up.
func (c *call) sleep(duration time.Duration) error {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

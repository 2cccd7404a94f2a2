package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

func init() {
	tools["echo"] = tool{"Gives the text back byte for byte, escapes included.", `"text":{"type":"string"}`, echo}
	tools["big"] = tool{
		"Sends that many log notifications of that many bytes and then their SHA-256; with no messages, one result of that many bytes.",
		`"messages":{"type":"integer"},"bytes":{"type":"integer"}`, big,
	}
	tools["slow"] = tool{
		"Answers after that many milliseconds, with a progress notification after each of the steps.",
		`"ms":{"type":"integer"},"steps":{"type":"integer"}`, slow,
	}
	tools["hang"] = tool{"Never answers.", ``, hang}
	tools["notify"] = tool{
		"Sends n notifications of that method and then answers.",
		`"n":{"type":"integer"},"method":{"type":"string"},"params":{"type":"object"},"everyMs":{"type":"integer"}`, notifyTool,
	}
	tools["ask"] = tool{
		"Sends a request to the client (sampling/createMessage, elicitation/create, roots/list, ping) and tells its answer.",
		`"method":{"type":"string"},"params":{"type":"object"}`, ask,
	}
	tools["stderr"] = tool{"Writes the text to stderr so many times.", `"text":{"type":"string"},"times":{"type":"integer"}`, stderr}
	tools["noise"] = tool{
		"Writes the text, or lines that are not JSON-RPC, to stdout before it answers.", `"text":{"type":"string"}`, noise,
	}
	tools["state"] = tool{"Tells what the client has set up in this process.", ``, func(c *call) (json.RawMessage, error) {
		return jsonResult(c.state()), nil
	}}
}

// echo copies the JSON string token itself: a round trip through Go's strings would replace lone surrogates.
func echo(c *call) (json.RawMessage, error) {
	var wanted struct{ Text json.RawMessage }
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	if len(wanted.Text) == 0 || wanted.Text[0] != '"' {
		return nil, &rpcError{Code: -32602, Message: "Invalid arguments: text must be a string"}
	}
	return json.RawMessage(`{"content":[{"type":"text","text":` + string(wanted.Text) + `}]}`), nil
}

// payload is size bytes that differ from message to message, so that a lost, doubled or swapped one changes the sum.
func payload(index, size int) string {
	unit := fmt.Sprintf("%08d abcdefghijklmnopqrstuvwxyz.", index)
	return strings.Repeat(unit, size/len(unit)+1)[:size]
}

func big(c *call) (json.RawMessage, error) {
	var wanted struct{ Messages, Bytes int }
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	sum := sha256.New()
	if wanted.Messages == 0 {
		text := payload(0, wanted.Bytes)
		sum.Write([]byte(text))
		return textResult(text, hex.EncodeToString(sum.Sum(nil))), nil
	}
	for i := range wanted.Messages {
		if err := c.ctx.Err(); err != nil {
			return nil, err
		}
		text := payload(i, wanted.Bytes)
		sum.Write([]byte(text))
		c.notify("notifications/message", map[string]any{"level": "info", "logger": "big", "data": text})
		c.progress(i+1, wanted.Messages)
	}
	return jsonResult(map[string]any{
		"messages": wanted.Messages, "bytes": wanted.Messages * wanted.Bytes, "sha256": hex.EncodeToString(sum.Sum(nil)),
	}), nil
}

func slow(c *call) (json.RawMessage, error) {
	wanted := struct{ Ms, Steps int }{Steps: 4}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	steps := max(1, wanted.Steps)
	for step := range steps {
		if err := c.sleep(time.Duration(wanted.Ms) * time.Millisecond / time.Duration(steps)); err != nil {
			return nil, err
		}
		c.progress(step+1, steps)
	}
	return textResult(fmt.Sprintf("slept for %d ms", wanted.Ms)), nil
}

func hang(c *call) (json.RawMessage, error) {
	select {
	case <-c.ctx.Done():
	case <-c.process.Done():
	}
	return nil, &rpcError{Code: -32603, Message: "The child is stopping"}
}

func notifyTool(c *call) (json.RawMessage, error) {
	wanted := struct {
		N, EveryMs int
		Method     string
		Params     json.RawMessage
	}{N: 1, Method: "notifications/message"}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	for i := range wanted.N {
		if wanted.EveryMs > 0 {
			if err := c.sleep(time.Duration(wanted.EveryMs) * time.Millisecond); err != nil {
				return nil, err
			}
		}
		switch {
		case wanted.Params != nil:
			c.notify(wanted.Method, wanted.Params)
		case wanted.Method == "notifications/message":
			c.notify(wanted.Method, map[string]any{"level": "info", "logger": "notify", "data": fmt.Sprintf("notification %d", i+1)})
		default:
			c.notify(wanted.Method, map[string]any{})
		}
	}
	return textResult(fmt.Sprintf("sent %d", wanted.N)), nil
}

func ask(c *call) (json.RawMessage, error) {
	wanted := struct {
		Method string
		Params json.RawMessage
	}{Method: "roots/list"}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	answer, err := c.put(wanted.Method, wanted.Params)
	if err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("the client refused: %s", answer.Error)
	}
	return textResult(string(answer.Result)), nil
}

func stderr(c *call) (json.RawMessage, error) {
	wanted := struct {
		Text  string
		Times int
	}{Text: "\x1b[33mWARN\x1b[0m a word on stderr\n", Times: 1}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	for range wanted.Times {
		if _, err := os.Stderr.WriteString(wanted.Text); err != nil {
			return nil, err
		}
	}
	return textResult(fmt.Sprintf("wrote %d bytes to stderr", wanted.Times*len(wanted.Text))), nil
}

func noise(c *call) (json.RawMessage, error) {
	wanted := struct{ Text string }{"warning: a library prints here\n\n[]\n42\n{\"half\":\nnull\n"}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	c.writeRaw([]byte(wanted.Text))
	return textResult(fmt.Sprintf("wrote %d bytes of noise", len(wanted.Text))), nil
}

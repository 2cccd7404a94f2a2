package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
)

func init() {
	tools["quiz"] = tool{
		"Asks the client several questions, all at once or in turn, and tells every answer; in turn, with progress after each.",
		`"questions":{"type":"array"},"inTurn":{"type":"boolean"}`, quiz,
	}
	tools["fail"] = tool{
		"Fails with that JSON-RPC error.", `"code":{"type":"integer"},"message":{"type":"string"},"data":{}`, fail,
	}
	tools["log"] = tool{
		"Logs once at each level, as far as the level that the client set lets through.", `"text":{"type":"string"}`, logTool,
	}
	tools["touch"] = tool{"Tells of a change of a resource, if the client has subscribed to it.", `"uri":{"type":"string"}`, touch}
}

// put asks the client. Either end gives the question up: the client's cancellation or the end of the child.
func (c *call) put(method string, params json.RawMessage) (message, error) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	stop := context.AfterFunc(c.process, cancel)
	defer stop()
	return c.wire.ask(ctx, method, params)
}

type question struct {
	Method string
	Params json.RawMessage
}

// quiz tells an array with each question's result, or its error.
func quiz(c *call) (json.RawMessage, error) {
	var wanted struct {
		Questions []question
		InTurn    bool
	}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	answers := make([]json.RawMessage, len(wanted.Questions))
	failures := make([]error, len(wanted.Questions))
	var asked sync.WaitGroup
	for i, one := range wanted.Questions {
		asked.Add(1)
		go func() {
			defer asked.Done()
			answer, err := c.put(one.Method, one.Params)
			answers[i], failures[i] = answer.Result, err
			if answer.Error != nil {
				answers[i] = answer.Error
			}
		}()
		if wanted.InTurn {
			asked.Wait()
			c.progress(i+1, len(wanted.Questions))
		}
	}
	asked.Wait()
	for _, err := range failures {
		if err != nil {
			return nil, err
		}
	}
	return jsonResult(answers), nil
}

func fail(c *call) (json.RawMessage, error) {
	wanted := &rpcError{Code: -32000, Message: "It failed, as it was told"}
	if err := c.parse(wanted); err != nil {
		return nil, err
	}
	return nil, wanted
}

var levels = []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

func logTool(c *call) (json.RawMessage, error) {
	var wanted struct{ Text string }
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	c.mu.Lock()
	least := c.logLevel
	c.mu.Unlock()
	sent, let := 0, least == ""
	for _, level := range levels {
		let = let || level == least
		if let {
			c.notify("notifications/message", map[string]any{"level": level, "logger": "log", "data": wanted.Text})
			sent++
		}
	}
	return textResult(fmt.Sprintf("logged %d", sent)), nil
}

func touch(c *call) (json.RawMessage, error) {
	uri, err := uriOf(c.arguments)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	subscribed := c.subscriptions[uri]
	c.mu.Unlock()
	if subscribed {
		c.notify("notifications/resources/updated", map[string]any{"uri": uri})
	}
	return textResult(fmt.Sprint(subscribed)), nil
}

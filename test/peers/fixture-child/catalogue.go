package main

import (
	"encoding/json"
	"strings"
)

const noteURI = "fixture://note"

// catalogue is what MCP servers have beside tools, one small thing of each kind.
var catalogue = map[string]func(*server, json.RawMessage) (json.RawMessage, error){
	"prompts/list": func(*server, json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(`{"prompts":[{"name":"greet","description":"Greets somebody.","arguments":[{"name":"name","required":true}]}]}`), nil
	},
	"prompts/get": func(_ *server, params json.RawMessage) (json.RawMessage, error) {
		var wanted struct {
			Name      string
			Arguments map[string]string
		}
		if json.Unmarshal(params, &wanted) != nil || wanted.Name != "greet" {
			return nil, &rpcError{-32602, "Unknown prompt"}
		}
		return encode(map[string]any{"messages": []any{map[string]any{
			"role": "user", "content": textContent("Please greet " + wanted.Arguments["name"] + "."),
		}}}), nil
	},
	"resources/list": func(*server, json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(`{"resources":[{"uri":"` + noteURI + `","name":"note","mimeType":"text/plain"}]}`), nil
	},
	"resources/templates/list": func(*server, json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(`{"resourceTemplates":[{"uriTemplate":"fixture://item/{id}","name":"item","mimeType":"text/plain"}]}`), nil
	},
	"resources/read": func(_ *server, params json.RawMessage) (json.RawMessage, error) {
		uri, err := uriOf(params)
		if err != nil {
			return nil, err
		}
		text := "a note of the fixture"
		if id, ok := strings.CutPrefix(uri, "fixture://item/"); ok {
			text = "item " + id
		} else if uri != noteURI {
			return nil, &rpcError{-32002, "Resource not found"}
		}
		return encode(map[string]any{"contents": []any{map[string]string{"uri": uri, "mimeType": "text/plain", "text": text}}}), nil
	},
	"resources/subscribe": func(s *server, params json.RawMessage) (json.RawMessage, error) {
		return subscription(s, params, true)
	},
	"resources/unsubscribe": func(s *server, params json.RawMessage) (json.RawMessage, error) {
		return subscription(s, params, false)
	},
	"completion/complete": func(_ *server, params json.RawMessage) (json.RawMessage, error) {
		var wanted struct{ Argument struct{ Value string } }
		_ = json.Unmarshal(params, &wanted)
		values := []string{}
		for _, name := range []string{"alice", "albert", "bob"} {
			if strings.HasPrefix(name, wanted.Argument.Value) {
				values = append(values, name)
			}
		}
		return encode(map[string]any{"completion": map[string]any{"values": values, "total": len(values), "hasMore": false}}), nil
	},
}

func uriOf(params json.RawMessage) (string, error) {
	var wanted struct{ URI string }
	if json.Unmarshal(params, &wanted) != nil || wanted.URI == "" {
		return "", &rpcError{-32602, "A uri is needed"}
	}
	return wanted.URI, nil
}

func subscription(s *server, params json.RawMessage, wanted bool) (json.RawMessage, error) {
	uri, err := uriOf(params)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if wanted {
		s.subscriptions[uri] = true
	} else {
		delete(s.subscriptions, uri)
	}
	return json.RawMessage(`{}`), nil
}

package main

import (
	"encoding/json"
	"strings"
)

const noteURI = "fixture://note"

// questionURI is read with what its reader answers when it is asked.
const questionURI = "fixture://question"

// catalogue is what MCP servers have beside tools, one small thing of each kind.
var catalogue = map[string]func(*call) (json.RawMessage, error){
	"prompts/list": func(*call) (json.RawMessage, error) {
		return json.RawMessage(`{"prompts":[{"name":"greet","description":"Greets somebody.","arguments":[{"name":"name","required":true}]},{"name":"question","description":"Asks its user before it answers."}]}`), nil
	},
	"prompts/get": func(c *call) (json.RawMessage, error) {
		var wanted struct {
			Name      string
			Arguments map[string]string
		}
		if json.Unmarshal(c.arguments, &wanted) != nil || (wanted.Name != "greet" && wanted.Name != "question") {
			return nil, &rpcError{Code: -32602, Message: "Unknown prompt"}
		}
		if wanted.Name == "question" {
			answer, err := c.question()
			if err != nil {
				return nil, err
			}
			return promptResult(answer), nil
		}
		return promptResult("Please greet " + wanted.Arguments["name"] + "."), nil
	},
	"resources/list": func(*call) (json.RawMessage, error) {
		return json.RawMessage(`{"resources":[{"uri":"` + noteURI + `","name":"note","mimeType":"text/plain"},{"uri":"` + questionURI + `","name":"question","mimeType":"text/plain"}]}`), nil
	},
	"resources/templates/list": func(*call) (json.RawMessage, error) {
		return json.RawMessage(`{"resourceTemplates":[{"uriTemplate":"fixture://item/{id}","name":"item","mimeType":"text/plain"}]}`), nil
	},
	"resources/read": func(c *call) (json.RawMessage, error) {
		uri, err := uriOf(c.arguments)
		if err != nil {
			return nil, err
		}
		text := "a note of the fixture"
		if id, ok := strings.CutPrefix(uri, "fixture://item/"); ok {
			text = "item " + id
		} else if uri == questionURI {
			if text, err = c.question(); err != nil {
				return nil, err
			}
		} else if uri != noteURI {
			return nil, &rpcError{Code: -32002, Message: "Resource not found"}
		}
		return encode(map[string]any{"contents": []any{map[string]string{"uri": uri, "mimeType": "text/plain", "text": text}}}), nil
	},
	"resources/subscribe": func(c *call) (json.RawMessage, error) {
		return subscription(c, true)
	},
	"resources/unsubscribe": func(c *call) (json.RawMessage, error) {
		return subscription(c, false)
	},
	"completion/complete": func(c *call) (json.RawMessage, error) {
		var wanted struct{ Argument struct{ Value string } }
		_ = json.Unmarshal(c.arguments, &wanted)
		values := []string{}
		for _, name := range []string{"alice", "albert", "bob"} {
			if strings.HasPrefix(name, wanted.Argument.Value) {
				values = append(values, name)
			}
		}
		return encode(map[string]any{"completion": map[string]any{"values": values, "total": len(values), "hasMore": false}}), nil
	},
}

func promptResult(text string) json.RawMessage {
	return encode(map[string]any{"messages": []any{map[string]any{"role": "user", "content": textContent(text)}}})
}

// question asks the client for a word and gives its whole answer.
func (c *call) question() (string, error) {
	params := json.RawMessage(`{"message":"Which word?","requestedSchema":{"type":"object","properties":{"word":{"type":"string"}}}}`)
	answer, err := c.put("elicitation/create", params)
	if err != nil {
		return "", err
	}
	if answer.Error != nil {
		return "", &rpcError{Code: -32603, Message: "The client refused"}
	}
	return string(answer.Result), nil
}

func uriOf(params json.RawMessage) (string, error) {
	var wanted struct{ URI string }
	if json.Unmarshal(params, &wanted) != nil || wanted.URI == "" {
		return "", &rpcError{Code: -32602, Message: "A uri is needed"}
	}
	return wanted.URI, nil
}

func subscription(c *call, wanted bool) (json.RawMessage, error) {
	uri, err := uriOf(c.arguments)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if wanted {
		c.subscriptions[uri] = true
	} else {
		delete(c.subscriptions, uri)
	}
	return json.RawMessage(`{}`), nil
}

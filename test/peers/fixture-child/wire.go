package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"sync"
)

// message is any JSON-RPC 2.0 message; what must be kept byte for byte stays raw.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// rpcError is the error member of a JSON-RPC 2.0 response.
type rpcError struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

func (e *rpcError) Error() string { return e.Message }

// wire writes messages to the client, one line each, and numbers the requests that the server itself makes.
type wire struct {
	mu      sync.Mutex
	out     io.Writer
	nextID  int
	waiting map[string]chan message
}

// encode is JSON without Go's escaping of <, > and &, so that text leaves as it came.
func encode(value any) json.RawMessage {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err)
	}
	return bytes.TrimRight(buffer.Bytes(), "\n")
}

// writeRaw writes bytes as they are; a line feed is the caller's business.
func (w *wire) writeRaw(text []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// An error here is a closed stdout: the runtime ends the process by SIGPIPE, as it does with forgejo-mcp.
	_, _ = w.out.Write(text)
}

func (w *wire) write(parts ...[]byte) { w.writeRaw(append(bytes.Join(parts, nil), '\n')) }

func (w *wire) respond(id, result json.RawMessage) {
	w.write([]byte(`{"jsonrpc":"2.0","id":`), id, []byte(`,"result":`), result, []byte(`}`))
}

func (w *wire) respondError(id json.RawMessage, failure *rpcError) {
	w.write([]byte(`{"jsonrpc":"2.0","id":`), id, []byte(`,"error":`), encode(failure), []byte(`}`))
}

func (w *wire) notify(method string, params any) {
	w.write([]byte(`{"jsonrpc":"2.0","method":`), encode(method), []byte(`,"params":`), encode(params), []byte(`}`))
}

// ask sends a request to the client and waits for its answer, or for the end of ctx.
func (w *wire) ask(ctx context.Context, method string, params json.RawMessage) (message, error) {
	answer := make(chan message, 1)
	w.mu.Lock()
	w.nextID++
	id := encode(w.nextID)
	w.waiting[string(id)] = answer
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.waiting, string(id))
		w.mu.Unlock()
	}()
	if params == nil {
		params = json.RawMessage(`{}`)
	}
	w.write([]byte(`{"jsonrpc":"2.0","id":`), id, []byte(`,"method":`), encode(method), []byte(`,"params":`), params, []byte(`}`))
	select {
	case reply := <-answer:
		return reply, nil
	case <-ctx.Done():
		return message{}, ctx.Err()
	}
}

// settle hands an answer to whoever asked; an answer to nobody's question is dropped.
func (w *wire) settle(reply message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if answer, ok := w.waiting[string(reply.ID)]; ok {
		answer <- reply
		delete(w.waiting, string(reply.ID))
	}
}

// lines calls each with every line until the reader ends; lines may be of any length.
func lines(reader *bufio.Reader, each func([]byte)) error {
	for {
		line, err := reader.ReadBytes('\n')
		if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 {
			each(trimmed)
		}
		if err != nil {
			return err
		}
	}
}

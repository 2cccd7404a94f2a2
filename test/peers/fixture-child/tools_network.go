package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

func init() {
	tools["connect"] = tool{
		"Tries a TCP connection and tells what came of it: connected, refused, timeout, unreachable or an error.",
		`"address":{"type":"string"},"ms":{"type":"integer"}`, connect,
	}
	tools["listen"] = tool{"Listens on that TCP port and greets whoever connects; tells the addresses of the machine.", `"port":{"type":"integer"}`, listen}
	tools["resolve"] = tool{"Looks a host name up.", `"host":{"type":"string"},"ms":{"type":"integer"}`, resolve}
	tools["http"] = tool{
		"Makes one HTTP request, follows no redirect, and tells status, headers and body. uploadBytes sends a generated body; digest tells " +
			"size and SHA-256 in place of the body.",
		`"url":{"type":"string"},"method":{"type":"string"},"headers":{"type":"object"},"body":{"type":"string"},` +
			`"uploadBytes":{"type":"integer"},"digest":{"type":"boolean"},"ms":{"type":"integer"}`, httpTool,
	}
}

func connect(c *call) (json.RawMessage, error) {
	wanted := struct {
		Address string
		Ms      int
	}{Ms: 2000}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: time.Duration(wanted.Ms) * time.Millisecond}
	connection, err := dialer.DialContext(c.ctx, "tcp", wanted.Address)
	outcome := map[string]string{"outcome": "connected"}
	var slow net.Error
	switch {
	case err == nil:
		outcome["local"] = connection.LocalAddr().String()
		_ = connection.Close()
	case errors.Is(err, syscall.ECONNREFUSED):
		outcome["outcome"] = "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		outcome["outcome"] = "unreachable"
	case errors.As(err, &slow) && slow.Timeout():
		outcome["outcome"] = "timeout"
	default:
		outcome["outcome"], outcome["error"] = "error", err.Error()
	}
	return jsonResult(outcome), nil
}

func listen(c *call) (json.RawMessage, error) {
	var wanted struct{ Port int }
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{Port: wanted.Port})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(c.process, func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = connection.Write([]byte("hello from the fixture\n"))
			_ = connection.Close()
		}
	}()
	addresses := []string{}
	interfaces, _ := net.InterfaceAddrs()
	for _, address := range interfaces {
		addresses = append(addresses, address.String())
	}
	return jsonResult(map[string]any{"port": listener.Addr().(*net.TCPAddr).Port, "addresses": addresses}), nil
}

func resolve(c *call) (json.RawMessage, error) {
	wanted := struct {
		Host string
		Ms   int
	}{Ms: 2000}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, time.Duration(wanted.Ms)*time.Millisecond)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, wanted.Host)
	if err != nil {
		return nil, err
	}
	return jsonResult(addresses), nil
}

// generated is a body of so many bytes made on the way, so that a large upload needs no memory.
func generated(size int) io.Reader {
	return io.LimitReader(endless{}, int64(size))
}

type endless struct{}

func (endless) Read(buffer []byte) (int, error) {
	for i := range buffer {
		buffer[i] = 'u'
	}
	return len(buffer), nil
}

func httpTool(c *call) (json.RawMessage, error) {
	wanted := struct {
		URL, Method, Body string
		Headers           map[string]string
		UploadBytes, Ms   int
		Digest            bool
	}{Method: http.MethodGet, Ms: 15_000}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, time.Duration(wanted.Ms)*time.Millisecond)
	defer cancel()
	var body io.Reader = strings.NewReader(wanted.Body)
	if wanted.UploadBytes > 0 {
		body = generated(wanted.UploadBytes)
	}
	request, err := http.NewRequestWithContext(ctx, wanted.Method, wanted.URL, body)
	if err != nil {
		return nil, err
	}
	if wanted.UploadBytes > 0 {
		request.ContentLength = int64(wanted.UploadBytes)
	}
	for name, value := range wanted.Headers {
		request.Header.Set(name, value)
	}
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	headers := map[string]string{}
	for name := range response.Header {
		headers[strings.ToLower(name)] = strings.Join(response.Header.Values(name), ", ")
	}
	report := map[string]any{"status": response.StatusCode, "headers": headers}
	if wanted.Digest {
		sum := sha256.New()
		size, err := io.Copy(sum, response.Body)
		if err != nil {
			return nil, err
		}
		report["bytes"], report["sha256"] = size, hex.EncodeToString(sum.Sum(nil))
		return jsonResult(report), nil
	}
	var text bytes.Buffer
	if _, err := io.Copy(&text, io.LimitReader(response.Body, 8<<20)); err != nil {
		return nil, err
	}
	report["body"] = text.String()
	return jsonResult(report), nil
}

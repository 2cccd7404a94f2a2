package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

func init() {
	tools["readfile"] = tool{"Reads a file, up to max bytes.", `"path":{"type":"string"},"max":{"type":"integer"}`, readFile}
	tools["writefile"] = tool{"Writes a file.", `"path":{"type":"string"},"text":{"type":"string"}`, writeFile}
	tools["listdir"] = tool{"Lists a folder, with the targets of its links.", `"path":{"type":"string"}`, listDirectory}
	tools["grep"] = tool{
		"Tells which files below the roots hold the needle. It is given in base64, so that the question itself does not match.",
		`"roots":{"type":"array","items":{"type":"string"}},"needleBase64":{"type":"string"},"max":{"type":"integer"}`, grep,
	}
}

func readFile(c *call) (json.RawMessage, error) {
	wanted := struct {
		Path string
		Max  int64
	}{Max: 1 << 20}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	file, err := os.Open(wanted.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, wanted.Max))
	if err != nil {
		return nil, err
	}
	if utf8.Valid(content) {
		return textResult(string(content)), nil
	}
	return textResult("base64:" + base64.StdEncoding.EncodeToString(content)), nil
}

func writeFile(c *call) (json.RawMessage, error) {
	var wanted struct{ Path, Text string }
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	if err := os.WriteFile(wanted.Path, []byte(wanted.Text), 0o600); err != nil {
		return nil, err
	}
	return textResult("written"), nil
}

func listDirectory(c *call) (json.RawMessage, error) {
	var wanted struct{ Path string }
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(wanted.Path)
	if err != nil {
		return nil, err
	}
	listing := map[string]string{}
	for _, entry := range entries {
		kind := entry.Type().String()
		if entry.Type()&fs.ModeSymlink != 0 {
			kind, _ = os.Readlink(filepath.Join(wanted.Path, entry.Name()))
		}
		listing[entry.Name()] = kind
	}
	return jsonResult(listing), nil
}

// readDeadline is how long one file may take: some of /proc and /sys never end or never answer.
const readDeadline = 2 * time.Second

// grep reads at most max bytes of every file; each read has its own deadline.
func grep(c *call) (json.RawMessage, error) {
	wanted := struct {
		Roots        []string
		NeedleBase64 string
		Max          int64
	}{Max: 1 << 20}
	if err := c.parse(&wanted); err != nil {
		return nil, err
	}
	needle, err := base64.StdEncoding.DecodeString(wanted.NeedleBase64)
	if err != nil || len(needle) == 0 {
		return nil, &rpcError{Code: -32602, Message: "Invalid arguments: needleBase64"}
	}
	found, read, unread := []string{}, 0, []string{}
	for _, root := range wanted.Roots {
		// /proc/self is a link, and the walk follows none.
		if target, err := filepath.EvalSymlinks(root); err == nil {
			root = target
		}
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if c.ctx.Err() != nil {
				return c.ctx.Err()
			}
			if err != nil || entry.IsDir() || !(entry.Type().IsRegular() || strings.HasPrefix(path, "/proc/")) {
				return nil
			}
			content, ok := readSome(path, wanted.Max)
			if !ok {
				unread = append(unread, path)
				return nil
			}
			read++
			if bytes.Contains(content, needle) {
				found = append(found, path)
			}
			return nil
		})
	}
	return jsonResult(map[string]any{"found": found, "filesRead": read, "unread": len(unread)}), c.ctx.Err()
}

// readSome reads regular files only, links to them in /proc too: reading a pipe there would take our own messages away.
func readSome(path string, limit int64) ([]byte, bool) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, false
	}
	type outcome struct {
		content []byte
		err     error
	}
	done := make(chan outcome, 1)
	go func() {
		// Without O_NONBLOCK the opening of a pipe that has no writer waits.
		file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			done <- outcome{nil, err}
			return
		}
		defer file.Close()
		content, err := io.ReadAll(io.LimitReader(file, limit))
		done <- outcome{content, err}
	}()
	timer := time.NewTimer(readDeadline)
	defer timer.Stop()
	select {
	case result := <-done:
		return result.content, result.err == nil
	case <-timer.C:
		return nil, false
	}
}

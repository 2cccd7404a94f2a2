// dockerfile-check translates a Dockerfile as `docker build` does, up to the point where BuildKit would run it, and tells as JSON what came
// of it: dockerfile-check FILE [TARGET] [ARG=VALUE]...
//
// Docker does not run where the tests do. This finds what would fail before the first RUN: syntax, unknown stages and flags, arguments
// that are not declared, and whatever BuildKit's own checks warn of.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/opencontainers/go-digest"
)

// report is what is printed.
type report struct {
	Error      string   `json:"error,omitempty"`
	Warnings   []string `json:"warnings"`
	User       string   `json:"user"`
	Entrypoint []string `json:"entrypoint"`
	// Copied are the paths that COPY takes from the build context, in all stages.
	Copied []string `json:"copied"`
}

// offline answers for any base image: what is in it does not matter here.
type offline struct{}

func (offline) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return ref, digest.FromString(ref), []byte(`{"architecture":"amd64","os":"linux","config":{}}`), nil
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: dockerfile-check FILE [TARGET] [ARG=VALUE]...")
		os.Exit(64)
	}
	told := report{Warnings: []string{}, Copied: []string{}}
	if err := check(&told, os.Args[1], os.Args[2:]); err != nil {
		told.Error = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(told)
}

func check(told *report, file string, more []string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if told.Copied, err = copied(text); err != nil {
		return err
	}
	config := dockerui.Config{BuildArgs: map[string]string{}}
	for _, word := range more {
		if name, value, isArgument := strings.Cut(word, "="); isArgument {
			config.BuildArgs[name] = value
		} else {
			config.Target = word
		}
	}
	result, err := dockerfile2llb.Dockerfile2LLB(context.Background(), text, dockerfile2llb.ConvertOpt{
		Config:       config,
		MetaResolver: offline{},
		Warn: func(rule, _, _, message string, where []parser.Range) {
			line := 0
			if len(where) > 0 {
				line = where[0].Start.Line
			}
			told.Warnings = append(told.Warnings, fmt.Sprintf("line %d: %s: %s", line, rule, message))
		},
	})
	if err != nil {
		return err
	}
	if _, err := result.State.Marshal(context.Background()); err != nil {
		return err
	}
	told.User, told.Entrypoint = result.Image.Config.User, result.Image.Config.Entrypoint
	return nil
}

func copied(text []byte) ([]string, error) {
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	stages, _, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return nil, err
	}
	paths := []string{}
	for _, stage := range stages {
		for _, command := range stage.Commands {
			if copy, ok := command.(*instructions.CopyCommand); ok && copy.From == "" {
				paths = append(paths, copy.SourcePaths...)
			}
		}
	}
	return paths, nil
}

package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "bin"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "bin/app"), []byte("#!/bin/sh\n"), 0o700))
	must(t, os.Chmod(filepath.Join(root, "bin/app"), 0o4755|os.ModeSetuid))
	must(t, os.Symlink("app", filepath.Join(root, "bin/link")))
	must(t, os.MkdirAll(filepath.Join(root, "tmp"), 0o755))
	must(t, os.Chmod(filepath.Join(root, "tmp"), 0o777|os.ModeSticky))
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, file string) map[string][]byte {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	found := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		must(t, err)
		found[h.Name], err = io.ReadAll(r)
		must(t, err)
	}
}

func TestSameInputGivesTheSameBytes(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		out := filepath.Join(t.TempDir(), "image.tar")
		_, err := write(options{name: "app:1", roots: []string{tree(t)}, out: out, arch: "amd64"})
		must(t, err)
		archives[i], err = os.ReadFile(out)
		must(t, err)
	}
	if string(archives[0]) != string(archives[1]) {
		t.Fatal("two runs over equal trees differ")
	}
}

func TestManifestNamesEveryBlobAndTheImage(t *testing.T) {
	out := filepath.Join(t.TempDir(), "image.tar")
	base := tree(t)
	digest, err := write(options{name: "team/app:1", roots: []string{base, tree(t)}, out: out, arch: "amd64", env: []string{"A=b"},
		config: config{User: "65532:65532", Entrypoint: []string{"/bin/app"}}})
	must(t, err)
	files := contents(t, out)
	var index struct{ Manifests []descriptor }
	must(t, json.Unmarshal(files["index.json"], &index))
	if index.Manifests[0].Digest != digest || index.Manifests[0].Annotations["io.containerd.image.name"] != "docker.io/team/app:1" {
		t.Fatalf("index: %s", files["index.json"])
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	must(t, json.Unmarshal(files["blobs/sha256/"+strings.TrimPrefix(digest, "sha256:")], &manifest))
	if len(manifest.Layers) != 2 {
		t.Fatalf("%d layers", len(manifest.Layers))
	}
	for _, d := range append(manifest.Layers, manifest.Config) {
		if got := files["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]; int64(len(got)) != d.Size {
			t.Fatalf("blob %s has %d bytes, the manifest says %d", d.Digest, len(got), d.Size)
		}
	}
	var image struct{ Config config }
	must(t, json.Unmarshal(files["blobs/sha256/"+strings.TrimPrefix(manifest.Config.Digest, "sha256:")], &image))
	if image.Config.User != "65532:65532" || len(image.Config.Env) != 2 || image.Config.Entrypoint[0] != "/bin/app" {
		t.Fatalf("config: %+v", image.Config)
	}
}

func TestLayerKeepsModesAndLinks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "layer")
	_, err := packLayer(tree(t), file)
	must(t, err)
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	want := map[string]int64{"bin/": 0o755, "bin/app": 0o4755, "bin/link": 0o777, "tmp/": 0o1777}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if h.Mode != want[h.Name] || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s: mode %o, owner %d:%d", h.Name, h.Mode, h.Uid, h.Gid)
		}
		if h.Name == "bin/link" && h.Linkname != "app" {
			t.Errorf("link leads to %q", h.Linkname)
		}
		delete(want, h.Name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"busybox:1": "docker.io/library/busybox 1", "a/b:1": "docker.io/a/b 1", "localhost/b:1": "localhost/b 1",
		"registry.example.com/pause:3.10": "registry.example.com/pause 3.10", "localhost:5000/b:1": "localhost:5000/b 1",
		"b": "", "localhost:5000/b": "", "b:": "",
	} {
		name, tag, err := reference(in)
		if got := name + " " + tag; err == nil && got != want || err != nil && want != "" {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

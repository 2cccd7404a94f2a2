package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	defaultArch   = runtime.GOARCH
	defaultPath   = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	layerType     = "application/vnd.oci.image.layer.v1.tar"
	configType    = "application/vnd.oci.image.config.v1+json"
	manifestType  = "application/vnd.oci.image.manifest.v1+json"
	indexType     = "application/vnd.oci.image.index.v1+json"
	layoutVersion = `{"imageLayoutVersion":"1.0.0"}`
)

type options struct {
	name, out, arch string
	roots, env      []string
	config          config
}

// config is the execution part of an OCI image configuration (OCI Image Spec, config.md).
type config struct {
	User       string   `json:"User,omitempty"`
	Env        []string `json:"Env,omitempty"`
	Entrypoint []string `json:"Entrypoint,omitempty"`
	Cmd        []string `json:"Cmd,omitempty"`
	WorkingDir string   `json:"WorkingDir,omitempty"`
}

// descriptor names a blob (OCI Image Spec, descriptor.md).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    map[string]string `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// blob is content that is either a small document or a layer file on disk.
type blob struct {
	descriptor
	data []byte
	file string
}

func (b blob) path() string { return "blobs/sha256/" + strings.TrimPrefix(b.Digest, "sha256:") }

// write makes the archive and returns the manifest's digest. The archive appears whole or not at all.
func write(o options) (string, error) {
	name, tag, err := reference(o.name)
	if err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(filepath.Dir(o.out), ".mkimage-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)

	var blobs []blob
	var layers []descriptor
	var diffs []string
	for i, root := range o.roots {
		layer, err := packLayer(root, filepath.Join(work, fmt.Sprint(i)))
		if err != nil {
			return "", fmt.Errorf("%s: %w", root, err)
		}
		blobs = append(blobs, layer)
		layers = append(layers, layer.descriptor)
		diffs = append(diffs, layer.Digest) // uncompressed, so the blob's digest is the diff's
	}
	o.config.Env = append([]string{defaultPath}, o.env...)
	configuration := document(configType, map[string]any{
		"architecture": o.arch,
		"os":           "linux",
		"config":       o.config,
		"rootfs":       map[string]any{"type": "layers", "diff_ids": diffs},
	})
	manifest := document(manifestType, map[string]any{
		"schemaVersion": 2,
		"mediaType":     manifestType,
		"config":        configuration.descriptor,
		"layers":        layers,
	})
	blobs = append(blobs, configuration, manifest)

	entry := manifest.descriptor
	entry.Platform = map[string]string{"architecture": o.arch, "os": "linux"}
	entry.Annotations = map[string]string{
		"io.containerd.image.name":          name + ":" + tag,
		"org.opencontainers.image.ref.name": tag,
	}
	index := document(indexType, map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": []descriptor{entry}})
	// What `docker load` before version 25 reads.
	paths := make([]string, len(layers))
	for i := range layers {
		paths[i] = blobs[i].path()
	}
	legacy := document("", []map[string]any{{"Config": configuration.path(), "RepoTags": []string{name + ":" + tag}, "Layers": paths}})

	archive := filepath.Join(work, "archive")
	if err := writeArchive(archive, index.data, legacy.data, blobs); err != nil {
		return "", err
	}
	return manifest.Digest, os.Rename(archive, o.out)
}

// document is a blob made of a value's JSON; map keys are sorted by the encoder, so it is the same each time.
func document(mediaType string, value any) blob {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // the values above always encode
	}
	sum := sha256.Sum256(data)
	return blob{descriptor: descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(data))}, data: data}
}

// reference splits NAME:TAG and completes the name as Docker and the kubelet do: no registry means docker.io, no namespace library.
func reference(s string) (name, tag string, err error) {
	colon := strings.LastIndex(s, ":")
	if colon < 1 || colon < strings.LastIndex(s, "/") || colon == len(s)-1 {
		return "", "", fmt.Errorf("image name %q needs a tag, as in NAME:TAG", s)
	}
	name, tag = s[:colon], s[colon+1:]
	first, _, found := strings.Cut(name, "/")
	switch {
	case !found:
		name = "docker.io/library/" + name
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		name = "docker.io/" + name
	}
	return name, tag, nil
}

func writeArchive(file string, index, legacy []byte, blobs []blob) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	t := tar.NewWriter(out)
	put := func(name string, size int64, from io.Reader) error {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Typeflag: tar.TypeReg, Format: tar.FormatPAX}); err != nil {
			return err
		}
		_, err := io.Copy(t, from)
		return err
	}
	for _, d := range []struct {
		name string
		data []byte
	}{{"oci-layout", []byte(layoutVersion)}, {"index.json", index}, {"manifest.json", legacy}} {
		if err := put(d.name, int64(len(d.data)), bytes.NewReader(d.data)); err != nil {
			return err
		}
	}
	written := map[string]bool{}
	for _, b := range blobs {
		if written[b.path()] {
			continue
		}
		written[b.path()] = true
		var from io.Reader = bytes.NewReader(b.data)
		if b.file != "" {
			f, err := os.Open(b.file)
			if err != nil {
				return err
			}
			defer f.Close()
			from = f
		}
		if err := put(b.path(), b.Size, from); err != nil {
			return fmt.Errorf("%s: %w", path.Base(b.path()), err)
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return out.Close()
}

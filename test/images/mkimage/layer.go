package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// packLayer writes root's content as an uncompressed layer to file. Modes (set-id and sticky bits too) and symbolic links are kept;
// owners and times are not, for they differ from machine to machine. Devices, sockets and pipes are refused: no image here needs one.
func packLayer(root, file string) (blob, error) {
	info, err := os.Stat(root)
	if err != nil {
		return blob{}, err
	}
	if !info.IsDir() {
		return blob{}, fmt.Errorf("not a directory")
	}
	out, err := os.Create(file)
	if err != nil {
		return blob{}, err
	}
	defer out.Close()
	sum := sha256.New()
	t := tar.NewWriter(io.MultiWriter(out, sum))
	// WalkDir goes in lexical order, which makes the order the same everywhere.
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		return addEntry(t, p, filepath.ToSlash(name))
	})
	if err != nil {
		return blob{}, err
	}
	if err := t.Close(); err != nil {
		return blob{}, err
	}
	size, err := out.Seek(0, io.SeekCurrent)
	if err != nil {
		return blob{}, err
	}
	digest := "sha256:" + hex.EncodeToString(sum.Sum(nil))
	return blob{descriptor: descriptor{MediaType: layerType, Digest: digest, Size: size}, file: file}, out.Close()
}

func addEntry(t *tar.Writer, file, name string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	h := &tar.Header{Name: name, ModTime: time.Unix(0, 0), Mode: int64(info.Mode().Perm()), Format: tar.FormatPAX}
	for bit, value := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if info.Mode()&bit != 0 {
			h.Mode |= value
		}
	}
	switch {
	case info.Mode().IsRegular():
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
	case info.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case info.Mode()&fs.ModeSymlink != 0:
		h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
		if h.Linkname, err = os.Readlink(file); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s: a %s cannot be packed", name, info.Mode().Type())
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(t, f)
	return err
}

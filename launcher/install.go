package main

import (
	"io"
	"os"
	"path/filepath"
)

// install copies the running program to dest, or into it where it is a folder. The copy appears whole or not at all.
func install(dest string) error {
	if info, err := os.Stat(dest); err == nil && info.IsDir() {
		dest = filepath.Join(dest, "launcher")
	}
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	partial := dest + ".partial"
	to, err := os.OpenFile(partial, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o555)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if closed := to.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Chmod(partial, 0o555) // whatever the umask is: the child's container may have another user
	}
	if err == nil {
		err = os.Rename(partial, dest)
	}
	if err != nil {
		os.Remove(partial)
	}
	return err
}

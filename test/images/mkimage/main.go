// Command mkimage packs directories into an OCI image archive (OCI Image Layout 1.0 in a tar file) without a daemon, a registry or
// root. The same input always gives the same digest: owner 0:0, times zero, entries sorted, blobs uncompressed.
//
//	mkimage -name NAME:TAG -root DIR [-root DIR]... -out FILE.tar [-entrypoint JSON] [-cmd JSON] [-user U] [-workdir D] [-env K=V]...
//
// Each -root becomes one layer, first one lowest, so images that share a base share its blob. On success it prints NAME:TAG@DIGEST.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// words is a flag whose value is a JSON array of strings (Dockerfile's exec form).
type words []string

func (w *words) String() string     { return strings.Join(*w, " ") }
func (w *words) Set(v string) error { return json.Unmarshal([]byte(v), (*[]string)(w)) }

func main() {
	var o options
	flag.StringVar(&o.name, "name", "", "image `NAME:TAG`; without a registry it is docker.io's, as in Docker")
	flag.Var((*list)(&o.roots), "root", "`DIR` to pack as a layer; may be given several times, the lowest layer first")
	flag.StringVar(&o.out, "out", "", "archive `FILE.tar` to write")
	flag.Var((*words)(&o.config.Entrypoint), "entrypoint", "entrypoint as a `JSON` array")
	flag.Var((*words)(&o.config.Cmd), "cmd", "default arguments as a `JSON` array")
	flag.StringVar(&o.config.User, "user", "", "`USER[:GROUP]`, numeric for runAsNonRoot")
	flag.StringVar(&o.config.WorkingDir, "workdir", "/", "working `DIR`")
	flag.Var((*list)(&o.env), "env", "environment `K=V`; may be given several times")
	flag.StringVar(&o.arch, "arch", defaultArch, "`ARCH` in Go's spelling")
	flag.Parse()
	if flag.NArg() > 0 {
		fail(fmt.Errorf("unexpected argument %q", flag.Arg(0)))
	}
	if o.name == "" || len(o.roots) == 0 || o.out == "" {
		fail(fmt.Errorf("-name, -root and -out are needed"))
	}
	digest, err := write(o)
	if err != nil {
		fail(err)
	}
	fmt.Printf("%s@%s\n", o.name, digest)
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
	os.Exit(1)
}

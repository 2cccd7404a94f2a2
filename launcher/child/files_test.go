package child

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFilesAreMadeOnceAndReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder", "ca.crt")
	if err := writeFiles(map[string]string{path: "text\n"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "text\n" {
		t.Errorf("%q, %v", text, err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o444 {
		t.Error(info.Mode())
	}
	if err := writeFiles(map[string]string{path: "other"}); !os.IsExist(err) {
		t.Errorf("a name that is taken: %v", err)
	}
}

func TestAFileIsNotWrittenThroughALink(t *testing.T) {
	folder := t.TempDir()
	link := filepath.Join(folder, "link")
	if err := os.Symlink(filepath.Join(folder, "target"), link); err != nil {
		t.Fatal(err)
	}
	if err := writeFiles(map[string]string{link: "text"}); !os.IsExist(err) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "target")); !os.IsNotExist(err) {
		t.Error(err)
	}
}

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// readRevision returns the files of a git revision, or of the work tree, by their paths.
// Files that git does not track are left out.
func readRevision(revision string) (map[string]string, error) {
	if revision == "." {
		return readWorkTree()
	}
	archive, err := git("archive", "--format=tar", revision)
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return texts, nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the files of %s: %w", revision, err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			return nil, fmt.Errorf("cannot read %s of %s: %w", header.Name, revision, err)
		}
		texts[header.Name] = string(content)
	}
}

func readWorkTree() (map[string]string, error) {
	names, err := git("ls-files", "-z")
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for name := range strings.SplitSeq(string(names), "\x00") {
		content, err := os.ReadFile(name)
		if os.IsNotExist(err) || name == "" { // removed, not yet committed
			continue
		}
		if err != nil {
			return nil, err
		}
		texts[name] = string(content)
	}
	return texts, nil
}

func git(args ...string) ([]byte, error) {
	cmd := exec.Command("git", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return output, nil
}

// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// The file is an executable, then a tar.gz of programs, then a trailer: the digest of both (32 bytes), the length of the
// archive (8 bytes, big endian) and this word. Like K3s, it unpacks itself to data/<digest>/bin and runs from there, so
// that a file that is replaced later changes nothing of what runs.
const trailerWord = "k3s-standin-payload"

const trailerSize = 32 + 8 + len(trailerWord)

type payload struct {
	digest     string
	executable int64
	archive    int64
}

func readPayload(file *os.File) (payload, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return payload{}, err
	}
	trailer := make([]byte, trailerSize)
	if size < int64(trailerSize) {
		return payload{}, errors.New("no payload")
	}
	if _, err := file.ReadAt(trailer, size-int64(trailerSize)); err != nil {
		return payload{}, err
	}
	if string(trailer[40:]) != trailerWord {
		return payload{}, errors.New("no payload")
	}
	archive := int64(binary.BigEndian.Uint64(trailer[32:40]))
	return payload{hex.EncodeToString(trailer[:32]), size - int64(trailerSize) - archive, archive}, nil
}

// payloadDirectory unpacks the programs where that was not done yet, and returns their directory.
func payloadDirectory(dataDir string) (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", err
	}
	if directory := filepath.Dir(own); filepath.Base(directory) == "bin" && strings.HasPrefix(directory, filepath.Join(dataDir, "data")+"/") {
		return directory, nil
	}
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer file.Close()
	found, err := readPayload(file)
	if err != nil {
		return "", fmt.Errorf("this program cannot unpack itself: %w", err)
	}
	target := filepath.Join(dataDir, "data", found.digest)
	if _, err := os.Stat(filepath.Join(target, "bin", "k3s")); err == nil {
		return filepath.Join(target, "bin"), nil
	}
	if err := os.MkdirAll(filepath.Join(dataDir, "data"), 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dataDir, "data", ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(target, "bin", "k3s")); err == nil {
		return filepath.Join(target, "bin"), nil
	}
	info("Preparing data dir %s", target)
	temporary := target + "-tmp"
	os.RemoveAll(temporary)
	bin := filepath.Join(temporary, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	if err := unpack(io.NewSectionReader(file, found.executable, found.archive), bin); err != nil {
		return "", fmt.Errorf("extracting data: %w", err)
	}
	if err := writeExecutable(filepath.Join(bin, "k3s"), io.NewSectionReader(file, 0, found.executable)); err != nil {
		return "", err
	}
	for name := range components {
		if err := os.Symlink("k3s", filepath.Join(bin, name)); err != nil {
			return "", err
		}
	}
	os.RemoveAll(target)
	if err := os.Rename(temporary, target); err != nil {
		return "", err
	}
	current := filepath.Join(dataDir, "data", "current")
	os.Remove(current)
	return filepath.Join(target, "bin"), os.Symlink(target, current)
}

func unpack(source io.Reader, directory string) error {
	unzipped, err := gzip.NewReader(source)
	if err != nil {
		return err
	}
	archive := tar.NewReader(unzipped)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := writeExecutable(filepath.Join(directory, filepath.Base(header.Name)), archive); err != nil {
			return err
		}
	}
}

func writeExecutable(path string, source io.Reader) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, source); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// enterPayload replaces this process by the unpacked copy of itself, under the same process id.
func enterPayload(dataDir, verb string) {
	bin, err := payloadDirectory(dataDir)
	if err != nil {
		fatal("%v", err)
	}
	inner := filepath.Join(bin, "k3s")
	if own, err := os.Executable(); err == nil && own == inner {
		os.Setenv("PATH", bin+":"+os.Getenv("PATH")+":/usr/sbin:/sbin:/usr/bin:/bin")
		return
	}
	if err := syscall.Exec(inner, append([]string{"/usr/local/bin/k3s " + verb}, os.Args[1:]...), os.Environ()); err != nil {
		fatal("starting %s: %v", inner, err)
	}
}

// defaultDataDir is where a command that is no server or agent finds the programs.
func defaultDataDir() string {
	if settings, err := parseSettings("server", nil, os.Environ()); err == nil {
		return settings.dataDir()
	}
	return "/var/lib/rancher/k3s"
}

// runBundled replaces this process by a program of the payload.
func runBundled(name string, arguments []string) {
	bin, err := payloadDirectory(defaultDataDir())
	if err != nil {
		fatal("%v", err)
	}
	environment := os.Environ()
	program := filepath.Join(bin, name)
	switch name {
	case "ctr":
		environment = append([]string{"CONTAINERD_ADDRESS=" + containerdSocket, "CONTAINERD_NAMESPACE=k8s.io"}, environment...)
	case "crictl":
		if os.Getenv("CRI_CONFIG_FILE") == "" {
			arguments = append([]string{"--runtime-endpoint=unix://" + containerdSocket, "--image-endpoint=unix://" + containerdSocket}, arguments...)
		}
	}
	if _, err := exec.LookPath(program); err != nil {
		fatal("%s is not part of this program", name)
	}
	if err := syscall.Exec(program, append([]string{name}, arguments...), environment); err != nil {
		fatal("starting %s: %v", program, err)
	}
}

func hasKubeconfig(arguments []string) bool {
	for _, argument := range arguments {
		if argument == "--kubeconfig" || strings.HasPrefix(argument, "--kubeconfig=") {
			return true
		}
	}
	return false
}

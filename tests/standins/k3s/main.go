// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// A stand-in for the K3s program: its command line, files, ports and refusals, with unmodified Kubernetes underneath.
//
// It is for tests. K3s itself is on no package registry; what is promised here is listed in README.md.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Set by the linker: the K3s release that is stood in for, the Kubernetes and the Go that are inside.
var (
	k3sVersion        = "v0.0.0+k3s0"
	kubernetesVersion = "v0.0.0"
	goVersion         = "go0.0"
)

// Programs of the payload that are called by their own names, as K3s has them as links to itself.
var bundled = map[string]bool{"crictl": true, "ctr": true, "etcdctl": true, "containerd": true, "runc": true}

func main() {
	name := filepath.Base(os.Args[0])
	if component, known := components[name]; known {
		component()
		return
	}
	if bundled[name] {
		runBundled(name, os.Args[1:])
	}
	if len(os.Args) < 2 {
		usage(os.Stdout)
		return
	}
	verb, rest := os.Args[1], os.Args[2:]
	switch verb {
	case "--version", "-v":
		fmt.Printf("k3s version %s (stand-in on Kubernetes %s)\ngo version %s\n", k3sVersion, kubernetesVersion, goVersion)
	case "--help", "-h", "help":
		usage(os.Stdout)
	case "server", "agent":
		settings, err := parseSettings(verb, rest, os.Environ())
		if err != nil {
			fatal("%v", err)
		}
		enterPayload(settings.dataDir(), verb)
		if verb == "server" {
			err = runServer(settings)
		} else {
			err = runAgent(settings)
		}
		if err != nil {
			fatal("%v", err)
		}
	case "kubectl", "crictl", "ctr":
		runBundled(verb, rest)
	case "etcd-snapshot":
		exitOn(snapshotCommand(rest))
	case "secrets-encrypt":
		exitOn(encryptCommand(rest))
	case "token":
		exitOn(tokenCommand(rest))
	case "certificate":
		exitOn(certificateCommand(rest))
	case "check-config", "completion":
		return
	default:
		fmt.Fprintf(os.Stderr, "No help topic for '%s'\n", verb)
		os.Exit(3)
	}
}

func usage(out *os.File) {
	fmt.Fprintf(out, "NAME:\n   k3s - Kubernetes, but small and simple (stand-in for tests)\n\nVERSION:\n   %s\n\nCOMMANDS:\n   %s\n",
		k3sVersion, strings.Join([]string{
			"server", "agent", "kubectl", "crictl", "ctr", "check-config", "token", "etcd-snapshot", "secrets-encrypt", "certificate", "completion",
		}, "\n   "))
}

// logLine writes one line in the form that K3s' own log has.
func logLine(level, format string, values ...any) {
	fmt.Fprintf(os.Stderr, "time=%q level=%s msg=%q\n", now().Format("2006-01-02T15:04:05Z07:00"), level, fmt.Sprintf(format, values...))
}

func info(format string, values ...any)    { logLine("info", format, values...) }
func warning(format string, values ...any) { logLine("warning", format, values...) }

func fatal(format string, values ...any) {
	logLine("fatal", format, values...)
	os.Exit(1)
}

func exitOn(err error) {
	if err != nil {
		fatal("Error: %v", err)
	}
}

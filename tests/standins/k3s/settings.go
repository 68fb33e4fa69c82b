// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// flagsFile is the table of upstream's flags, shared with the collection.
//
//go:embed flags.json
var flagsFile []byte

type flagTable struct {
	Disable []string          `json:"disable"`
	Aliases map[string]string `json:"aliases"`
	Server  map[string]string `json:"server"`
	Agent   map[string]string `json:"agent"`
}

const defaultConfig = "/etc/rancher/k3s/config.yaml"

// What this program cannot do, and says so instead of doing something else.
var unsupported = map[string]string{
	"docker": "", "rootless": "", "container-runtime-endpoint": "", "disable-etcd": "", "disable-apiserver": "",
	"disable-controller-manager": "", "vpn-auth": "", "vpn-auth-file": "", "embedded-registry": "",
	"with-node-id": "", "supervisor-port": "", "apiserver-port": "", "apiserver-bind-address": "",
}

// settings are the values of flags by their long names, in the order given.
type settings struct {
	verb   string
	values map[string][]string
}

func (s *settings) text(name, otherwise string) string {
	if found := s.values[name]; len(found) > 0 {
		return found[len(found)-1]
	}
	return otherwise
}

func (s *settings) flag(name string) bool {
	value, _ := strconv.ParseBool(s.text(name, "false"))
	return value
}

func (s *settings) list(name string) []string {
	var all []string
	for _, value := range s.values[name] {
		for _, part := range strings.Split(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				all = append(all, part)
			}
		}
	}
	return all
}

// arguments are those of a component: a value with a comma stays whole.
func (s *settings) arguments(name string) []string {
	var all []string
	for _, value := range s.values[name] {
		all = append(all, "--"+strings.TrimLeft(value, "-"))
	}
	return all
}

func (s *settings) port() int {
	port, _ := strconv.Atoi(s.text("https-listen-port", "6443"))
	return port
}

func (s *settings) dataDir() string { return s.text("data-dir", "/var/lib/rancher/k3s") }

func (s *settings) path(parts ...string) string {
	return filepath.Join(append([]string{s.dataDir()}, parts...)...)
}

func (s *settings) nodeName() string {
	name, _ := os.Hostname()
	return strings.ToLower(s.text("node-name", name))
}

// nodeIP is the address that other nodes reach: what is set, or that of the interface with the default route.
func (s *settings) nodeIP() (string, error) {
	if list := s.list("node-ip"); len(list) > 0 {
		if net.ParseIP(list[0]) == nil {
			return "", fmt.Errorf("invalid node-ip: %q is no address", list[0])
		}
		return list[0], nil
	}
	connection, err := net.Dial("udp4", "192.0.2.1:9")
	if err == nil {
		defer connection.Close()
		return connection.LocalAddr().(*net.UDPAddr).IP.String(), nil
	}
	addresses, _ := net.InterfaceAddrs()
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.IP.To4() != nil && !network.IP.IsLoopback() {
			return network.IP.String(), nil
		}
	}
	return "", errors.New("no address found for this node: set node-ip")
}

func parseSettings(verb string, arguments, environment []string) (*settings, error) {
	var table flagTable
	if err := json.Unmarshal(flagsFile, &table); err != nil {
		return nil, err
	}
	known := table.Server
	if verb == "agent" {
		known = table.Agent
	}
	found := &settings{verb: verb, values: map[string][]string{}}
	long := map[string]string{}
	for name, short := range table.Aliases {
		if _, there := known[name]; there {
			long[short] = name
		}
	}
	fromArguments, err := readArguments(arguments, known, long)
	if err != nil {
		return nil, err
	}
	file, given := defaultConfig, false
	for _, pair := range environment {
		if value, is := strings.CutPrefix(pair, "K3S_CONFIG_FILE="); is {
			file, given = value, true
		}
	}
	if values := fromArguments["config"]; len(values) > 0 {
		file, given = values[len(values)-1], true
	}
	if err := found.readFiles(file, given, known, long); err != nil {
		return nil, err
	}
	for name, variable := range map[string]string{
		"token": "K3S_TOKEN", "token-file": "K3S_TOKEN_FILE", "server": "K3S_URL", "node-name": "K3S_NODE_NAME",
		"datastore-endpoint": "K3S_DATASTORE_ENDPOINT", "cluster-init": "K3S_CLUSTER_INIT", "data-dir": "K3S_DATA_DIR",
		"etcd-s3-access-key": "AWS_ACCESS_KEY_ID", "etcd-s3-secret-key": "AWS_SECRET_ACCESS_KEY", "etcd-s3-session-token": "AWS_SESSION_TOKEN",
	} {
		for _, pair := range environment {
			if value, is := strings.CutPrefix(pair, variable+"="); is && value != "" && known[name] != "" && len(found.values[name]) == 0 {
				found.values[name] = []string{value}
			}
		}
	}
	for name, values := range fromArguments {
		if known[name] == "list" {
			found.values[name] = append(found.values[name], values...)
		} else {
			found.values[name] = values
		}
	}
	return found, found.check(known, table)
}

func readArguments(arguments []string, known, long map[string]string) (map[string][]string, error) {
	values := map[string][]string{}
	for index := 0; index < len(arguments); index++ {
		argument := arguments[index]
		if !strings.HasPrefix(argument, "-") {
			return nil, fmt.Errorf("unexpected argument %q", argument)
		}
		name, value, inline := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		if full, is := long[name]; is {
			name = full
		}
		kind, is := known[name]
		if !is {
			return nil, fmt.Errorf("flag provided but not defined: -%s", name)
		}
		if !inline {
			switch {
			case kind == "bool":
				value = "true"
			case index+1 < len(arguments):
				index++
				value = arguments[index]
			default:
				return nil, fmt.Errorf("flag needs an argument: -%s", name)
			}
		}
		values[name] = append(values[name], value)
	}
	return values, nil
}

// readFiles reads the configuration file and, beside it, those of config.yaml.d in the order of their names. A key with a
// + at its end is appended to; others replace what an earlier file said.
func (s *settings) readFiles(file string, given bool, known, long map[string]string) error {
	files := []string{file}
	more, _ := filepath.Glob(file + ".d/*")
	sort.Strings(more)
	for _, name := range more {
		if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
			files = append(files, name)
		}
	}
	for number, name := range files {
		text, err := os.ReadFile(name)
		if os.IsNotExist(err) && number == 0 && !given {
			continue
		}
		if err != nil {
			return fmt.Errorf("failed to read config: %w", err)
		}
		var content map[string]any
		if err := yaml.Unmarshal(text, &content); err != nil {
			return fmt.Errorf("failed to parse config %s: %w", name, err)
		}
		for key, value := range content {
			plain := strings.TrimSuffix(key, "+")
			if full, is := long[plain]; is {
				plain = full
			}
			if _, is := known[plain]; !is {
				return fmt.Errorf("%s: unknown key %q: k3s %s has no flag --%s", name, key, s.verb, plain)
			}
			var values []string
			if list, is := value.([]any); is {
				for _, item := range list {
					values = append(values, scalar(item))
				}
			} else if value != nil {
				values = []string{scalar(value)}
			}
			if strings.HasSuffix(key, "+") {
				values = append(s.values[plain], values...)
			}
			s.values[plain] = values
		}
	}
	return nil
}

func scalar(value any) string {
	switch typed := value.(type) {
	case string:
		return typed
	case float64:
		return strconv.FormatFloat(typed, 'f', -1, 64)
	default:
		return fmt.Sprint(typed)
	}
}

func (s *settings) check(known map[string]string, table flagTable) error {
	for name, values := range s.values {
		for _, value := range values {
			var err error
			switch known[name] {
			case "int":
				_, err = strconv.Atoi(value)
			case "bool":
				_, err = strconv.ParseBool(value)
			case "duration":
				_, err = time.ParseDuration(value)
			}
			if err != nil {
				return fmt.Errorf("invalid value %q for flag -%s: %v", value, name, err)
			}
		}
		if _, is := unsupported[name]; is && s.text(name, "false") != "false" {
			return fmt.Errorf("the stand-in cannot do what --%s asks for", name)
		}
	}
	for _, item := range s.list("disable") {
		if !contains(table.Disable, item) {
			return fmt.Errorf("unknown disable item %s", item)
		}
	}
	if backend := s.text("flannel-backend", "vxlan"); !contains([]string{"none", "vxlan", "host-gw"}, backend) {
		return fmt.Errorf("the stand-in has no flannel backend %q", backend)
	}
	if s.flag("cluster-init") && s.text("datastore-endpoint", "") != "" {
		return errors.New("invalid flag use; cannot use --cluster-init with --datastore-endpoint")
	}
	if s.text("cluster-reset-restore-path", "") != "" && !s.flag("cluster-reset") {
		return errors.New("invalid flag use; --cluster-reset required with --cluster-reset-restore-path")
	}
	if s.flag("cluster-reset") && s.text("server", "") != "" {
		return errors.New("invalid flag use; cannot use --cluster-reset with --server")
	}
	if s.flag("etcd-s3") && s.text("etcd-s3-bucket", "") == "" && s.text("etcd-s3-config-secret", "") == "" {
		return errors.New("s3 bucket name was not set")
	}
	return nil
}

// token is the shared secret from token or token-file; empty where neither is set.
func (s *settings) token() (string, error) {
	if file := s.text("token-file", ""); file != "" {
		deadline := now().Add(10 * time.Second)
		for {
			text, err := os.ReadFile(file)
			if found := strings.TrimSpace(string(text)); err == nil && found != "" {
				return found, nil
			}
			if now().After(deadline) {
				return "", fmt.Errorf("token file %s is missing or empty", file)
			}
			time.Sleep(time.Second)
		}
	}
	return strings.TrimSpace(s.text("token", "")), nil
}

func contains(list []string, wanted string) bool {
	for _, one := range list {
		if one == wanted {
			return true
		}
	}
	return false
}

func now() time.Time { return time.Now() }

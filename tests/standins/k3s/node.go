// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// runAgent is `k3s agent`: it joins, and runs what a node runs.
func runAgent(s *settings) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	info("Starting k3s agent %s (stand-in on Kubernetes %s)", k3sVersion, kubernetesVersion)
	first := s.text("server", "")
	if first == "" {
		return errors.New("--server is required")
	}
	token, err := s.token()
	if err != nil {
		return err
	}
	if token == "" {
		return errors.New("--token is required")
	}
	bin, err := payloadDirectory(s.dataDir())
	if err != nil {
		return err
	}
	below := newProcesses(bin)
	defer below.stop()
	balanced, err := newBalancer(s, first)
	if err != nil {
		return err
	}
	var one *remote
	var config nodeConfig
	for {
		err := errors.New("no server is known")
		for _, address := range balanced.addresses() {
			if one, err = connectServer("https://"+address, token, "node", s.path("agent")); err != nil {
				continue
			}
			if config, err = one.nodeConfig(s, "https://127.0.0.1:"+s.text("lb-server-port", "6444")); err == nil {
				break
			}
		}
		if err == nil {
			break
		}
		// upstream tries for ever, too: the server may come later
		logLine("error", "Failed to validate connection to cluster at %s: %v", first, err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(2 * time.Second):
		}
	}
	balanced.update(hostsOf(config.ServerURLs))
	go func() {
		for ctx.Err() == nil {
			time.Sleep(5 * time.Second)
			for _, address := range balanced.addresses() {
				other := *one
				other.url = "https://" + address
				text, err := other.get("/v1-k3s/apiservers")
				var urls []string
				if err == nil && json.Unmarshal(text, &urls) == nil {
					balanced.update(hostsOf(urls))
					break
				}
			}
		}
	}()
	go func() {
		if err := runNode(ctx, s, below, config); err != nil && ctx.Err() == nil {
			below.ended <- err
			return
		}
		notify("READY=1\n")
	}()
	return below.untilSignal(ctx)
}

func hostsOf(urls []string) []string {
	var hosts []string
	for _, one := range urls {
		if parsed, err := url.Parse(one); err == nil {
			hosts = append(hosts, parsed.Host)
		}
	}
	return hosts
}

// runNode starts containerd, kubelet, flannel and kube-proxy; it returns when the node has registered.
func runNode(ctx context.Context, s *settings, below *processes, config nodeConfig) error {
	address, err := s.nodeIP()
	if err != nil {
		return err
	}
	node := &nodeRun{s, below, config, address}
	if err := node.containerd(ctx); err != nil {
		return err
	}
	if err := node.credentials(); err != nil {
		return err
	}
	if err := node.kubelet(); err != nil {
		return err
	}
	clientConfig, err := clientcmd.BuildConfigFromFlags("", s.path("agent", "kubelet.kubeconfig"))
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(clientConfig)
	if err != nil {
		return err
	}
	err = waitFor(ctx, "this node's range of addresses", func() error {
		found, err := client.CoreV1().Nodes().Get(contextWithin(5), s.nodeName(), meta.GetOptions{})
		if err == nil && found.Spec.PodCIDR == "" {
			err = errors.New("none yet")
		}
		return err
	})
	if err != nil {
		return err
	}
	if config.FlannelBackend != "none" {
		if err := node.flannel(ctx); err != nil {
			return err
		}
	}
	if config.KubeProxy {
		return node.proxy()
	}
	return nil
}

type nodeRun struct {
	*settings
	below   *processes
	config  nodeConfig
	address string
}

// credentials keeps the node's certificates: valid ones of this cluster's CA stay, others are asked for.
func (n *nodeRun) credentials() error {
	if err := writeFile(n.path("agent", "server-ca.crt"), n.config.serverCA, 0o644); err != nil {
		return err
	}
	if err := writeFile(n.path("agent", "client-ca.crt"), n.config.clientCA, 0o644); err != nil {
		return err
	}
	serverCA, err := readCertificate(n.path("agent", "server-ca.crt"))
	if err != nil {
		return err
	}
	clientCA, err := readCertificate(n.path("agent", "client-ca.crt"))
	if err != nil {
		return err
	}
	for kind, who := range map[string]identity{
		"client-kubelet": {name: "system:node:" + n.nodeName()}, "serving-kubelet": {name: n.nodeName(), names: []string{n.address}},
		"client-kube-proxy": {name: "system:kube-proxy"}, "client-k3s-controller": {name: "system:k3s-controller"},
	} {
		base, issuer := n.path("agent", kind), &authority{certificate: clientCA}
		if kind == "serving-kubelet" {
			issuer.certificate = serverCA
		}
		if fits(base, issuer, who) && kind != "client-kubelet" {
			continue
		}
		// the kubelet's own is asked for at every start: that is when a stranger under this node's name is refused
		request, err := requestCertificate(base)
		if err != nil {
			return err
		}
		var text []byte
		if err := waitFor(contextWithin(60), "certificate "+kind, func() (err error) {
			text, err = n.config.sign(kind, request, n.nodeName(), []string{n.address})
			return err
		}); err != nil {
			return err
		}
		if err := writeFile(base+".crt", text, 0o644); err != nil {
			return err
		}
	}
	for file, base := range map[string]string{"kubelet": "client-kubelet", "kubeproxy": "client-kube-proxy", "k3scontroller": "client-k3s-controller"} {
		if err := writeKubeconfig(n.path("agent", file+".kubeconfig"), n.config.apiURL, n.path("agent", "server-ca.crt"), n.path("agent", base), false, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (n *nodeRun) kubelet() error {
	resolv := n.text("resolv-conf", "/etc/resolv.conf")
	defaults := map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "address": "0.0.0.0", "cgroupDriver": "systemd",
		"authentication": map[string]any{"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true}, "x509": map[string]any{"clientCAFile": n.path("agent", "client-ca.crt")}},
		"authorization":  map[string]any{"mode": "Webhook"}, "clusterDNS": strings.Split(n.config.ClusterDNS, ","), "clusterDomain": n.config.ClusterDomain,
		"containerRuntimeEndpoint": "unix://" + containerdSocket, "failSwapOn": false, "healthzBindAddress": "127.0.0.1",
		"evictionHard": map[string]any{"imagefs.available": "5%", "nodefs.available": "5%"}, "protectKernelDefaults": n.flag("protect-kernel-defaults"),
		"resolvConf": resolv, "serializeImagePulls": false, "staticPodPath": n.path("agent", "pod-manifests"),
		"tlsCertFile": n.path("agent", "serving-kubelet.crt"), "tlsPrivateKeyFile": n.path("agent", "serving-kubelet.key"),
	}
	var taints []any
	for _, taint := range n.list("node-taint") {
		key, rest, _ := strings.Cut(taint, "=")
		value, effect, found := strings.Cut(rest, ":")
		if rest == "" {
			key, effect, found = strings.Cut(taint, ":")
		}
		if !found {
			return fmt.Errorf("invalid node-taint %q: wanted KEY=VALUE:EFFECT", taint)
		}
		taints = append(taints, map[string]any{"key": key, "value": value, "effect": effect})
	}
	if len(taints) > 0 {
		defaults["registerWithTaints"] = taints
	}
	text, err := yamlText(defaults)
	if err != nil {
		return err
	}
	directory := n.path("agent", "etc", "kubelet.conf.d")
	if err := writeFile(filepath.Join(directory, "00-k3s-defaults.conf"), text, 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(n.path("agent", "pod-manifests"), 0o755); err != nil {
		return err
	}
	labels := append([]string{"node.kubernetes.io/instance-type=k3s"}, n.list("node-label")...)
	arguments := []string{
		"--config-dir=" + directory, "--kubeconfig=" + n.path("agent", "kubelet.kubeconfig"), "--hostname-override=" + n.nodeName(),
		"--node-ip=" + n.address, "--node-labels=" + strings.Join(labels, ","),
	}
	return n.below.start("kubelet", append(arguments, n.arguments("kubelet-arg")...))
}

func (n *nodeRun) proxy() error {
	arguments := []string{
		"--kubeconfig=" + n.path("agent", "kubeproxy.kubeconfig"), "--cluster-cidr=" + n.config.ClusterCIDR, "--hostname-override=" + n.nodeName(),
		"--proxy-mode=iptables", "--healthz-bind-address=127.0.0.1", "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s",
		"--conntrack-tcp-timeout-close-wait=0s",
	}
	return n.below.start("kube-proxy", append(arguments, n.arguments("kube-proxy-arg")...))
}

// flannel runs flanneld, and writes the CNI configuration from the range that it was given.
func (n *nodeRun) flannel(ctx context.Context) error {
	network := n.text("flannel-conf", n.path("agent", "etc", "flannel", "net-conf.json"))
	if n.text("flannel-conf", "") == "" {
		content := jsonText(map[string]any{"Network": n.config.ClusterCIDR, "EnableIPv4": true, "EnableIPv6": false, "Backend": map[string]any{"Type": n.config.FlannelBackend}})
		if err := writeFile(network, content, 0o644); err != nil {
			return err
		}
	}
	const given = "/run/flannel/subnet.env"
	os.Remove(given)
	arguments := []string{"--kube-subnet-mgr", "--ip-masq", "--kubeconfig-file=" + n.path("agent", "k3scontroller.kubeconfig"), "--net-config-path=" + network, "--iface=" + n.text("flannel-iface", n.address)}
	if err := n.below.start("flanneld", arguments, "NODE_NAME="+n.nodeName()); err != nil {
		return err
	}
	values := map[string]string{}
	err := waitFor(ctx, "flannel", func() error {
		file, err := os.Open(given)
		if err != nil {
			return err
		}
		defer file.Close()
		for scanner := bufio.NewScanner(file); scanner.Scan(); {
			name, value, _ := strings.Cut(scanner.Text(), "=")
			values[name] = value
		}
		if values["FLANNEL_SUBNET"] == "" || values["FLANNEL_MTU"] == "" {
			return errors.New("no range yet")
		}
		return nil
	})
	if err != nil {
		return err
	}
	// flannel's address is the first one of the range; the plugin wants the range itself
	subnet := firstAddress(values["FLANNEL_SUBNET"], -1) + values["FLANNEL_SUBNET"][strings.Index(values["FLANNEL_SUBNET"], "/"):]
	list := map[string]any{
		"name": "cbr0", "cniVersion": "1.0.0",
		"plugins": []any{
			map[string]any{
				"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false, "mtu": json.Number(values["FLANNEL_MTU"]),
				"ipam": map[string]any{"type": "host-local", "ranges": []any{[]any{map[string]any{"subnet": subnet}}}, "routes": []any{map[string]any{"dst": n.config.ClusterCIDR}, map[string]any{"dst": "0.0.0.0/0"}}},
			},
			map[string]any{"type": "portmap", "capabilities": map[string]any{"portMappings": true}},
		},
	}
	return writeFile(n.path("agent", "etc", "cni", "net.d", "10-flannel.conflist"), jsonText(list), 0o644)
}

// -- containerd

const containerdSocket = "/run/k3s/containerd/containerd.sock"

func (n *nodeRun) containerd(ctx context.Context) error {
	directory := n.path("agent", "etc", "containerd")
	certs := filepath.Join(directory, "certs.d")
	auth, err := n.registries(certs)
	if err != nil {
		return err
	}
	content, err := n.containerdConfig(directory, certs, auth)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(directory, "config.toml"), content, 0o600); err != nil {
		return err
	}
	if err := writeFile(n.path("agent", "etc", "crictl.yaml"), []byte("runtime-endpoint: unix://"+containerdSocket+"\n"), 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll(n.path("agent", "containerd"), 0o711); err != nil {
		return err
	}
	if err := n.below.start("containerd", []string{"-c", filepath.Join(directory, "config.toml")}); err != nil {
		return err
	}
	ctr := func(ctx context.Context, arguments ...string) (string, error) {
		said, err := exec.CommandContext(ctx, filepath.Join(n.below.bin, "ctr"), append([]string{"-a", containerdSocket, "-n", "k8s.io"}, arguments...)...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(said)))
		}
		return string(said), err
	}
	if err := waitFor(contextWithin(60), "containerd", func() error {
		_, err := ctr(contextWithin(5), "version")
		return err
	}); err != nil {
		return err
	}
	return n.importImages(ctx, ctr)
}

// importImages imports the archives of agent/images, and again when one changed. A bad one is told, not fatal, as upstream.
func (n *nodeRun) importImages(ctx context.Context, ctr func(context.Context, ...string) (string, error)) error {
	entries, err := os.ReadDir(n.path("agent", "images"))
	if err != nil {
		return nil
	}
	record := n.path("agent", "images", ".cache.json")
	done := map[string]string{}
	if text, err := os.ReadFile(record); err == nil {
		json.Unmarshal(text, &done)
	}
	for _, entry := range entries {
		name := entry.Name()
		file, err := os.Stat(n.path("agent", "images", name))
		if err != nil || !file.Mode().IsRegular() || !strings.Contains(name, ".tar") || strings.HasPrefix(name, ".") {
			continue
		}
		mark := fmt.Sprintf("%d %d", file.Size(), file.ModTime().UnixNano())
		if done[name] == mark {
			continue
		}
		started := now()
		if _, err := ctr(ctx, "images", "import", n.path("agent", "images", name)); err != nil {
			logLine("error", "Error encountered while importing %s: %v", n.path("agent", "images", name), err)
			continue
		}
		info("Imported images from %s in %s", name, now().Sub(started).Round(time.Millisecond))
		done[name] = mark
		if err := writeFile(record, jsonText(done), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// The base configuration, which config-v3.toml.tmpl may extend by {{ template "base" . }}; drop-ins come from config-v3.toml.d.
func (n *nodeRun) containerdConfig(directory, certs, auth string) ([]byte, error) {
	base := fmt.Sprintf(`version = 3
imports = [%q]
root = %q
state = "/run/k3s/containerd"

[grpc]
  address = %q

[plugins.'io.containerd.cri.v1.images']
  snapshotter = %q
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = %q
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = %q
%s
[plugins.'io.containerd.cri.v1.runtime']
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [%q]
    conf_dir = %q
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = true
`, filepath.Join(directory, "config-v3.toml.d", "*.toml"), n.path("agent", "containerd"), containerdSocket, n.text("snapshotter", "overlayfs"),
		n.systemImage(n.text("pause-image", "docker.io/rancher/mirrored-pause:3.6")), certs, auth, n.path("data", "current", "bin"), n.path("agent", "etc", "cni", "net.d"))
	text, err := os.ReadFile(filepath.Join(directory, "config-v3.toml.tmpl"))
	if os.IsNotExist(err) {
		return []byte(base), nil
	}
	if err != nil {
		return nil, err
	}
	return []byte(strings.ReplaceAll(string(text), `{{ template "base" . }}`, base)), nil
}

// registries turns registries.yaml into containerd's hosts.toml files; returns the part of config.toml that holds logins.
func (n *nodeRun) registries(certs string) (string, error) {
	file := n.text("private-registry", "/etc/rancher/k3s/registries.yaml")
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return "", os.RemoveAll(certs)
	}
	if err != nil {
		return "", err
	}
	type tlsConfig struct {
		CAFile             string `json:"ca_file"`
		CertFile           string `json:"cert_file"`
		KeyFile            string `json:"key_file"`
		InsecureSkipVerify bool   `json:"insecure_skip_verify"`
	}
	var wanted struct {
		Mirrors map[string]struct {
			Endpoints []string          `json:"endpoint"`
			Rewrites  map[string]string `json:"rewrite"`
		} `json:"mirrors"`
		Configs map[string]struct {
			Auth map[string]string `json:"auth"`
			TLS  *tlsConfig        `json:"tls"`
		} `json:"configs"`
	}
	if err := strictYAML(text, &wanted); err != nil {
		return "", fmt.Errorf("failed to parse %s: %w", file, err)
	}
	if err := os.RemoveAll(certs); err != nil {
		return "", err
	}
	for registry, mirror := range wanted.Mirrors {
		directory := registry
		if registry == "*" {
			directory = "_default"
		}
		content := ""
		if registry != "*" {
			upstream := registry
			if registry == "docker.io" {
				upstream = "registry-1.docker.io"
			}
			content = fmt.Sprintf("server = \"https://%s/v2\"\n", upstream)
		}
		for _, endpoint := range mirror.Endpoints {
			parsed, err := url.Parse(endpoint)
			if err != nil || parsed.Host == "" {
				return "", fmt.Errorf("%s: invalid endpoint %q of %s", file, endpoint, registry)
			}
			content += fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", strings.TrimRight(endpoint, "/")+"/v2")
			if secure := wanted.Configs[parsed.Host].TLS; secure != nil {
				if secure.InsecureSkipVerify {
					content += "  skip_verify = true\n"
				}
				if secure.CAFile != "" {
					content += fmt.Sprintf("  ca = [%q]\n", secure.CAFile)
				}
				if secure.CertFile != "" {
					content += fmt.Sprintf("  client = [[%q, %q]]\n", secure.CertFile, secure.KeyFile)
				}
			}
		}
		if err := writeFile(filepath.Join(certs, directory, "hosts.toml"), []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	var logins []string
	for host, config := range wanted.Configs {
		if len(config.Auth) == 0 {
			continue
		}
		login := fmt.Sprintf("  [plugins.'io.containerd.cri.v1.images'.registry.configs.%q.auth]\n", host)
		for _, key := range []string{"username", "password", "auth", "identity_token"} {
			if value := config.Auth[key]; value != "" {
				login += fmt.Sprintf("    %s = %q\n", strings.ReplaceAll(key, "_", ""), value)
			}
		}
		logins = append(logins, login)
	}
	sort.Strings(logins)
	return strings.Join(logins, ""), nil
}

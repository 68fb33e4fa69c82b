// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// apiserverPort is the API server's own, on loopback alone: clients come through the supervisor's.
func (s *settings) apiserverPort() int { return s.port() + 1 }

// server is one run of `k3s server`.
type server struct {
	*settings
	nodeAddress    string
	serverPassword string
	agentPassword  string
	serverCA       *authority
	clientCA       *authority
	headerCA       *authority
	etcdCA         *authority
	peerCA         *authority
	store          *datastore
	below          *processes
	client         kubernetes.Interface
}

// bootstrapFiles are what makes a server one of this cluster, relative to the directory "server".
var bootstrapFiles = []string{
	"tls/server-ca.crt", "tls/server-ca.key", "tls/client-ca.crt", "tls/client-ca.key",
	"tls/request-header-ca.crt", "tls/request-header-ca.key", "tls/etcd/server-ca.crt", "tls/etcd/server-ca.key",
	"tls/etcd/peer-ca.crt", "tls/etcd/peer-ca.key", "tls/service.key", "cred/encryption-config.json",
}

func runServer(s *settings) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	info("Starting k3s %s (stand-in on Kubernetes %s)", k3sVersion, kubernetesVersion)
	address, err := s.nodeIP()
	if err != nil {
		return err
	}
	one := &server{settings: s, nodeAddress: address}
	if one.serverPassword, one.agentPassword, err = serverPasswords(s); err != nil {
		return err
	}
	if err := os.MkdirAll(s.path("server", "tls", "etcd"), 0o700); err != nil {
		return err
	}
	bin, err := payloadDirectory(s.dataDir())
	if err != nil {
		return err
	}
	one.below = newProcesses(bin)
	defer one.below.stop()
	if s.flag("cluster-reset") {
		return one.clusterReset()
	}
	os.Remove(s.path("server", "db", "reset-flag"))
	// a port that somebody else holds is found before anything is started
	listener, err := net.Listen("tcp", net.JoinHostPort(s.text("bind-address", ""), strconv.Itoa(s.port())))
	if err != nil {
		return fmt.Errorf("starting kubernetes: preparing server: init cluster datastore and https: %w", err)
	}
	defer listener.Close()
	if err := one.bootstrap(ctx); err != nil {
		return fmt.Errorf("starting kubernetes: preparing server: %w", err)
	}
	if err := one.credentials(); err != nil {
		return err
	}
	if err := one.store.start(ctx, one); err != nil {
		return fmt.Errorf("starting kubernetes: preparing server: %w", err)
	}
	if err := one.store.shareBootstrap(ctx, one); err != nil {
		return fmt.Errorf("starting kubernetes: preparing server: %w", err)
	}
	if err := one.controlPlane(); err != nil {
		return err
	}
	if err := one.serve(ctx, listener); err != nil {
		return err
	}
	if err := waitFor(ctx, "the API server", one.ready); err != nil {
		return err
	}
	one.startControllers(ctx)
	if !s.flag("disable-agent") {
		if err := one.startNode(ctx); err != nil {
			return err
		}
	}
	info("k3s is up and running")
	notify("READY=1\n")
	return one.below.untilSignal(ctx)
}

// startNode makes this server a node too, and returns when the API has it with its roles.
func (s *server) startNode(ctx context.Context) error {
	go func() {
		if err := runNode(ctx, s.settings, s.below, s.nodeConfig(ctx)); err != nil && ctx.Err() == nil {
			s.below.ended <- err
		}
	}()
	if err := waitFor(ctx, "this node", s.ownNode); err != nil {
		select {
		case below := <-s.below.ended:
			return below
		default:
			return err
		}
	}
	return nil
}

// bootstrap gets the cluster's keys: its own, those of the server that is joined, those in a shared datastore, or new ones.
func (s *server) bootstrap(ctx context.Context) error {
	s.store = newDatastore(s.settings, s.nodeAddress)
	if err := s.store.check(); err != nil {
		return err
	}
	if s.store.database() {
		if err := s.store.startKine(ctx, s.below); err != nil {
			return err
		}
	}
	if s.text("server", "") != "" && !exists(s.path("server", "tls", "server-ca.key")) {
		configured, err := s.token()
		if err != nil {
			return err
		}
		remote, err := connectServer(s.text("server", ""), configured, "server", s.path("agent"))
		if err != nil {
			return err
		}
		files, err := remote.serverBootstrap()
		if err != nil {
			return fmt.Errorf("failed to validate token: %w", err)
		}
		if err := s.writeBootstrap(files); err != nil {
			return err
		}
	}
	if s.store.kind == externalStore && !exists(s.path("server", "tls", "server-ca.key")) {
		files, err := s.store.readBootstrap(ctx, s.serverPassword)
		if err != nil {
			return err
		}
		if err := s.writeBootstrap(files); err != nil {
			return err
		}
	}
	return s.authorities()
}

func (s *server) writeBootstrap(files map[string]string) error {
	for name, content := range files {
		if !contains(bootstrapFiles, name) {
			return fmt.Errorf("unexpected bootstrap file %s", name)
		}
		text, err := base64.StdEncoding.DecodeString(content)
		if err != nil {
			return err
		}
		mode := os.FileMode(0o600)
		if filepath.Ext(name) == ".crt" {
			mode = 0o644
		}
		if err := writeFile(s.path("server", name), text, mode); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) bootstrapData() (map[string]string, error) {
	files := map[string]string{}
	for _, name := range bootstrapFiles {
		text, err := os.ReadFile(s.path("server", name))
		if os.IsNotExist(err) && name == "cred/encryption-config.json" {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[name] = base64.StdEncoding.EncodeToString(text)
	}
	return files, nil
}

func (s *server) authorities() error {
	for _, one := range []struct {
		target **authority
		file   string
		name   string
	}{
		{&s.serverCA, "server-ca", "server-ca"}, {&s.clientCA, "client-ca", "client-ca"},
		{&s.headerCA, "request-header-ca", "request-header-ca"},
		{&s.etcdCA, "etcd/server-ca", "etcd-server-ca"}, {&s.peerCA, "etcd/peer-ca", "etcd-peer-ca"},
	} {
		made, err := newAuthority(s.path("server", "tls", one.file), one.name)
		if err != nil {
			return err
		}
		*one.target = made
	}
	if !exists(s.path("server", "tls", "service.key")) {
		_, text, err := newKey()
		if err != nil {
			return err
		}
		if err := writeFile(s.path("server", "tls", "service.key"), text, 0o600); err != nil {
			return err
		}
	}
	if err := s.encryptionConfig(); err != nil {
		return err
	}
	ca, err := os.ReadFile(s.path("server", "tls", "server-ca.crt"))
	if err != nil {
		return err
	}
	return writeTokens(s.settings, s.serverPassword, s.agentPassword, ca)
}

// servingNames are those that the certificate of port 6443 carries.
func (s *server) servingNames() []string {
	host, _ := os.Hostname()
	service := firstAddress(s.text("service-cidr", "10.43.0.0/16"), 1)
	domain := s.text("cluster-domain", "cluster.local")
	names := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + domain, "localhost",
		host, s.nodeName(), "127.0.0.1", "::1", s.nodeAddress, service,
	}
	names = append(names, s.list("node-external-ip")...)
	if address := s.text("advertise-address", ""); address != "" {
		names = append(names, address)
	}
	var unique []string
	for _, name := range append(names, s.list("tls-san")...) {
		if name != "" && !contains(unique, name) {
			unique = append(unique, name)
		}
	}
	return unique
}

func (s *server) credentials() error {
	tls := func(name string) string { return s.path("server", "tls", name) }
	masters := []string{"system:masters"}
	clients := []struct {
		file string
		who  identity
	}{
		{"client-admin", identity{name: "system:admin", groups: masters, client: true}},
		{"client-controller", identity{name: "system:kube-controller-manager", client: true}},
		{"client-scheduler", identity{name: "system:kube-scheduler", client: true}},
		{"client-kube-apiserver", identity{name: "system:apiserver", groups: masters, client: true}},
		{"client-supervisor", identity{name: "system:k3s-supervisor", groups: masters, client: true}},
	}
	for _, one := range clients {
		if err := s.clientCA.issue(tls(one.file), one.who); err != nil {
			return err
		}
	}
	if err := s.headerCA.issue(tls("client-auth-proxy"), identity{name: "system:auth-proxy", client: true}); err != nil {
		return err
	}
	names := s.servingNames()
	if err := s.serverCA.issue(tls("serving-kube-apiserver"), identity{name: "kube-apiserver", names: names, server: true}); err != nil {
		return err
	}
	etcdNames := []string{"localhost", "127.0.0.1", s.nodeAddress, s.nodeName()}
	if err := s.etcdCA.issue(tls("etcd/server-client"), identity{name: "etcd-server", names: etcdNames, server: true, client: true}); err != nil {
		return err
	}
	if err := s.etcdCA.issue(tls("etcd/client"), identity{name: "etcd-client", client: true}); err != nil {
		return err
	}
	if err := s.peerCA.issue(tls("etcd/peer-server-client"), identity{name: "etcd-peer", names: etcdNames, server: true, client: true}); err != nil {
		return err
	}
	local := fmt.Sprintf("https://127.0.0.1:%d", s.apiserverPort())
	for file, certificate := range map[string]string{
		"admin": "client-admin", "controller": "client-controller", "scheduler": "client-scheduler", "supervisor": "client-supervisor",
	} {
		if err := writeKubeconfig(s.path("server", "cred", file+".kubeconfig"), local, tls("server-ca.crt"), tls(certificate), false, 0o600); err != nil {
			return err
		}
	}
	return s.adminKubeconfig()
}

func (s *server) adminKubeconfig() error {
	mode, err := strconv.ParseUint(s.text("write-kubeconfig-mode", "600"), 8, 32)
	if err != nil {
		return fmt.Errorf("invalid write-kubeconfig-mode: %w", err)
	}
	path := s.text("write-kubeconfig", "/etc/rancher/k3s/k3s.yaml")
	tls := func(name string) string { return s.path("server", "tls", name) }
	address := fmt.Sprintf("https://127.0.0.1:%d", s.port())
	if err := writeKubeconfig(path, address, tls("server-ca.crt"), tls("client-admin"), true, os.FileMode(mode)); err != nil {
		return err
	}
	if name := s.text("write-kubeconfig-group", ""); name != "" {
		group, err := user.LookupGroup(name)
		if err != nil {
			return err
		}
		number, _ := strconv.Atoi(group.Gid)
		return os.Chown(path, 0, number)
	}
	return nil
}

// writeKubeconfig writes one cluster, one user and one context, all called default.
func writeKubeconfig(path, address, caFile, clientBase string, embedded bool, mode os.FileMode) error {
	cluster := map[string]any{"server": address}
	user := map[string]any{}
	if embedded {
		for key, file := range map[string]string{"certificate-authority-data": caFile, "client-certificate-data": clientBase + ".crt", "client-key-data": clientBase + ".key"} {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if key == "certificate-authority-data" {
				cluster[key] = base64.StdEncoding.EncodeToString(text)
			} else {
				user[key] = base64.StdEncoding.EncodeToString(text)
			}
		}
	} else {
		cluster["certificate-authority"] = caFile
		user["client-certificate"], user["client-key"] = clientBase+".crt", clientBase+".key"
	}
	content, err := yamlText(map[string]any{
		"apiVersion": "v1", "kind": "Config", "preferences": map[string]any{}, "current-context": "default",
		"clusters": []any{map[string]any{"name": "default", "cluster": cluster}},
		"users":    []any{map[string]any{"name": "default", "user": user}},
		"contexts": []any{map[string]any{"name": "default", "context": map[string]any{"cluster": "default", "user": "default"}}},
	})
	if err != nil {
		return err
	}
	return writeFile(path, content, mode)
}

// encryptionConfig makes the key for Secrets once, when encryption is asked for.
func (s *server) encryptionConfig() error {
	path := s.path("server", "cred", "encryption-config.json")
	if !s.flag("secrets-encryption") || exists(path) {
		return nil
	}
	provider := s.text("secrets-encryption-provider", "aescbc")
	if provider != "aescbc" && provider != "secretbox" {
		return fmt.Errorf("unsupported secrets-encryption-provider %s", provider)
	}
	return writeEncryption(path, provider, []string{"key-" + randomHex(4)}, []string{randomKey()})
}

func (s *server) controlPlane() error {
	tls := func(name string) string { return s.path("server", "tls", name) }
	cred := func(name string) string { return s.path("server", "cred", name) }
	address := s.text("advertise-address", s.nodeAddress)
	service := s.text("service-cidr", "10.43.0.0/16")
	domain := s.text("cluster-domain", "cluster.local")
	api := []string{
		"--advertise-address=" + address, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", s.apiserverPort()),
		"--endpoint-reconciler-type=none", "--allow-privileged=true", "--anonymous-auth=false", "--profiling=false",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--enable-bootstrap-token-auth=true",
		"--api-audiences=https://kubernetes.default.svc." + domain + ",k3s", "--service-account-issuer=https://kubernetes.default.svc." + domain,
		"--service-account-key-file=" + tls("service.key"), "--service-account-signing-key-file=" + tls("service.key"),
		"--client-ca-file=" + tls("client-ca.crt"), "--tls-cert-file=" + tls("serving-kube-apiserver.crt"), "--tls-private-key-file=" + tls("serving-kube-apiserver.key"),
		"--kubelet-certificate-authority=" + tls("server-ca.crt"), "--kubelet-client-certificate=" + tls("client-kube-apiserver.crt"),
		"--kubelet-client-key=" + tls("client-kube-apiserver.key"), "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"--requestheader-client-ca-file=" + tls("request-header-ca.crt"), "--requestheader-allowed-names=system:auth-proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + tls("client-auth-proxy.crt"), "--proxy-client-key-file=" + tls("client-auth-proxy.key"),
		"--service-cluster-ip-range=" + service, "--service-node-port-range=" + s.text("service-node-port-range", "30000-32767"),
		"--storage-backend=etcd3",
	}
	api = append(api, s.store.apiserverArguments()...)
	if exists(cred("encryption-config.json")) {
		api = append(api, "--encryption-provider-config="+cred("encryption-config.json"), "--encryption-provider-config-automatic-reload=true")
	}
	if err := s.below.start("kube-apiserver", append(api, s.arguments("kube-apiserver-arg")...)); err != nil {
		return err
	}
	elect := "--leader-elect=" + strconv.FormatBool(s.store.kind != sqliteStore)
	manager := []string{
		"--kubeconfig=" + cred("controller.kubeconfig"), "--authentication-kubeconfig=" + cred("controller.kubeconfig"),
		"--authorization-kubeconfig=" + cred("controller.kubeconfig"), "--bind-address=127.0.0.1", "--profiling=false", elect,
		"--allocate-node-cidrs=true", "--cluster-cidr=" + s.text("cluster-cidr", "10.42.0.0/16"), "--use-service-account-credentials=true",
		"--service-account-private-key-file=" + tls("service.key"), "--root-ca-file=" + tls("server-ca.crt"),
		"--controllers=*,tokencleaner",
	}
	for _, kind := range []string{"kube-apiserver-client", "kubelet-client", "legacy-unknown"} {
		manager = append(manager, "--cluster-signing-"+kind+"-cert-file="+tls("client-ca.crt"), "--cluster-signing-"+kind+"-key-file="+tls("client-ca.key"))
	}
	manager = append(manager, "--cluster-signing-kubelet-serving-cert-file="+tls("server-ca.crt"), "--cluster-signing-kubelet-serving-key-file="+tls("server-ca.key"))
	manager = append(manager, s.arguments("kube-controller-manager-arg")...)
	scheduler := append([]string{
		"--kubeconfig=" + cred("scheduler.kubeconfig"), "--authentication-kubeconfig=" + cred("scheduler.kubeconfig"),
		"--authorization-kubeconfig=" + cred("scheduler.kubeconfig"), "--bind-address=127.0.0.1", "--profiling=false", elect,
	}, s.arguments("kube-scheduler-arg")...)
	config, err := clientcmd.BuildConfigFromFlags("", cred("supervisor.kubeconfig"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 50, 100
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if err := waitFor(contextWithin(120), "the API server", s.ready); err != nil {
		return err
	}
	if err := s.below.start("kube-controller-manager", manager); err != nil {
		return err
	}
	if s.flag("disable-scheduler") {
		return nil
	}
	return s.below.start("kube-scheduler", scheduler)
}

func (s *server) ready() error {
	select {
	case err := <-s.below.ended:
		// it is told again to the one that waits for the end
		s.below.ended <- err
		return err
	default:
	}
	answer, err := s.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(contextWithin(3))
	if err != nil {
		return err
	}
	if string(answer) != "ok" {
		return errors.New(string(answer))
	}
	return nil
}

func jsonText(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		fatal("%v", err)
	}
	return text
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// firstAddress is the address number `offset` of a network.
func firstAddress(network string, offset int) string {
	ip, _, err := net.ParseCIDR(network)
	if err != nil || ip.To4() == nil {
		return ""
	}
	four := ip.To4()
	number := uint32(four[0])<<24 | uint32(four[1])<<16 | uint32(four[2])<<8 | uint32(four[3])
	number += uint32(offset)
	return net.IPv4(byte(number>>24), byte(number>>16), byte(number>>8), byte(number)).String()
}

// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodeConfig is what a node needs to know of its cluster.
type nodeConfig struct {
	ServerURLs     []string
	ClusterCIDR    string
	ServiceCIDR    string
	ClusterDNS     string
	ClusterDomain  string
	FlannelBackend string
	KubeProxy      bool
	// how certificates are signed: by the server itself, or by asking it
	sign func(kind string, request []byte, name string, addresses []string) ([]byte, error)
	// where the node's programs reach the API, the cluster's CAs
	apiURL   string
	serverCA []byte
	clientCA []byte
}

// serve answers on port 6443: join and bootstrap requests itself, everything else by the API server.
func (s *server) serve(ctx context.Context, listener net.Listener) error {
	certificate := func(base string) (tls.Certificate, error) {
		return tls.LoadX509KeyPair(s.path("server", "tls", base+".crt"), s.path("server", "tls", base+".key"))
	}
	serving, err := certificate("serving-kube-apiserver")
	if err != nil {
		return err
	}
	front, err := certificate("client-auth-proxy")
	if err != nil {
		return err
	}
	clients, servers := x509.NewCertPool(), x509.NewCertPool()
	clients.AddCert(s.clientCA.certificate)
	servers.AddCert(s.serverCA.certificate)
	proxy := func(certificates ...tls.Certificate) *httputil.ReverseProxy {
		target := &url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.0.1:%d", s.apiserverPort())}
		one := httputil.NewSingleHostReverseProxy(target)
		one.FlushInterval = -1
		one.Transport = &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: servers, Certificates: certificates}, MaxIdleConnsPerHost: 50, IdleConnTimeout: 90 * time.Second,
		}
		one.ErrorLog = nil
		return one
	}
	known, unknown := proxy(front), proxy()
	mux := http.NewServeMux()
	s.routes(mux)
	mux.HandleFunc("/", func(out http.ResponseWriter, in *http.Request) {
		for name := range in.Header {
			if strings.HasPrefix(strings.ToLower(name), "x-remote-") {
				in.Header.Del(name)
			}
		}
		if in.TLS != nil && len(in.TLS.VerifiedChains) > 0 {
			subject := in.TLS.VerifiedChains[0][0].Subject
			in.Header.Set("X-Remote-User", subject.CommonName)
			for _, group := range subject.Organization {
				in.Header.Add("X-Remote-Group", group)
			}
			known.ServeHTTP(out, in)
			return
		}
		unknown.ServeHTTP(out, in)
	})
	web := &http.Server{
		Handler: mux, ErrorLog: quietLog, ReadHeaderTimeout: 30 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{serving}, ClientCAs: clients, ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS12},
	}
	go func() {
		if err := web.ServeTLS(listener, "", ""); err != nil && ctx.Err() == nil {
			s.below.ended <- err
		}
	}()
	return nil
}

func (s *server) routes(mux *http.ServeMux) {
	file := func(name string) http.HandlerFunc {
		return func(out http.ResponseWriter, _ *http.Request) {
			text, err := os.ReadFile(s.path("server", "tls", name))
			if err != nil {
				http.Error(out, err.Error(), http.StatusInternalServerError)
				return
			}
			out.Write(text)
		}
	}
	mux.HandleFunc("GET /cacerts", file("server-ca.crt"))
	mux.HandleFunc("GET /ping", func(out http.ResponseWriter, _ *http.Request) { io.WriteString(out, "pong") })
	guarded := func(pattern, user string, handle func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(out http.ResponseWriter, in *http.Request) {
			if !s.authorized(in, user) {
				http.Error(out, "not authorized", http.StatusUnauthorized)
				return
			}
			if err := handle(out, in); err != nil {
				status := http.StatusInternalServerError
				if errors.Is(err, errNodePassword) {
					status = http.StatusForbidden
				}
				http.Error(out, err.Error(), status)
			}
		})
	}
	guarded("GET /v1-k3s/readyz", "node", func(out http.ResponseWriter, _ *http.Request) error {
		if err := s.ready(); err != nil {
			return err
		}
		_, err := io.WriteString(out, "ok")
		return err
	})
	guarded("GET /v1-k3s/config", "node", func(out http.ResponseWriter, in *http.Request) error {
		_, err := out.Write(jsonText(s.nodeConfig(in.Context())))
		return err
	})
	guarded("GET /v1-k3s/apiservers", "node", func(out http.ResponseWriter, in *http.Request) error {
		_, err := out.Write(jsonText(s.serverURLs(in.Context())))
		return err
	})
	guarded("GET /v1-k3s/client-ca.crt", "node", func(out http.ResponseWriter, in *http.Request) error {
		file("client-ca.crt")(out, in)
		return nil
	})
	for _, kind := range []string{"client-kubelet", "serving-kubelet", "client-kube-proxy", "client-k3s-controller"} {
		guarded("POST /v1-k3s/"+kind+".crt", "node", func(out http.ResponseWriter, in *http.Request) error {
			request, err := io.ReadAll(io.LimitReader(in.Body, 1<<20))
			if err != nil {
				return err
			}
			name := in.Header.Get("K3s-Node-Name")
			if err := s.nodePassword(in.Context(), name, in.Header.Get("K3s-Node-Password")); err != nil {
				return err
			}
			text, err := s.signNode(kind, request, name, strings.Split(in.Header.Get("K3s-Node-IP"), ","))
			if err != nil {
				return err
			}
			_, err = out.Write(text)
			return err
		})
	}
	guarded("GET /v1-k3s/server-bootstrap", "server", func(out http.ResponseWriter, _ *http.Request) error {
		files, err := s.bootstrapData()
		if err != nil {
			return err
		}
		_, err = out.Write(jsonText(files))
		return err
	})
	guarded("GET /db/info", "server", func(out http.ResponseWriter, in *http.Request) error {
		members, err := s.store.members(in.Context())
		if err != nil {
			return err
		}
		_, err = out.Write(jsonText(members))
		return err
	})
}

// authorized says whether the request carries the password of `user`; servers may do what nodes may.
func (s *server) authorized(in *http.Request, user string) bool {
	name, password, given := in.BasicAuth()
	if !given {
		return false
	}
	same := func(wanted string) bool {
		return wanted != "" && subtle.ConstantTimeCompare([]byte(password), []byte(wanted)) == 1
	}
	if name == "server" {
		return same(s.serverPassword)
	}
	return user == "node" && name == "node" && (same(s.agentPassword) || same(s.serverPassword))
}

var errNodePassword = errors.New("node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server node-passwd entry, try enabling a unique node name with the --with-node-id flag")

// nodePassword holds a node's name for the host that had it first: another one is refused until the node was deleted.
func (s *server) nodePassword(ctx context.Context, node, password string) error {
	if node == "" || password == "" {
		return errors.New("node name and password are required")
	}
	sum := sha256.Sum256([]byte(password))
	hash := []byte(hex.EncodeToString(sum[:]))
	secrets := s.client.CoreV1().Secrets("kube-system")
	name := node + ".node-password.k3s"
	found, err := secrets.Get(ctx, name, meta.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = secrets.Create(ctx, &core.Secret{ObjectMeta: meta.ObjectMeta{Name: name}, Data: map[string][]byte{"hash": hash}}, meta.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(found.Data["hash"], hash) != 1 {
		return fmt.Errorf("%w (node %s)", errNodePassword, node)
	}
	return nil
}

func (s *server) signNode(kind string, text []byte, node string, addresses []string) ([]byte, error) {
	request, err := parseRequest(text)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, address := range addresses {
		if address != "" {
			names = append(names, address)
		}
	}
	switch kind {
	case "client-kubelet":
		return s.clientCA.sign(identity{name: "system:node:" + node, groups: []string{"system:nodes"}, client: true}, request.PublicKey)
	case "serving-kubelet":
		return s.serverCA.sign(identity{name: node, names: append(names, node, "127.0.0.1", "localhost"), server: true}, request.PublicKey)
	case "client-kube-proxy":
		return s.clientCA.sign(identity{name: "system:kube-proxy", client: true}, request.PublicKey)
	case "client-k3s-controller":
		return s.clientCA.sign(identity{name: "system:k3s-controller", client: true}, request.PublicKey)
	}
	return nil, fmt.Errorf("unknown certificate %s", kind)
}

func (s *server) nodeConfig(ctx context.Context) nodeConfig {
	service := s.text("service-cidr", "10.43.0.0/16")
	server, _ := os.ReadFile(s.path("server", "tls", "server-ca.crt"))
	client, _ := os.ReadFile(s.path("server", "tls", "client-ca.crt"))
	return nodeConfig{
		ServerURLs: s.serverURLs(ctx), ClusterCIDR: s.text("cluster-cidr", "10.42.0.0/16"), ServiceCIDR: service,
		ClusterDNS: s.text("cluster-dns", firstAddress(service, 10)), ClusterDomain: s.text("cluster-domain", "cluster.local"),
		FlannelBackend: s.text("flannel-backend", "vxlan"), KubeProxy: !s.flag("disable-kube-proxy"),
		apiURL: fmt.Sprintf("https://127.0.0.1:%d", s.port()), serverCA: server, clientCA: client,
		sign: func(kind string, request []byte, name string, addresses []string) ([]byte, error) {
			password, err := nodePasswordOf(s.settings)
			if err != nil {
				return nil, err
			}
			if err := s.nodePassword(ctx, name, password); err != nil {
				return nil, err
			}
			return s.signNode(kind, request, name, addresses)
		},
	}
}

// serverURLs are the addresses of all servers: those of the Service kubernetes, or this one where there is none yet.
func (s *server) serverURLs(ctx context.Context) []string {
	own := []string{fmt.Sprintf("https://%s:%d", s.text("advertise-address", s.nodeAddress), s.port())}
	if s.client == nil {
		return own
	}
	addresses := s.serverAddresses(ctx)
	if len(addresses) == 0 {
		return own
	}
	var all []string
	for _, address := range addresses {
		all = append(all, fmt.Sprintf("https://%s:%d", address, s.port()))
	}
	return all
}

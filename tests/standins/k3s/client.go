// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

var quietLog = log.New(io.Discard, "", 0)

// remote is a server of the cluster, its CA verified by the token where that names it.
type remote struct {
	url   string
	token joinToken
	user  string
	ca    []byte
	http  *http.Client
}

func contextWithin(seconds int) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second)
	time.AfterFunc(time.Duration(seconds)*time.Second+time.Second, cancel)
	return ctx
}

// connectServer fetches the cluster's CA and checks it against the token.
func connectServer(address, token, user, agentDir string) (*remote, error) {
	if token == "" {
		return nil, errors.New("--token is required")
	}
	parsed, err := parseToken(token)
	if err != nil {
		return nil, err
	}
	if parsed.user == "" {
		parsed.user = user
	}
	if _, err := url.Parse(address); err != nil || !strings.HasPrefix(address, "https://") {
		return nil, fmt.Errorf("only https:// URLs are supported, invalid scheme: %s", address)
	}
	one := &remote{url: strings.TrimRight(address, "/"), token: parsed, user: user}
	blind := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	answer, err := blind.Get(one.url + "/cacerts")
	if err != nil {
		return nil, fmt.Errorf("failed to get CA certs: %w", err)
	}
	defer answer.Body.Close()
	if one.ca, err = io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("failed to get CA certs: %s", answer.Status)
	}
	if parsed.caHash != "" && parsed.caHash != caHash(one.ca) {
		return nil, fmt.Errorf("token CA hash does not match the Cluster CA certificate hash: %s != %s", parsed.caHash, caHash(one.ca))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(one.ca) {
		return nil, errors.New("failed to get CA certs: no certificate in the answer")
	}
	one.http = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	return one, nil
}

func (r *remote) do(method, path string, body []byte, header http.Header) ([]byte, error) {
	request, err := http.NewRequest(method, r.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	user := r.user
	if r.token.user == "server" {
		user = "server"
	}
	request.SetBasicAuth(user, r.token.password)
	answer, err := r.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", path, answer.Status, strings.TrimSpace(string(text)))
	}
	return text, nil
}

func (r *remote) get(path string) ([]byte, error) { return r.do(http.MethodGet, path, nil, nil) }

func (r *remote) serverBootstrap() (map[string]string, error) {
	text, err := r.get("/v1-k3s/server-bootstrap")
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	return files, json.Unmarshal(text, &files)
}

// nodeConfig asks for what a node needs; certificates are signed by asking the same server.
func (r *remote) nodeConfig(s *settings, apiURL string) (nodeConfig, error) {
	text, err := r.get("/v1-k3s/config")
	if err != nil {
		return nodeConfig{}, err
	}
	var found nodeConfig
	if err := json.Unmarshal(text, &found); err != nil {
		return nodeConfig{}, err
	}
	if found.clientCA, err = r.get("/v1-k3s/client-ca.crt"); err != nil {
		return nodeConfig{}, err
	}
	found.serverCA, found.apiURL = r.ca, apiURL
	found.sign = func(kind string, request []byte, name string, addresses []string) ([]byte, error) {
		password, err := nodePasswordOf(s)
		if err != nil {
			return nil, err
		}
		header := http.Header{"K3s-Node-Name": {name}, "K3s-Node-Password": {password}, "K3s-Node-Ip": {strings.Join(addresses, ",")}}
		return r.do(http.MethodPost, "/v1-k3s/"+kind+".crt", request, header)
	}
	return found, nil
}

// nodePasswordOf is what this host holds its node's name with; it outlives an uninstallation of the data directory.
func nodePasswordOf(*settings) (string, error) {
	const file = "/etc/rancher/node/password"
	if text, err := os.ReadFile(file); err == nil && len(bytes.TrimSpace(text)) > 0 {
		return string(bytes.TrimSpace(text)), nil
	}
	password := randomHex(16)
	return password, writeFile(file, []byte(password), 0o600)
}

// balancer lets an agent reach the API by any server that answers, on a port of its own on loopback.
type balancer struct {
	mutex   sync.Mutex
	servers []string
	file    string
}

func newBalancer(s *settings, first string) (*balancer, error) {
	one := &balancer{file: s.path("agent", "etc", "k3s-agent-load-balancer.json")}
	host, err := url.Parse(first)
	if err != nil {
		return nil, err
	}
	one.servers = []string{host.Host}
	if text, err := os.ReadFile(one.file); err == nil {
		var saved struct{ ServerAddresses []string }
		if json.Unmarshal(text, &saved) == nil {
			one.update(saved.ServerAddresses)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+s.text("lb-server-port", "6444"))
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go one.forward(connection)
		}
	}()
	return one, nil
}

func (b *balancer) addresses() []string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return append([]string(nil), b.servers...)
}

// update takes the servers that the cluster has now; the one that was configured stays in the list.
func (b *balancer) update(hosts []string) {
	if len(hosts) == 0 {
		return
	}
	b.mutex.Lock()
	first := b.servers[0]
	servers := []string{first}
	for _, host := range hosts {
		if !contains(servers, host) {
			servers = append(servers, host)
		}
	}
	changed := strings.Join(servers, ",") != strings.Join(b.servers, ",")
	b.servers = servers
	b.mutex.Unlock()
	if changed {
		info("Updated load balancer k3s-agent-load-balancer server addresses -> %v", servers)
		os.MkdirAll(filepath.Dir(b.file), 0o755)
		if err := writeFile(b.file, jsonText(map[string]any{"ServerAddresses": servers}), 0o600); err != nil {
			warning("%v", err)
		}
	}
}

func (b *balancer) forward(connection net.Conn) {
	defer connection.Close()
	for _, address := range b.addresses() {
		other, err := net.DialTimeout("tcp", address, 2*time.Second)
		if err != nil {
			continue
		}
		defer other.Close()
		done := make(chan struct{}, 2)
		go func() { io.Copy(other, connection); done <- struct{}{} }()
		go func() { io.Copy(connection, other); done <- struct{}{} }()
		<-done
		return
	}
}

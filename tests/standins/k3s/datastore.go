// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Where the objects are kept. What upstream keeps in SQLite is here an etcd of this server alone, on loopback; external are
// etcd and the databases that kine knows.
const (
	sqliteStore   = "sqlite"
	etcdStore     = "etcd"
	externalStore = "external"
)

type datastore struct {
	*settings
	kind    string
	address string
	client  *clientv3.Client
}

// member is a member of etcd as a joining server is told of it.
type member struct {
	ID       uint64
	Name     string
	PeerURLs []string
	Learner  bool
}

func newDatastore(s *settings, address string) *datastore {
	kind := sqliteStore
	switch {
	case s.text("datastore-endpoint", "") != "":
		kind = externalStore
	case s.flag("cluster-init") || s.text("server", "") != "" || exists(s.path("server", "db", "etcd", "member")):
		kind = etcdStore
	}
	return &datastore{settings: s, kind: kind, address: address}
}

func (d *datastore) check() error {
	if d.kind != externalStore {
		return nil
	}
	if d.database() {
		return nil
	}
	for _, endpoint := range d.endpoints() {
		if !strings.HasPrefix(endpoint, "http://") && !strings.HasPrefix(endpoint, "https://") {
			return fmt.Errorf("the stand-in knows etcd, PostgreSQL and MySQL as an external datastore, not %q", scheme(endpoint))
		}
	}
	return nil
}

func scheme(endpoint string) string {
	before, _, _ := strings.Cut(endpoint, "://")
	return before
}

// database says whether the objects are in a database, which kine gives etcd's interface, as in K3s.
func (d *datastore) database() bool {
	return d.kind == externalStore && contains([]string{"postgres", "postgresql", "mysql"}, scheme(d.text("datastore-endpoint", "")))
}

// endpoints are those of etcd outside, or of the kine that stands before a database.
func (d *datastore) endpoints() []string {
	if d.database() {
		return []string{"unix://" + d.path("server", "kine.sock")}
	}
	return strings.Split(d.text("datastore-endpoint", ""), ",")
}

// startKine starts kine and waits until it answers. It tries for five minutes to reach its database, says each time why it
// cannot, and ends; so does this program then. The address holds a password: it is no argument, which everybody can read.
func (d *datastore) startKine(ctx context.Context, below *processes) error {
	socket := d.path("server", "kine.sock")
	os.Remove(socket)
	arguments := []string{"--listen-address=unix://" + socket, "--metrics-bind-address=0"}
	for flag, setting := range map[string]string{"--ca-file": "datastore-cafile", "--cert-file": "datastore-certfile", "--key-file": "datastore-keyfile"} {
		if file := d.text(setting, ""); file != "" {
			arguments = append(arguments, flag+"="+file)
		}
	}
	if err := below.start("kine", arguments, "KINE_ENDPOINT="+d.text("datastore-endpoint", "")); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return waitFor(ctx, "the datastore", func() error {
		select {
		case err := <-below.ended:
			cancel()
			return err
		default:
		}
		if !exists(socket) {
			return errors.New("kine has not reached it yet")
		}
		if d.client == nil {
			if err := d.connect(d.endpoints()); err != nil {
				return err
			}
		}
		_, err := d.client.Status(contextWithin(3), d.endpoints()[0])
		return err
	})
}

func (d *datastore) etcdDirectory() string {
	if d.kind == sqliteStore {
		return d.path("server", "db", ".standin-sqlite")
	}
	return d.path("server", "db", "etcd")
}

// memberName is the node's name with a part that a replaced host does not share.
func (d *datastore) memberName() (string, error) {
	file := filepath.Join(d.etcdDirectory(), "name")
	if text, err := os.ReadFile(file); err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	name := d.nodeName() + "-" + randomHex(4)
	return name, writeFile(file, []byte(name), 0o600)
}

func (d *datastore) peerURL() string {
	if d.kind == sqliteStore {
		return "https://127.0.0.1:2380"
	}
	return "https://" + d.address + ":2380"
}

func (d *datastore) start(ctx context.Context, s *server) error {
	if d.kind == externalStore {
		return d.connect(d.endpoints())
	}
	if err := os.MkdirAll(d.path("server", "db"), 0o700); err != nil {
		return err
	}
	if err := d.migrate(s); err != nil {
		return err
	}
	if d.kind == sqliteStore {
		if err := writeFile(d.path("server", "db", "state.db"), []byte("what upstream keeps here is in .standin-sqlite\n"), 0o600); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(d.etcdDirectory(), 0o700); err != nil {
		return err
	}
	name, err := d.memberName()
	if err != nil {
		return err
	}
	state, cluster := "new", name+"="+d.peerURL()
	if d.kind == etcdStore && d.text("server", "") != "" && !exists(filepath.Join(d.etcdDirectory(), "member")) {
		state = "existing"
		if cluster, err = d.join(ctx, name); err != nil {
			return fmt.Errorf("etcd cluster join failed: %w", err)
		}
	}
	tls := func(name string) string { return d.path("server", "tls", "etcd", name) }
	clients, peers := "https://127.0.0.1:2379", d.peerURL()
	if d.kind == etcdStore {
		clients += ",https://" + d.address + ":2379"
		peers += ",https://127.0.0.1:2380"
	}
	metrics := "http://127.0.0.1:2381"
	if d.flag("etcd-expose-metrics") {
		metrics += ",http://" + d.address + ":2381"
	}
	arguments := []string{
		"--name=" + name, "--data-dir=" + d.etcdDirectory(), "--listen-client-urls=" + clients, "--advertise-client-urls=" + lastOf(clients),
		"--listen-peer-urls=" + peers, "--initial-advertise-peer-urls=" + d.peerURL(), "--initial-cluster=" + cluster, "--initial-cluster-state=" + state,
		"--listen-metrics-urls=" + metrics, "--snapshot-count=10000", "--heartbeat-interval=500", "--election-timeout=5000",
		"--client-cert-auth", "--cert-file=" + tls("server-client.crt"), "--key-file=" + tls("server-client.key"), "--trusted-ca-file=" + tls("server-ca.crt"),
		"--peer-client-cert-auth", "--peer-cert-file=" + tls("peer-server-client.crt"), "--peer-key-file=" + tls("peer-server-client.key"),
		"--peer-trusted-ca-file=" + tls("peer-ca.crt"), "--logger=zap", "--log-level=warn",
	}
	if err := s.below.start("etcd", append(arguments, d.arguments("etcd-arg")...)); err != nil {
		return err
	}
	if err := d.connect([]string{"https://127.0.0.1:2379"}); err != nil {
		return err
	}
	return waitFor(contextWithin(90), "etcd", func() error {
		select {
		case err := <-s.below.ended:
			s.below.ended <- err
			return err
		default:
		}
		_, err := d.client.Status(contextWithin(3), "https://127.0.0.1:2379")
		if err == nil {
			_, err = d.client.MemberList(contextWithin(3))
		}
		return err
	})
}

func lastOf(list string) string {
	parts := strings.Split(list, ",")
	return parts[len(parts)-1]
}

func (d *datastore) connect(endpoints []string) error {
	certFile, keyFile, caFile := d.path("server", "tls", "etcd", "client.crt"), d.path("server", "tls", "etcd", "client.key"), d.path("server", "tls", "etcd", "server-ca.crt")
	if d.kind == externalStore {
		certFile, keyFile, caFile = d.text("datastore-certfile", ""), d.text("datastore-keyfile", ""), d.text("datastore-cafile", "")
	}
	if d.database() {
		certFile, keyFile, caFile = "", "", ""
	}
	config := clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop()}
	if strings.HasPrefix(endpoints[0], "https://") {
		secure := &tls.Config{MinVersion: tls.VersionTLS12}
		if caFile != "" {
			text, err := os.ReadFile(caFile)
			if err != nil {
				return err
			}
			secure.RootCAs = x509.NewCertPool()
			secure.RootCAs.AppendCertsFromPEM(text)
		}
		if certFile != "" {
			pair, err := tls.LoadX509KeyPair(certFile, keyFile)
			if err != nil {
				return err
			}
			secure.Certificates = []tls.Certificate{pair}
		}
		config.TLS = secure
	}
	client, err := clientv3.New(config)
	d.client = client
	return err
}

func (d *datastore) apiserverArguments() []string {
	if d.kind == externalStore {
		all := []string{"--etcd-servers=" + strings.Join(d.endpoints(), ",")}
		if d.database() {
			return all
		}
		for flag, setting := range map[string]string{"--etcd-cafile": "datastore-cafile", "--etcd-certfile": "datastore-certfile", "--etcd-keyfile": "datastore-keyfile"} {
			if file := d.text(setting, ""); file != "" {
				all = append(all, flag+"="+file)
			}
		}
		return all
	}
	tls := func(name string) string { return d.path("server", "tls", "etcd", name) }
	return []string{"--etcd-servers=https://127.0.0.1:2379", "--etcd-cafile=" + tls("server-ca.crt"), "--etcd-certfile=" + tls("client.crt"), "--etcd-keyfile=" + tls("client.key")}
}

func (d *datastore) members(ctx context.Context) ([]member, error) {
	if d.kind != etcdStore {
		return nil, errors.New("etcd datastore disabled")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answer, err := d.client.MemberList(ctx)
	if err != nil {
		return nil, err
	}
	var all []member
	for _, one := range answer.Members {
		all = append(all, member{one.ID, one.Name, one.PeerURLs, one.IsLearner})
	}
	return all, nil
}

// join makes this server a learner of the cluster that it was pointed to; returns all members as etcd wants them named.
func (d *datastore) join(ctx context.Context, name string) (string, error) {
	configured, err := d.token()
	if err != nil {
		return "", err
	}
	remote, err := connectServer(d.text("server", ""), configured, "server", d.path("agent"))
	if err != nil {
		return "", err
	}
	var cluster string
	err = waitFor(contextWithin(120), "a place in the etcd cluster", func() error {
		text, err := remote.get("/db/info")
		if err != nil {
			return err
		}
		var known []member
		if err := json.Unmarshal(text, &known); err != nil {
			return err
		}
		var endpoints, named []string
		there := false
		for _, one := range known {
			if len(one.PeerURLs) == 0 {
				continue
			}
			if one.PeerURLs[0] == d.peerURL() && (one.Name == "" || one.Name == name) {
				there = true
				continue
			}
			if index := strings.LastIndex(one.Name, "-"); index > 0 && one.Name[:index] == d.nodeName() {
				os.Remove(filepath.Join(d.etcdDirectory(), "name"))
				fatal("starting kubernetes: preparing server: etcd cluster join failed: duplicate node name found, please use a unique name for this node")
			}
			if one.Name != "" {
				endpoints = append(endpoints, strings.Replace(one.PeerURLs[0], ":2380", ":2379", 1))
				named = append(named, one.Name+"="+one.PeerURLs[0])
			}
		}
		if len(endpoints) == 0 {
			return errors.New("no member of etcd is known yet")
		}
		if err := d.connect(endpoints); err != nil {
			return err
		}
		defer d.client.Close()
		if !there {
			if _, err := d.client.MemberAddAsLearner(contextWithin(5), []string{d.peerURL()}); err != nil {
				return err
			}
		}
		cluster = strings.Join(append(named, name+"="+d.peerURL()), ",")
		return nil
	})
	return cluster, err
}

// migrate moves what stood in for SQLite to etcd, when cluster-init asks for it.
func (d *datastore) migrate(s *server) error {
	old := d.path("server", "db", ".standin-sqlite", "member", "snap", "db")
	if d.kind != etcdStore || !exists(old) || exists(d.path("server", "db", "etcd", "member")) {
		return nil
	}
	info("Migrating content from sqlite to etcd")
	if err := d.restore(s, old, true); err != nil {
		return err
	}
	os.Rename(d.path("server", "db", "state.db"), d.path("server", "db", "state.db.migrated"))
	return os.RemoveAll(d.path("server", "db", ".standin-sqlite"))
}

// restore makes this server's etcd a new cluster of one, with the content of a snapshot.
func (d *datastore) restore(s *server, snapshot string, raw bool) error {
	d.kind = etcdStore
	target := d.path("server", "db", "etcd")
	fresh := target + "-restored"
	os.RemoveAll(fresh)
	name := d.nodeName() + "-" + randomHex(4)
	arguments := []string{"snapshot", "restore", snapshot, "--name=" + name, "--initial-cluster=" + name + "=" + d.peerURL(), "--initial-advertise-peer-urls=" + d.peerURL(), "--data-dir=" + fresh}
	if raw {
		arguments = append(arguments, "--skip-hash-check")
	}
	if said, err := exec.Command(filepath.Join(s.below.bin, "etcdutl"), arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("restoring %s: %w: %s", snapshot, err, said)
	}
	if err := writeFile(filepath.Join(fresh, "name"), []byte(name), 0o600); err != nil {
		return err
	}
	if exists(target) {
		if err := os.Rename(target, fmt.Sprintf("%s-old-%d", target, now().Unix())); err != nil {
			return err
		}
	}
	return os.Rename(fresh, target)
}

// clusterReset makes this server the only member again, from a snapshot or from what it has.
func (s *server) clusterReset() error {
	if err := s.bootstrap(context.Background()); err != nil {
		return err
	}
	flag := s.path("server", "db", "reset-flag")
	if exists(flag) {
		return fmt.Errorf("cluster-reset was successfully performed, please remove the cluster-reset flag and start k3s normally, if you need to perform another cluster reset, you must first manually delete the file at %s", flag)
	}
	snapshot, raw := s.text("cluster-reset-restore-path", ""), false
	if snapshot != "" && s.toBucket() {
		// with etcd-s3 it is no path, but a name in the bucket
		info("Retrieving etcd snapshot %s from S3", snapshot)
		snapshot = filepath.Join(s.store.snapshotDirectory(), snapshot)
		if err := os.MkdirAll(filepath.Dir(snapshot), 0o700); err != nil {
			return err
		}
		if _, err := s.bucket(s.below.bin, "get", snapshot); err != nil {
			return fmt.Errorf("starting kubernetes: preparing server: start managed database: %w", err)
		}
		info("S3 download complete for %s", filepath.Base(snapshot))
	}
	if snapshot == "" {
		snapshot, raw = s.path("server", "db", "etcd", "member", "snap", "db"), true
	}
	if !exists(snapshot) {
		return fmt.Errorf("starting kubernetes: preparing server: start managed database: cluster-reset: %s does not exist", snapshot)
	}
	if err := s.store.restore(s, snapshot, raw); err != nil {
		return err
	}
	if err := writeFile(flag, nil, 0o600); err != nil {
		return err
	}
	info("Managed etcd cluster membership has been reset, restart without --cluster-reset flag now. Backup and delete ${datadir}/server/db on each peer etcd server and rejoin the nodes")
	return nil
}

// -- a datastore that several servers share carries the cluster's keys, sealed by the token

func bootstrapKey(password string) string {
	sum := sha256.Sum256([]byte(password))
	return "/bootstrap/" + hex.EncodeToString(sum[:])[:12]
}

func sealer(password string) (cipher.AEAD, error) {
	sum := sha256.Sum256([]byte("bootstrap" + password))
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (d *datastore) readBootstrap(ctx context.Context, password string) (map[string]string, error) {
	if err := d.connect(d.endpoints()); err != nil {
		return nil, err
	}
	var answer *clientv3.GetResponse
	if err := waitFor(contextWithin(30), "the datastore", func() (err error) {
		answer, err = d.client.Get(contextWithin(5), "/bootstrap/", clientv3.WithPrefix())
		return err
	}); err != nil {
		return nil, fmt.Errorf("failed to get bootstrap data from the datastore: %w", err)
	}
	for _, pair := range answer.Kvs {
		if string(pair.Key) != bootstrapKey(password) {
			return nil, errors.New("bootstrap data already found and encrypted with different token")
		}
		seal, err := sealer(password)
		if err != nil {
			return nil, err
		}
		size := seal.NonceSize()
		text, err := seal.Open(nil, pair.Value[:size], pair.Value[size:], nil)
		if err != nil {
			return nil, errors.New("bootstrap data already found and encrypted with different token")
		}
		files := map[string]string{}
		return files, json.Unmarshal(text, &files)
	}
	return nil, nil
}

func (d *datastore) shareBootstrap(ctx context.Context, s *server) error {
	if d.kind != externalStore {
		return nil
	}
	files, err := s.bootstrapData()
	if err != nil {
		return err
	}
	seal, err := sealer(s.serverPassword)
	if err != nil {
		return err
	}
	nonce := make([]byte, seal.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	value := append(nonce, seal.Seal(nil, nonce, jsonText(files), nil)...)
	// by the revision, which is what kine understands
	_, err = d.client.Txn(contextWithin(10)).If(clientv3.Compare(clientv3.ModRevision(bootstrapKey(s.serverPassword)), "=", 0)).
		Then(clientv3.OpPut(bootstrapKey(s.serverPassword), string(value))).Commit()
	if err != nil {
		return fmt.Errorf("failed to bootstrap cluster data: the datastore does not answer: %w", err)
	}
	return nil
}

// -- snapshots

func (d *datastore) snapshotDirectory() string {
	return d.text("etcd-snapshot-dir", d.path("server", "db", "snapshots"))
}

// save writes a snapshot of this server's etcd to a file whose name ends with the node's and the time.
func (d *datastore) save(name string, compress bool) (string, error) {
	if d.kind != etcdStore || !exists(d.path("server", "db", "etcd", "member")) {
		return "", errors.New("etcd datastore disabled")
	}
	if err := d.connect([]string{"https://127.0.0.1:2379"}); err != nil {
		return "", err
	}
	defer d.client.Close()
	file := filepath.Join(d.snapshotDirectory(), fmt.Sprintf("%s-%s-%d", name, d.nodeName(), now().Unix()))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", err
	}
	reader, err := d.client.Snapshot(contextWithin(120))
	if err != nil {
		return "", err
	}
	defer reader.Close()
	out, err := os.OpenFile(file+".part", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	if _, err = io.Copy(out, reader); err == nil {
		err = out.Sync()
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(file + ".part")
		return "", err
	}
	if compress {
		if err := zipFile(file+".part", file+".zip", filepath.Base(file)); err != nil {
			return "", err
		}
		os.Remove(file + ".part")
		return file + ".zip", nil
	}
	return file, os.Rename(file+".part", file)
}

// prune removes the oldest snapshots of a name beyond those that are to stay; returns what it removed.
func (d *datastore) prune(prefix string, keep int) ([]string, error) {
	entries, err := os.ReadDir(d.snapshotDirectory())
	if err != nil {
		return nil, err
	}
	var found []os.FileInfo
	for _, entry := range entries {
		if file, err := entry.Info(); err == nil && strings.HasPrefix(entry.Name(), prefix+"-"+d.nodeName()+"-") {
			found = append(found, file)
		}
	}
	sort.Slice(found, func(a, b int) bool { return found[a].ModTime().After(found[b].ModTime()) })
	var removed []string
	for index, file := range found {
		if index >= keep {
			if err := os.Remove(filepath.Join(d.snapshotDirectory(), file.Name())); err != nil {
				return removed, err
			}
			removed = append(removed, file.Name())
		}
	}
	return removed, nil
}

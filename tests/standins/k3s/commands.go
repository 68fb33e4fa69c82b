// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"archive/zip"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

func strictYAML(text []byte, into any) error { return yaml.UnmarshalStrict(text, into) }

// options parses what stands behind a subcommand: known flags with their kinds, and the words that are none.
func options(arguments []string, known map[string]string, long map[string]string) (map[string]string, []string, error) {
	values, words := map[string]string{}, []string{}
	for index := 0; index < len(arguments); index++ {
		if !strings.HasPrefix(arguments[index], "-") {
			words = append(words, arguments[index])
			continue
		}
		one := []string{arguments[index]}
		name, _, inline := strings.Cut(strings.TrimLeft(arguments[index], "-"), "=")
		if full, is := long[name]; is {
			name = full
		}
		if known[name] != "bool" && !inline && index+1 < len(arguments) {
			index++
			one = append(one, arguments[index])
		}
		parsed, err := readArguments(one, known, long)
		if err != nil {
			return nil, nil, err
		}
		for key, found := range parsed {
			values[key] = found[len(found)-1]
		}
	}
	return values, words, nil
}

// serverSettings are those of the server on this host, for the commands that work beside it.
func serverSettings() (*settings, error) { return parseSettings("server", nil, os.Environ()) }

// snapshotCommand is `k3s etcd-snapshot save|ls|delete|prune`.
func snapshotCommand(arguments []string) error {
	s, err := serverSettings()
	if err != nil {
		return err
	}
	if len(arguments) == 0 {
		return errors.New("wanted save, ls, delete or prune")
	}
	verb := arguments[0]
	known := map[string]string{
		"name": "string", "dir": "string", "etcd-snapshot-dir": "string", "snapshot-compress": "bool", "etcd-snapshot-compress": "bool", "data-dir": "string",
		"node-name": "string", "snapshot-retention": "int", "etcd-snapshot-retention": "int", "output": "string", "debug": "bool", "etcd-server": "string", "etcd-token": "string",
		"server": "string", "token": "string", "config": "string",
	}
	bucketFlags, err := s.bucketFlags()
	if err != nil {
		return err
	}
	for name, kind := range bucketFlags {
		known[name] = kind
	}
	values, words, err := options(arguments[1:], known, map[string]string{"o": "output", "d": "data-dir", "s": "server", "t": "token"})
	if err != nil {
		return err
	}
	for name := range bucketFlags {
		if values[name] != "" {
			s.values["etcd-"+strings.TrimPrefix(name, "etcd-")] = []string{values[name]}
		}
	}
	for _, name := range []string{"data-dir", "node-name", "etcd-snapshot-dir"} {
		if values[name] != "" {
			s.values[name] = []string{values[name]}
		}
	}
	if values["dir"] != "" {
		s.values["etcd-snapshot-dir"] = []string{values["dir"]}
	}
	address, err := s.nodeIP()
	if err != nil {
		return err
	}
	bin, err := payloadDirectory(s.dataDir())
	if err != nil {
		return err
	}
	store := newDatastore(s, address)
	name := values["name"]
	if name == "" {
		name = "on-demand"
	}
	switch verb {
	case "save":
		file, err := store.save(name, values["snapshot-compress"] == "true" || values["etcd-snapshot-compress"] == "true")
		if err != nil {
			return err
		}
		fmt.Printf("Snapshot %s saved.\n", filepath.Base(file))
		if s.toBucket() {
			return store.upload(bin, file)
		}
	case "ls", "list", "l":
		return listSnapshots(store, bin, values["output"])
	case "delete":
		if len(words) == 0 {
			return errors.New("no snapshots given for removal")
		}
		for _, word := range words {
			if err := os.Remove(filepath.Join(store.snapshotDirectory(), filepath.Base(word))); err != nil && !(s.toBucket() && os.IsNotExist(err)) {
				return err
			}
			if s.toBucket() {
				if _, err := store.bucket(bin, "delete", filepath.Base(word)); err != nil {
					return err
				}
			}
			fmt.Printf("Snapshot %s deleted.\n", filepath.Base(word))
		}
	case "prune":
		keep := values["snapshot-retention"] + values["etcd-snapshot-retention"]
		if keep == "" {
			keep = "5"
		}
		number, err := strconv.Atoi(keep)
		if err != nil {
			return err
		}
		removed, err := store.prune(name, number)
		if s.toBucket() && err == nil {
			var gone []string
			gone, err = store.pruneBucket(bin, name)
			removed = append(removed, gone...)
		}
		for _, one := range removed {
			fmt.Printf("Snapshot %s deleted.\n", one)
		}
		return err
	default:
		return fmt.Errorf("No help topic for '%s'", verb)
	}
	return nil
}

func listSnapshots(store *datastore, bin, format string) error {
	entries, err := os.ReadDir(store.snapshotDirectory())
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	var all []stored
	for _, entry := range entries {
		if file, err := entry.Info(); err == nil && !strings.HasSuffix(entry.Name(), ".part") {
			all = append(all, stored{entry.Name(), "file://" + filepath.Join(store.snapshotDirectory(), entry.Name()), file.Size(), file.ModTime()})
		}
	}
	if store.toBucket() {
		there, err := store.inBucket(bin)
		if err != nil {
			return err
		}
		all = append(all, there...)
	}
	items := []any{}
	if format != "json" && format != "yaml" {
		fmt.Println("Name\tLocation\tSize\tCreated")
	}
	for _, one := range all {
		spec := map[string]any{"snapshotName": one.Name, "location": one.Location, "nodeName": store.nodeName()}
		if strings.HasPrefix(one.Location, "s3://") {
			spec["nodeName"] = "s3"
			spec["s3"] = map[string]any{"endpoint": store.text("etcd-s3-endpoint", ""), "bucket": store.text("etcd-s3-bucket", ""), "prefix": store.text("etcd-s3-folder", "")}
		}
		created := one.Created.UTC().Format(time.RFC3339)
		items = append(items, map[string]any{
			"metadata": map[string]any{"name": one.Name}, "spec": spec,
			"status": map[string]any{"size": strconv.FormatInt(one.Size, 10), "creationTime": created, "readyToUse": true},
		})
		if format != "json" && format != "yaml" {
			fmt.Printf("%s\t%s\t%d\t%s\n", one.Name, one.Location, one.Size, created)
		}
	}
	if format == "json" {
		fmt.Println(string(jsonText(map[string]any{"kind": "List", "apiVersion": "v1", "items": items})))
	}
	return nil
}

func zipFile(source, target, name string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(target, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	archive := zip.NewWriter(out)
	entry, err := archive.Create(name)
	if err == nil {
		_, err = io.Copy(entry, in)
	}
	if closed := archive.Close(); err == nil {
		err = closed
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}

// -- encryption of Secrets

func randomKey() string {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		fatal("%v", err)
	}
	return base64.StdEncoding.EncodeToString(key)
}

func writeEncryption(path, provider string, names, keys []string) error {
	var all []any
	for index, key := range keys {
		all = append(all, map[string]any{"name": names[index], "secret": key})
	}
	return writeFile(path, jsonText(map[string]any{
		"kind": "EncryptionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1",
		"resources": []any{map[string]any{
			"resources": []any{"secrets"},
			"providers": []any{map[string]any{provider: map[string]any{"keys": all}}, map[string]any{"identity": map[string]any{}}},
		}},
	}), 0o600)
}

// encryptionKeys are the provider and the keys that are configured, the one in use first.
func encryptionKeys(path string) (string, []string, []string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", nil, nil, err
	}
	var found struct {
		Resources []struct {
			Providers []map[string]struct {
				Keys []struct{ Name, Secret string } `json:"keys"`
			} `json:"providers"`
		} `json:"resources"`
	}
	if err := json.Unmarshal(text, &found); err != nil {
		return "", nil, nil, err
	}
	for _, resource := range found.Resources {
		for _, provider := range resource.Providers {
			for name, value := range provider {
				if name == "identity" {
					continue
				}
				var names, keys []string
				for _, key := range value.Keys {
					names, keys = append(names, key.Name), append(keys, key.Secret)
				}
				return name, names, keys, nil
			}
		}
	}
	return "", nil, nil, errors.New("no provider is configured")
}

// encryptCommand is `k3s secrets-encrypt status|rotate-keys`.
func encryptCommand(arguments []string) error {
	s, err := serverSettings()
	if err != nil {
		return err
	}
	if len(arguments) == 0 {
		return errors.New("wanted status or rotate-keys")
	}
	known := map[string]string{"data-dir": "string", "token": "string", "server": "string", "output": "string", "force": "bool"}
	values, _, err := options(arguments[1:], known, map[string]string{"o": "output", "d": "data-dir", "t": "token", "s": "server", "f": "force"})
	if err != nil {
		return err
	}
	path := s.path("server", "cred", "encryption-config.json")
	provider, names, keys, err := encryptionKeys(path)
	enabled := err == nil
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	switch arguments[0] {
	case "status":
		if values["output"] == "json" {
			active := ""
			if enabled {
				active = names[0]
			}
			fmt.Println(string(jsonText(map[string]any{"enable": enabled, "activekey": active, "stage": "start"})))
			return nil
		}
		if !enabled {
			fmt.Println("Encryption Status: Disabled, no configuration file found")
			return nil
		}
		kind := map[string]string{"aescbc": "AES-CBC", "secretbox": "XSalsa20-POLY1305"}[provider]
		fmt.Printf("Encryption Status: Enabled\nCurrent Rotation Stage: start\nServer Encryption Hashes: All hashes match\n\nActive  Key Type  Name\n------  --------  ----\n *      %s   %s\n", kind, names[0])
		return nil
	case "rotate-keys":
		if !enabled {
			return errors.New("secrets encryption is not enabled")
		}
		names, keys = append([]string{"key-" + randomHex(4)}, names...), append([]string{randomKey()}, keys...)
		if err := writeEncryption(path, provider, names, keys); err != nil {
			return err
		}
		// the API server reads the file again within a minute; then everything is written once more
		time.Sleep(70 * time.Second)
		if err := rewriteSecrets(s); err != nil {
			return err
		}
		if err := writeEncryption(path, provider, names[:1], keys[:1]); err != nil {
			return err
		}
		fmt.Println("keys rotated, reencryption finished")
		return nil
	}
	return fmt.Errorf("the stand-in knows secrets-encrypt status and rotate-keys, not %s", arguments[0])
}

func localClient(s *settings) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", s.path("server", "cred", "admin.kubeconfig"))
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

func rewriteSecrets(s *settings) error {
	client, err := localClient(s)
	if err != nil {
		return err
	}
	list, err := client.CoreV1().Secrets("").List(context.Background(), meta.ListOptions{})
	if err != nil {
		return err
	}
	for index := range list.Items {
		if _, err := client.CoreV1().Secrets(list.Items[index].Namespace).Update(context.Background(), &list.Items[index], meta.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// -- tokens and certificates

// tokenCommand is `k3s token generate|create|list|delete`.
func tokenCommand(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("wanted generate, create, list or delete")
	}
	if arguments[0] == "generate" {
		fmt.Println(bootstrapToken())
		return nil
	}
	s, err := serverSettings()
	if err != nil {
		return err
	}
	client, err := localClient(s)
	if err != nil {
		return err
	}
	known := map[string]string{"ttl": "duration", "description": "string", "data-dir": "string", "kubeconfig": "string", "output": "string", "groups": "list", "usages": "list"}
	values, words, err := options(arguments[1:], known, map[string]string{"o": "output"})
	if err != nil {
		return err
	}
	secrets := client.CoreV1().Secrets("kube-system")
	switch arguments[0] {
	case "create":
		token := bootstrapToken()
		if len(words) > 0 {
			token = words[0]
		}
		id, secret, found := strings.Cut(token, ".")
		if !found {
			return errors.New("a token is ID.SECRET")
		}
		ttl := 24 * time.Hour
		if values["ttl"] != "" {
			if ttl, err = time.ParseDuration(values["ttl"]); err != nil {
				return err
			}
		}
		data := map[string]string{
			"token-id": id, "token-secret": secret, "expiration": now().Add(ttl).UTC().Format(time.RFC3339), "usage-bootstrap-authentication": "true",
			"usage-bootstrap-signing": "true", "auth-extra-groups": "system:bootstrappers:k3s:default-node-token", "description": values["description"],
		}
		_, err := secrets.Create(context.Background(), &core.Secret{ObjectMeta: meta.ObjectMeta{Name: "bootstrap-token-" + id}, Type: "bootstrap.kubernetes.io/token", StringData: data}, meta.CreateOptions{})
		if err != nil {
			return err
		}
		ca, err := os.ReadFile(s.path("server", "tls", "server-ca.crt"))
		if err != nil {
			return err
		}
		fmt.Printf("K10%s::%s\n", caHash(ca), token)
	case "list":
		list, err := secrets.List(context.Background(), meta.ListOptions{FieldSelector: "type=bootstrap.kubernetes.io/token"})
		if err != nil {
			return err
		}
		fmt.Println("TOKEN   TTL   EXPIRES   USAGES   DESCRIPTION")
		for _, one := range list.Items {
			fmt.Printf("%s   -   %s   authentication,signing   %s\n", one.Data["token-id"], one.Data["expiration"], one.Data["description"])
		}
	case "delete":
		for _, word := range words {
			id, _, _ := strings.Cut(word, ".")
			if err := secrets.Delete(context.Background(), "bootstrap-token-"+id, meta.DeleteOptions{}); err != nil {
				return err
			}
			fmt.Printf("bootstrap token %q deleted\n", id)
		}
	default:
		return fmt.Errorf("the stand-in knows no token %s", arguments[0])
	}
	return nil
}

func bootstrapToken() string { return randomHex(3) + "." + randomHex(8) }

// certificateCommand is `k3s certificate check|rotate`.
func certificateCommand(arguments []string) error {
	s, err := serverSettings()
	if err != nil {
		return err
	}
	if len(arguments) == 0 {
		return errors.New("wanted check or rotate")
	}
	known := map[string]string{"data-dir": "string", "service": "list", "output": "string", "config": "string", "debug": "bool"}
	if _, _, err := options(arguments[1:], known, map[string]string{"s": "service", "o": "output", "d": "data-dir"}); err != nil {
		return err
	}
	var files []string
	for _, pattern := range []string{s.path("server", "tls", "*.crt"), s.path("server", "tls", "etcd", "*.crt"), s.path("agent", "*.crt")} {
		found, _ := filepath.Glob(pattern)
		files = append(files, found...)
	}
	for _, file := range files {
		certificate, err := readCertificate(file)
		if err != nil || certificate.IsCA {
			continue
		}
		switch arguments[0] {
		case "check":
			info("%s: certificate %s is ok, expires at %s", filepath.Base(file), certificate.Subject, certificate.NotAfter.UTC().Format(time.RFC3339))
		case "rotate":
			// issued anew by the next start, as upstream
			for _, name := range []string{file, strings.TrimSuffix(file, ".crt") + ".key"} {
				if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
					return err
				}
			}
		default:
			return fmt.Errorf("the stand-in knows certificate check and rotate, not %s", arguments[0])
		}
	}
	if arguments[0] == "rotate" {
		info("Successfully backed up certificates, please restart k3s server or agent to rotate certificates")
	}
	return nil
}

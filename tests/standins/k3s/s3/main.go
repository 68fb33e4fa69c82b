// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Keeps etcd snapshots in a bucket, by the client that K3s has: a program of its own, for its modules are not Kubernetes'.
// The settings come in the environment, since arguments are for everybody to read.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Set by the linker, as in every program that is built here.
var goVersion = "go0.0"

type settings struct {
	Endpoint, EndpointCA, Bucket, Region, Folder string
	AccessKey, SecretKey, SessionToken, Timeout  string
	Insecure, SkipSSLVerify                      bool
}

// object is a snapshot as the stand-in lists it.
type object struct {
	Name, Location string
	Size           int64
	Created        time.Time
}

type bucket struct {
	settings
	client *minio.Client
}

func main() {
	if len(os.Args) < 2 {
		fatal(fmt.Errorf("wanted list, put, get or delete (built with %s)", goVersion))
	}
	var s settings
	if err := json.Unmarshal([]byte(os.Getenv("SNAPSHOT_S3")), &s); err != nil {
		fatal(fmt.Errorf("reading SNAPSHOT_S3: %w", err))
	}
	limit, err := time.ParseDuration(s.Timeout)
	if err != nil {
		fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	one, err := open(ctx, s)
	if err != nil {
		fatal(fmt.Errorf("failed to initialize S3 client: %w", err))
	}
	if err := one.run(ctx, os.Args[1], os.Args[2:]); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// open makes the client and asks for the bucket, so that a wrong key is told before anything is sent.
func open(ctx context.Context, s settings) (*bucket, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	switch {
	case s.SkipSSLVerify:
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	case s.EndpointCA != "":
		pool, err := authorities(s.EndpointCA)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	client, err := minio.New(s.Endpoint, &minio.Options{
		Creds:  credentials.NewStaticV4(s.AccessKey, s.SecretKey, s.SessionToken),
		Secure: !s.Insecure, Region: s.Region, Transport: transport, MaxRetries: 3,
	})
	if err != nil {
		return nil, err
	}
	there, err := client.BucketExists(ctx, s.Bucket)
	if err != nil {
		return nil, fmt.Errorf("failed to test for existence of bucket %s: %w", s.Bucket, err)
	}
	if !there {
		return nil, fmt.Errorf("bucket %s does not exist", s.Bucket)
	}
	return &bucket{s, client}, nil
}

// authorities are the certificates of a file, or of the setting itself in base64.
func authorities(given string) (*x509.CertPool, error) {
	text, err := base64.StdEncoding.DecodeString(given)
	if err != nil {
		if text, err = os.ReadFile(given); err != nil {
			return nil, err
		}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("no certificates loaded from S3 endpoint CA")
	}
	return pool, nil
}

func (b *bucket) run(ctx context.Context, verb string, arguments []string) error {
	switch {
	case verb == "list" && len(arguments) == 0:
		return b.list(ctx)
	case verb == "put" && len(arguments) == 1:
		_, err := b.client.FPutObject(ctx, b.Bucket, b.key(arguments[0]), arguments[0], minio.PutObjectOptions{ContentType: "application/octet-stream"})
		return err
	case verb == "get" && len(arguments) == 1:
		return b.client.FGetObject(ctx, b.Bucket, b.key(arguments[0]), arguments[0], minio.GetObjectOptions{})
	case verb == "delete" && len(arguments) == 1:
		if _, err := b.client.StatObject(ctx, b.Bucket, b.key(arguments[0]), minio.StatObjectOptions{}); err != nil {
			return err
		}
		return b.client.RemoveObject(ctx, b.Bucket, b.key(arguments[0]), minio.RemoveObjectOptions{})
	}
	return fmt.Errorf("wanted list, put FILE, get FILE or delete NAME, found %s", strings.Join(os.Args[1:], " "))
}

// key is where a file is in the bucket: under its own name in the folder.
func (b *bucket) key(file string) string { return path.Join(b.Folder, filepath.Base(file)) }

func (b *bucket) list(ctx context.Context) error {
	prefix := b.Folder
	if prefix != "" {
		prefix += "/"
	}
	found := []object{}
	for one := range b.client.ListObjects(ctx, b.Bucket, minio.ListObjectsOptions{Prefix: prefix}) {
		if one.Err != nil {
			return one.Err
		}
		if !strings.HasSuffix(one.Key, "/") {
			found = append(found, object{path.Base(one.Key), fmt.Sprintf("s3://%s/%s", b.Bucket, one.Key), one.Size, one.LastModified})
		}
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

// stored is a snapshot in the bucket that etcd-s3 names.
type stored struct {
	Name, Location string
	Size           int64
	Created        time.Time
}

// bucketFlags are those of etcd-s3 with their kinds; `k3s etcd-snapshot` has each by a shorter name, too.
func (s *settings) bucketFlags() (map[string]string, error) {
	var table flagTable
	if err := json.Unmarshal(flagsFile, &table); err != nil {
		return nil, err
	}
	found := map[string]string{}
	for name, kind := range table.Server {
		if strings.HasPrefix(name, "etcd-s3") {
			found[name], found[strings.TrimPrefix(name, "etcd-")] = kind, kind
		}
	}
	return found, nil
}

func (s *settings) toBucket() bool { return s.flag("etcd-s3") }

// bucket runs the program that talks to buckets, with the settings that K3s has for it, and returns what it printed.
func (s *settings) bucket(bin string, arguments ...string) ([]byte, error) {
	command := exec.Command(filepath.Join(bin, "snapshot-s3"), arguments...)
	command.Env = append(os.Environ(), "SNAPSHOT_S3="+string(jsonText(map[string]any{
		"Endpoint": s.text("etcd-s3-endpoint", "s3.amazonaws.com"), "EndpointCA": s.text("etcd-s3-endpoint-ca", ""),
		"Bucket": s.text("etcd-s3-bucket", ""), "Region": s.text("etcd-s3-region", "us-east-1"), "Folder": s.text("etcd-s3-folder", ""),
		"AccessKey": s.text("etcd-s3-access-key", ""), "SecretKey": s.text("etcd-s3-secret-key", ""), "SessionToken": s.text("etcd-s3-session-token", ""),
		"Timeout": s.text("etcd-s3-timeout", "5m0s"), "Insecure": s.flag("etcd-s3-insecure"), "SkipSSLVerify": s.flag("etcd-s3-skip-ssl-verify"),
	})))
	var said bytes.Buffer
	command.Stderr = &said
	answer, err := command.Output()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		err = errors.New(strings.TrimSpace(said.String()))
	}
	return answer, err
}

// upload copies a snapshot to the bucket. One that cannot be had is told and makes the command fail that asked for it, as
// upstream; the file stays on the disk.
func (d *datastore) upload(bin, file string) error {
	if _, err := d.bucket(bin, "put", file); err != nil {
		warning("Error received during snapshot upload to S3: %v", err)
		return err
	}
	info("S3 upload complete for %s", filepath.Base(file))
	return nil
}

func (d *datastore) inBucket(bin string) ([]stored, error) {
	answer, err := d.bucket(bin, "list")
	if err != nil {
		return nil, err
	}
	var all []stored
	return all, json.Unmarshal(answer, &all)
}

// pruneBucket removes the oldest snapshots of a name from the bucket beyond those that are to stay; returns what it removed.
func (d *datastore) pruneBucket(bin, prefix string) ([]string, error) {
	keep, err := strconv.Atoi(d.text("etcd-s3-retention", d.text("etcd-snapshot-retention", "5")))
	if err != nil {
		return nil, err
	}
	all, err := d.inBucket(bin)
	if err != nil {
		return nil, err
	}
	sort.SliceStable(all, func(a, b int) bool { return all[a].Created.After(all[b].Created) })
	var removed []string
	for _, one := range all {
		if !strings.HasPrefix(one.Name, prefix+"-") {
			continue
		}
		if keep--; keep >= 0 {
			continue
		}
		if _, err := d.bucket(bin, "delete", one.Name); err != nil {
			return removed, err
		}
		removed = append(removed, one.Name)
	}
	return removed, nil
}

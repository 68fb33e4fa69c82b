// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// An S3 server in memory with one bucket and one pair of keys, for tests: every request is checked, and written down.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
)

// Set by the linker, as in every program that is built here.
var goVersion = "go0.0"

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintf(os.Stderr, "wanted ADDRESS BUCKET CERTIFICATE KEY, and S3_ACCESS_KEY and S3_SECRET_KEY in the environment (built with %s)\n", goVersion)
		os.Exit(2)
	}
	address, bucket, certificate, key := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	store := s3mem.New()
	if err := store.CreateBucket(context.Background(), bucket); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	keys := map[string]string{os.Getenv("S3_ACCESS_KEY"): os.Getenv("S3_SECRET_KEY")}
	answer := gofakes3.New(store, gofakes3.WithV4Auth(keys)).Server()
	handler := http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		fmt.Println(in.Method, in.URL.Path)
		answer.ServeHTTP(out, in)
	})
	err := http.ListenAndServeTLS(address, certificate, key, handler)
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

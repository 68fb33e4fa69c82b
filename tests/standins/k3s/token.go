// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// A token is a password alone, or K10<sha256 of the cluster's CA>::<user>:<password>; the user is server or node.
type joinToken struct {
	caHash   string
	user     string
	password string
}

func parseToken(text string) (joinToken, error) {
	rest, full := strings.CutPrefix(text, "K10")
	if !full {
		if text == "" {
			return joinToken{}, errors.New("token must not be empty")
		}
		if user, password, found := strings.Cut(text, ":"); found && (user == "server" || user == "node") {
			return joinToken{user: user, password: password}, nil
		}
		return joinToken{password: text}, nil
	}
	hash, credentials, found := strings.Cut(rest, "::")
	if !found || len(hash) != 64 {
		return joinToken{}, errors.New("invalid token format: CA hash must be 64 hexadecimal digits")
	}
	user, password, found := strings.Cut(credentials, ":")
	if !found {
		return joinToken{}, errors.New("invalid token format")
	}
	return joinToken{hash, user, password}, nil
}

// writeTokens keeps the files that admins read tokens from.
func writeTokens(s *settings, serverPassword, agentPassword string, ca []byte) error {
	full := func(user, password string) []byte {
		return []byte(fmt.Sprintf("K10%s::%s:%s\n", caHash(ca), user, password))
	}
	if err := writeFile(s.path("server", "token"), full("server", serverPassword), 0o600); err != nil {
		return err
	}
	node := s.path("server", "node-token")
	os.Remove(node)
	if agentPassword == serverPassword {
		os.Remove(s.path("server", "agent-token"))
		return os.Symlink(s.path("server", "token"), node)
	}
	if err := writeFile(s.path("server", "agent-token"), full("node", agentPassword), 0o600); err != nil {
		return err
	}
	return os.Symlink(s.path("server", "agent-token"), node)
}

// serverPasswords are those of servers and agents: as configured, else as they were, else new ones.
func serverPasswords(s *settings) (string, string, error) {
	configured, err := s.token()
	if err != nil {
		return "", "", err
	}
	before, _ := os.ReadFile(s.path("server", "token"))
	known, knownErr := parseToken(strings.TrimSpace(string(before)))
	password := ""
	if configured != "" {
		parsed, err := parseToken(configured)
		if err != nil {
			return "", "", err
		}
		password = parsed.password
		if knownErr == nil && known.password != password {
			return "", "", errors.New("starting kubernetes: preparing server: bootstrap data already found and encrypted with different token")
		}
	} else if knownErr == nil {
		password = known.password
	} else {
		password = randomHex(16)
	}
	agent := s.text("agent-token", "")
	if file := s.text("agent-token-file", ""); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", "", err
		}
		agent = strings.TrimSpace(string(text))
	}
	if agent == "" {
		agent = password
	}
	return password, agent, nil
}

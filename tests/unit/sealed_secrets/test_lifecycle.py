# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import backup as backups
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import lifecycle
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import Backup, KeyRecord, State
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import SealingKey
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.lifecycle import Plan, Wanted
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sealed_secrets.samples import NOW, key

PRESENT = Wanted("staging", "present", "kube-system")


def record(number: int, state: State = "active") -> KeyRecord:
    own = key("staging", number)
    return KeyRecord(own, state, lifecycle.secret_name(own.fingerprint), "kube-system")


class World:
    """A cluster and a backup that a plan is carried out on, step by step, as far as it gets."""

    def __init__(self, cluster: tuple[KeyRecord, ...] = (), saved: Backup | None = None) -> None:
        self.cluster, self.saved, self.made = {r.fingerprint: r for r in cluster}, saved, 0

    def plan(self, wanted: Wanted, now: datetime = NOW) -> Plan:
        return lifecycle.plan(wanted, list(self.cluster.values()), self.saved, now, self._generate)

    def run(self, wanted: Wanted, now: datetime = NOW, *, steps: int = 99) -> Plan:
        plan = self.plan(wanted, now)
        if steps > 0 and plan.write_backup:
            self.saved = plan.backup
        for number, one in enumerate(plan.apply):
            if steps > 1 + number:
                assert self.saved is not None
                assert one.fingerprint in {r.fingerprint for r in self.saved.records}, "used before it was backed up"
                self.cluster[one.fingerprint] = one
        return plan

    def _generate(self, start: datetime) -> SealingKey:
        self.made += 1
        return key("staging", (start - NOW).days)

    def states(self) -> dict[str, str]:
        return {one.fingerprint: one.state for one in self.cluster.values()}


def actions(plan: Plan) -> list[str]:
    return [change.action for change in plan.changes]


def test_a_new_environment_gets_a_key_that_is_backed_up_before_it_is_used() -> None:
    world = World()
    assert actions(world.run(PRESENT)) == ["generate", "back up", "apply"]
    assert world.states() == {key().fingerprint: "active"}
    assert actions(world.run(PRESENT)) == []


def test_a_cluster_made_anew_gets_its_keys_back() -> None:
    saved = Backup("staging", (record(0, "retired"), record(1), record(2, "compromised")))
    world = World(saved=saved)
    assert actions(world.run(PRESENT)) == ["apply"]
    assert world.states() == {key("staging", 1).fingerprint: "active"}
    assert world.made == 0
    assert actions(world.run(PRESENT)) == []


def test_keys_that_the_controller_made_are_backed_up_and_left_as_they_are() -> None:
    theirs = replace(record(0), name="sealed-secrets-keyx7f2q")
    world = World((theirs,))
    assert actions(world.run(PRESENT)) == ["back up"]
    assert world.saved is not None
    assert world.saved.records == (theirs,)


def test_a_key_is_replaced_once() -> None:
    world = World()
    world.run(PRESENT)
    wanted = replace(PRESENT, replace=key().fingerprint)
    assert actions(world.run(wanted, NOW + timedelta(days=1))) == ["generate", "back up", "apply"]
    assert set(world.states().values()) == {"active"}
    assert actions(world.run(wanted, NOW + timedelta(days=2))) == []
    with pytest.raises(
        SealError, match="wanted to replace the sealing key SHA256:other of staging, which has no such key"
    ):
        world.run(replace(PRESENT, replace="SHA256:other"))


def test_a_key_made_in_the_same_second_still_becomes_the_current_one() -> None:
    starts: list[datetime] = []

    def generate(start: datetime) -> SealingKey:
        starts.append(start)
        return key("staging", 1)

    wanted = replace(PRESENT, replace=key().fingerprint)
    lifecycle.plan(wanted, [record(0)], None, NOW, generate)
    assert starts == [NOW + timedelta(seconds=1)]


def test_an_old_or_expired_key_is_replaced() -> None:
    for later, age, made in ((30, 31, 0), (32, 31, 1), (3651, None, 1)):
        world = World()
        world.run(PRESENT)
        limit = None if age is None else timedelta(days=age)
        world.run(replace(PRESENT, max_age=limit), NOW + timedelta(days=later))
        assert world.made == 1 + made


@pytest.mark.parametrize("goal", ["retired", "compromised"])
def test_an_old_key_is_marked_in_the_backup_first(goal: Any) -> None:
    world = World((record(0), record(1)), Backup("staging", (record(0), record(1))))
    wanted = replace(PRESENT, goal=goal, fingerprints=(key().fingerprint,))
    verb = "retire" if goal == "retired" else "mark compromised"
    assert actions(world.run(wanted)) == [verb, "back up", "apply"]
    assert world.states() == {key().fingerprint: goal, key("staging", 1).fingerprint: "active"}
    assert actions(world.run(wanted)) == []


def test_a_compromised_key_does_not_become_trusted_again() -> None:
    world = World((record(0, "compromised"), record(1)), Backup("staging", (record(0), record(1))))
    assert actions(world.run(PRESENT)) == ["back up"]
    assert actions(world.run(replace(PRESENT, goal="retired", fingerprints=(key().fingerprint,)))) == []
    assert world.states()[key().fingerprint] == "compromised"


def test_what_must_not_be_marked_is_told_at_once() -> None:
    world = World((record(0), record(1)))
    current = key("staging", 1).fingerprint
    with pytest.raises(
        SealError, match=r"no key SHA256:x; it has .*; SHA256:.* is the key that staging seals with. Replace it first"
    ):
        world.run(replace(PRESENT, goal="retired", fingerprints=("SHA256:x", current)))
    with pytest.raises(SealError, match="say which: fingerprints"):
        world.run(replace(PRESENT, goal="retired"))


def test_another_environments_backup_is_refused() -> None:
    with pytest.raises(SealError, match="the backup holds the keys of production, wanted those of staging"):
        World(saved=Backup("production", (record(0),))).run(PRESENT)


def test_another_environments_cluster_is_refused() -> None:
    items = [backups.secret(record(0), "production"), backups.secret(record(1), "production")]
    with pytest.raises(SealError) as caught:
        lifecycle.observed(items, "staging", "context x")
    assert str(caught.value) == (
        "context x has a sealing key of production, wanted staging: it is another cluster than meant. Check the context of"
        " the kubeconfig"
    )


def test_a_key_that_a_controller_made_is_taken_where_the_cluster_is_known_or_it_is_asked_for() -> None:
    theirs = backups.secret(record(0), "staging")
    del theirs["metadata"]["annotations"]
    for saved in (None, Backup("staging", (record(1),))):
        with pytest.raises(SealError) as caught:
            lifecycle.observed([theirs], "staging", "context x", saved)
        name = record(0).name
        assert str(caught.value) == (
            "context x has sealing keys that a controller made, and nothing tells that they are those of staging:"
            f" kube-system/{name} ({key().fingerprint}). No backup of staging has one of them. Is the context of the"
            " kubeconfig that of staging? If it is, take them once with adopt (sealed_secrets_adopt_keys)"
        )
        assert lifecycle.observed([theirs], "staging", "x", saved, adopt=True) == (record(0),)
    assert lifecycle.observed([theirs], "staging", "x", Backup("staging", (record(0),))) == (record(0),)
    ours = backups.secret(record(1), "staging")
    assert lifecycle.observed([theirs, ours], "staging", "x") == (record(0), record(1))
    assert lifecycle.observed([], "staging", "x") == ()


BOTH, OTHERS = ("age1admin", "age1safe"), ("age1admin", "age1new")


@pytest.mark.parametrize(("noted", "shown"), [(BOTH, "age1admin\nage1safe"), ((), "not noted in it")])
def test_other_recipients_have_the_backup_written_once(noted: tuple[str, ...], shown: str) -> None:
    world = World((record(0),), Backup("staging", (record(0),), noted))
    wanted = replace(PRESENT, recipients=OTHERS)
    plan = world.run(wanted)
    (change,) = plan.changes
    assert (change.action, change.before, change.detail) == ("encrypt backup anew", shown, "age1admin\nage1new")
    assert plan.write_backup
    assert plan.apply == ()
    again = world.run(wanted)
    assert (again.changes, again.write_backup) == ((), False)


def test_a_verified_backup_is_encrypted_to_those_that_are_named() -> None:
    world = World((record(0),), Backup("staging", (record(0),), BOTH))
    verified = replace(PRESENT, goal="verified")
    assert world.run(verified).changes == ()
    assert world.run(replace(verified, recipients=BOTH)).changes == ()
    with pytest.raises(
        SealError,
        match="out of date: wanted it encrypted to age1admin, age1new, found age1admin, age1safe: run this with",
    ):
        world.run(replace(verified, recipients=OTHERS))


def test_check_mode_makes_no_key() -> None:
    plan = lifecycle.plan(PRESENT, [], None, NOW, None)
    assert actions(plan) == ["generate"]
    assert not plan.write_backup
    assert plan.apply == ()


class TestVerified:
    wanted = replace(PRESENT, goal="verified")

    def test_a_backup_that_has_it_all_is_good(self) -> None:
        records = (record(0, "retired"), record(1))
        assert World(records, Backup("staging", records)).run(self.wanted).changes == ()

    @pytest.mark.parametrize(
        ("cluster", "saved", "words"),
        [
            ((record(0), record(1)), (record(0),), "the active key .* is not in the backup: it would be lost"),
            (
                (record(0, "compromised"), record(1)),
                (record(0), record(1)),
                "is compromised, the backup has it as active",
            ),
            ((record(0),), (record(0), record(1)), "the active key .* of the backup is not in the cluster"),
            ((), (record(0),), "the namespace kube-system holds no sealing key"),
            ((record(0),), None, "is not in the backup"),
        ],
    )
    def test_a_stale_one_is_told(
        self, cluster: tuple[KeyRecord, ...], saved: tuple[KeyRecord, ...] | None, words: str
    ) -> None:
        world = World(cluster, None if saved is None else Backup("staging", saved))
        with pytest.raises(SealError, match=f"the backup of staging is out of date: .*{words}"):
            world.run(self.wanted)


STATES = st.dictionaries(st.integers(0, 3), st.sampled_from(backups.STATES), max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    cluster=STATES,
    saved=STATES,
    noted=st.sampled_from([(), BOTH, OTHERS]),
    steps=st.integers(0, 5),
    again=st.booleans(),
)
def test_killed_after_any_step_the_next_run_finishes(
    cluster: dict[int, State], saved: dict[int, State], noted: tuple[str, ...], steps: int, *, again: bool
) -> None:
    """Whatever both places held: afterwards each active key is in both, and no key is more trusted than before."""
    world = World(
        tuple(record(number, state) for number, state in cluster.items()),
        Backup("staging", tuple(record(number, state) for number, state in saved.items()), noted) if saved else None,
    )
    before = {**{record(n).fingerprint: s for n, s in saved.items()}}
    for number, state in cluster.items():
        name = record(number).fingerprint
        before[name] = max(state, before.get(name, state), key=backups.STATES.index)
    later = NOW + timedelta(days=4)
    wanted = replace(PRESENT, recipients=BOTH)
    world.run(wanted, later, steps=steps)
    if again:
        world.run(wanted, later, steps=steps)
    world.run(wanted, later)
    assert actions(world.plan(wanted, later)) == []
    assert world.saved is not None
    assert world.saved.recipients == BOTH
    in_backup = {one.fingerprint: one.state for one in world.saved.records}
    assert {name: state for name, state in in_backup.items() if name in before} == before
    active = {name for name, state in in_backup.items() if state == "active"}
    assert active == {name for name, state in world.states().items() if state == "active"}
    assert world.saved.current is not None


def test_the_digest_changes_with_the_keys_that_are_loaded() -> None:
    assert lifecycle.digest([record(0), record(1)]) == lifecycle.digest([record(1), record(0), record(2, "retired")])
    assert lifecycle.digest([record(0)]) != lifecycle.digest([record(0), record(1)])

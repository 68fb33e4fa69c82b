# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From Ansible's variables and OpenSSH's options to a target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import TargetError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.target import (
    DEFAULT_KNOWN_HOSTS,
    SshTarget,
    parse_arguments,
    target_from_vars,
)

BASE = {"inventory_hostname": "node1", "ansible_host": "192.0.2.10", "ansible_user": "admin"}
HOME = str(Path.home())


def target(*, config: Path | None = None, defaults: dict[str, Any] | None = None, **variables: Any) -> SshTarget:
    return target_from_vars(BASE | variables, defaults=defaults, ssh_config=str(config) if config else None)


def test_the_plain_case() -> None:
    made = target()
    assert (made.host, made.port, made.user, made.name, made.policy) == ("192.0.2.10", 22, "admin", "node1", "reject")
    assert made.known_hosts == (f"{HOME}/.ssh/known_hosts", f"{HOME}/.ssh/known_hosts2", DEFAULT_KNOWN_HOSTS[2])
    assert (made.allow_agent, made.become, made.jump) == (False, False, None)
    assert made.label == "node1 (admin@192.0.2.10 port 22)"


def test_the_inventory_name_is_the_address_where_there_is_no_other() -> None:
    assert target_from_vars({"inventory_hostname": "node1"}, ssh_config=None).host == "node1"


def test_secrets_do_not_show_in_a_representation() -> None:
    made = target(
        ansible_password="s3cret", ansible_become_password="s3cret", ansible_ssh_private_key_passphrase="s3cret"
    )
    assert (made.password, made.become_password, made.key_passphrase) == ("s3cret",) * 3
    assert "s3cret" not in repr(made)


def test_the_last_of_ansibles_synonyms_wins() -> None:
    made = target(ansible_ssh_host="192.0.2.11", ansible_ssh_port="2222", ansible_ssh_user="root")
    assert (made.host, made.port, made.user) == ("192.0.2.11", 2222, "root")


def test_variables_win_over_defaults_and_empty_ones_do_not_count() -> None:
    defaults = {"user": "config", "port": 2200, "key_file": "~/k", "timeout": 33}
    made = target(defaults=defaults, ansible_port="", ansible_ssh_private_key_file=None)
    assert (made.user, made.port, made.key_file, made.timeout) == ("admin", 2200, f"{HOME}/k", 33.0)


def test_options_of_openssh_count_first_one_first() -> None:
    made = target(
        ansible_ssh_args="-o ControlMaster=auto -o UserKnownHostsFile=/a -C",
        ansible_ssh_common_args="-o UserKnownHostsFile=/b -o 'StrictHostKeyChecking accept-new' -i /k1 -i /k2",
        ansible_ssh_extra_args="-oHostKeyAlias=alias -o GlobalKnownHostsFile=none -o ConnectTimeout=7",
    )
    assert made.known_hosts == ("/a",)
    assert made.policy == "accept-new"
    assert made.more_key_files == ("/k1", "/k2")
    assert (made.key_name, made.timeout) == ("alias", 7.0)


def test_several_known_hosts_files_and_tokens() -> None:
    made = target(ansible_port=2222, ansible_ssh_common_args="-o UserKnownHostsFile='~/kh_%h %d/x_%p'")
    assert made.known_hosts[:2] == (f"{HOME}/kh_192.0.2.10", f"{HOME}/x_2222")
    assert made.key_name == "[192.0.2.10]:2222"


@pytest.mark.parametrize(
    ("variables", "policy"),
    [
        ({"ansible_ssh_common_args": "-o StrictHostKeyChecking=no"}, "off"),
        ({"ansible_host_key_checking": False}, "off"),
        ({"ansible_ssh_host_key_checking": "no"}, "off"),
        ({"ansible_host_key_checking": False, "ansible_ssh_common_args": "-oStrictHostKeyChecking=yes"}, "reject"),
        ({"ansible_host_key_checking": "True"}, "reject"),
        ({"ansible_ssh_common_args": "-o StrictHostKeyChecking=ask"}, "reject"),
    ],
)
def test_host_key_checking_is_what_the_admin_told_openssh(variables: dict[str, Any], policy: str) -> None:
    assert target(**variables).policy == policy


def test_ssh_config_fills_what_is_open(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "Host gw\n  HostName 198.51.100.1\n  User jumper\n  Port 2022\n"
        "Host 192.0.2.*\n  Port 2222\n  User nobody\n  IdentityFile /from/config\n  ProxyJump gw\n"
    )
    made = target(config=config)
    assert (made.port, made.user, made.more_key_files) == (2222, "admin", ("/from/config",))
    assert made.jump is not None
    assert (made.jump.host, made.jump.user, made.jump.port) == ("198.51.100.1", "jumper", 2022)
    assert target(config=config, ansible_port=22).port == 22
    assert target(config=config, ansible_ssh_common_args="-F none").jump is None


def test_an_ssh_config_that_is_not_understood_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("nonsense\n")
    with pytest.raises(TargetError, match="-F /dev/null"):
        target(config=config)


def test_a_chain_of_jump_hosts() -> None:
    made = target(ansible_ssh_common_args="-J a@one:2201,[2001:db8::1]:2202 -o UserKnownHostsFile=/k -i /key")
    assert made.jump is not None
    assert (made.jump.host, made.jump.port, made.jump.known_hosts[0]) == ("2001:db8::1", 2202, "/k")
    assert made.jump.jump is not None
    assert (made.jump.jump.user, made.jump.jump.host, made.jump.jump.port) == ("a", "one", 2201)
    assert made.jump.jump.more_key_files == ("/key",)


@pytest.mark.parametrize(
    "command", ["ssh -W %h:%p -q u@gw", "/usr/bin/ssh -q -p 22 -l u gw -W %h:%p", "ssh -o User=u -W [%h]:%p gw"]
)
def test_the_usual_proxy_command_is_a_jump_host(command: str) -> None:
    made = target(ansible_ssh_common_args=f'-o ProxyCommand="{command}"')
    assert made.jump is not None
    assert (made.jump.user, made.jump.host, made.jump.port) == ("u", "gw", 22)


@pytest.mark.parametrize("command", ["nc -X 5 -x proxy:1080 %h %p", "ssh gw nc %h %p", "ssh -W %h:22 gw"])
def test_other_proxy_commands_are_refused(command: str) -> None:
    with pytest.raises(TargetError, match="ProxyJump=user@gateway"):
        target(ansible_ssh_common_args=f'-o ProxyCommand="{command}"')


def test_a_proxy_of_none_is_none() -> None:
    assert target(ansible_ssh_common_args="-o ProxyCommand=none -o ProxyJump=none").jump is None


def test_becoming_root() -> None:
    assert target(ansible_become=True).become
    assert target(ansible_become="yes", ansible_become_method="ansible.builtin.sudo").become
    assert target_from_vars(BASE, become=True, ssh_config=None).become
    assert not target_from_vars(BASE | {"ansible_become": True}, become=False, ssh_config=None).become


def test_all_problems_come_at_once() -> None:
    with pytest.raises(TargetError) as caught:
        target(
            ansible_host="{{ nowhere }}",
            ansible_connection="local",
            ansible_become=True,
            ansible_become_user="postgres",
            ansible_become_method="doas",
            ansible_ssh_private_key="-----BEGIN",
        )
    for part in ("node1", "{{ nowhere }}", "'local'", "'postgres'", "'doas'", "ansible_ssh_private_key_file"):
        assert part in str(caught.value)


@pytest.mark.parametrize("port", [0, 65536, "ssh", -1])
def test_a_port_that_is_none(port: object) -> None:
    with pytest.raises(TargetError, match="ansible_port"):
        target(ansible_port=port)


def test_arguments_that_cannot_be_split() -> None:
    with pytest.raises(TargetError, match="ansible_ssh_common_args"):
        target(ansible_ssh_common_args="-o 'x")
    with pytest.raises(TargetError, match="StrictHostKeyChecking=maybe"):
        target(ansible_ssh_common_args="-o StrictHostKeyChecking=maybe")


def test_the_command_line_of_ssh() -> None:
    options, config, rest = parse_arguments(
        ["-4vCp2222", "-oUser=a", "-o", "user b", "-F", "/f", "-L", "1:h:2", "host", "-i", "k", "command"]
    )
    assert options == {"port": ["2222"], "user": ["a"], "identityfile": ["k"]}
    assert (config, rest) == ("/f", ["host", "command"])

# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What looks like a secret is the same for the files that are generated and for those that are checked."""

from __future__ import annotations

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import scaffold
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check import clear_secrets
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError

SECRETS = [
    *("PASSWORD", "DB_PASS", "DB_PASSWORD", "DB_PASSWORD_2", "PASSWORD1", "DBPASSWORD", "DB_PWD", "PASSPHRASE"),
    *("AWS_KEY", "API_KEY", "APIKEY", "apiKey", "PRIVATE_KEY", "SSH_PRIVATE_KEY", "SECRET_KEY", "SECRET_KEY_BASE"),
    *("TOKEN", "apiToken", "authtoken", "CLIENT_SECRET", "clientSecret", "CREDENTIALS", "SENTRY_DSN"),
]
HARMLESS = [
    *("PRIVATE_SUBNET", "TOKEN_URL", "TOKEN_LIFETIME", "MAX_TOKENS", "SECRET_NAME", "PASSWORD_LENGTH", "KEY_ID"),
    *("MONKEY", "KEYBOARD", "COMPASS", "PASSENGERS", "PUBLIC_KEY", "SSH_HOST_KEY", "BYPASS", "PWD", "DOMAIN", "A"),
    *("AWS_ACCESS_KEY_ID", "_", "CREDENTIALS_FILE"),
]
FREE = ["x=", "TOKEN=", "TOKEN=${TOKEN}", "TOKEN=ENC[AES256_GCM,data:eA==]", "URL=postgres://ada:${PASS}@db/x"]


def refused(line: str, *not_secret: str) -> bool:
    try:
        scaffold.parse_variables(line, ".env.staging", not_secret)
    except FluxError as error:
        return "looks like a secret" in str(error)
    return False


def found(line: str) -> list[str]:
    """What the check says of a line, in a file of variables and in a ConfigMap."""
    name, _unused, value = line.partition("=")
    in_object = clear_secrets.in_object({"apiVersion": "v1", "kind": "ConfigMap", "data": {name: value}})
    rules = [rule for _line, rule, _said in clear_secrets.in_file(".env.staging", line.encode())]
    return [*rules, *(rule for _path, rule, _said in in_object)]


@pytest.mark.parametrize("line", [*(f"{name}=1" for name in SECRETS), "URL=postgres://ada:hunter2@db/x"])
def test_a_secret_is_one_wherever_it_stands(line: str) -> None:
    assert refused(line)
    assert found(line) == ["secret-in-clear", "secret-in-configmap"]


@pytest.mark.parametrize("line", [*(f"{name}=1" for name in HARMLESS), *FREE])
def test_what_is_none_is_none_anywhere(line: str) -> None:
    assert not refused(line)
    assert found(line) == []


def test_who_knows_better_says_so() -> None:
    assert not refused("IMAGE_PULL_SECRET=registry", "IMAGE_PULL_SECRET")
    assert refused("IMAGE_PULL_SECRET=registry", "OTHER")

# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The thin layer between Ansible and the engine: options in (checked, plain Python), engine, result out.

Private to stagecraft.gitops.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.stagecraft.gitops.plugins.plugin_utils import _host_engine
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import LibraryMissingError

_ENVIRONMENT = "stagecraft_environment"


@dataclass(frozen=True)
class ArgumentSpec:
    """The options of an action, as AnsibleModule would take them."""

    options: Mapping[str, Mapping[str, Any]]
    mutually_exclusive: Sequence[Sequence[str]] = ()
    required_together: Sequence[Sequence[str]] = ()
    required_one_of: Sequence[Sequence[str]] = ()
    required_if: Sequence[Sequence[Any]] = ()
    required_by: Mapping[str, Sequence[str]] = field(default_factory=dict)


def own_variables(action: ActionBase, task_vars: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the variables of the host that a task runs on: of the one it is delegated to, where it is."""
    if not action._task.delegate_to:
        return task_vars
    own: Mapping[str, Any] = (task_vars.get("ansible_delegated_vars") or {}).get(action._task.delegate_to) or {}
    return own


def plain(value: Any) -> Any:
    """Return `value` with Ansible's tagged and lazy types replaced by Python's own, all the way down."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    return value


def refuse(problems: Sequence[str]) -> None:
    """Raise AnsibleActionFail with all of the problems that a planner has found, if any."""
    if problems:
        raise AnsibleActionFail("nothing was changed:\n" + "\n".join(f"- {problem}" for problem in problems))


def given(value: Any) -> Any:
    """Return a copy of options without those that were not given (None), all the way down."""
    if isinstance(value, Mapping):
        return {key: given(item) for key, item in value.items() if item is not None}
    return [given(item) for item in value] if isinstance(value, list) else value


class EngineAction(ActionBase):  # type: ignore[misc]  # ansible-core has no type information
    """An action that is a thin front of an engine.

    A subclass names its `argument_spec` and the engine's `errors`, and returns its result from `act`.
    """

    _supports_check_mode = True
    TRANSFERS_FILES = False

    argument_spec: ClassVar[ArgumentSpec]
    #: Exceptions of the engine whose text is the message for the admin.
    errors: ClassVar[tuple[type[Exception], ...]]

    @abstractmethod
    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Do the work and return the result. `options` are checked and plain; `task_vars` are Ansible's own."""

    @property
    def check_mode(self) -> bool:
        """Say whether nothing may be changed."""
        return bool(self._task.check_mode)

    def variables(self, names: Iterable[str], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of the play's variables called `names` that are set, templated and plain."""
        return {name: plain(self._templar.template(task_vars[name])) for name in names if name in task_vars}

    def environment(self, options: Mapping[str, Any], task_vars: Mapping[str, Any]) -> str:
        """Return the environment's name, from the option or the play. Raises AnsibleActionFail where neither has it."""
        name = options["environment"] or self.variables([_ENVIRONMENT], task_vars).get(_ENVIRONMENT)
        if not name:
            raise AnsibleActionFail(
                f"wanted the environment's name, found neither the option environment nor {_ENVIRONMENT}"
            )
        return str(name)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check the options, call `act`, and turn an engine's error into a failed task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = self._options()
        try:
            result.update(self.act(options, task_vars or {}))
        except self.errors as error:
            # Our texts are whole sentences. Ansible would append the text of every cause to them, the same one included.
            raise AnsibleActionFail(str(error)) from None
        except LibraryMissingError as error:
            raise AnsibleActionFail(str(error)) from error
        result.setdefault("changed", False)
        return result

    def _options(self) -> dict[str, Any]:
        spec = self.argument_spec
        validator = ArgumentSpecValidator(
            dict(spec.options),
            mutually_exclusive=spec.mutually_exclusive,
            required_together=spec.required_together,
            required_one_of=spec.required_one_of,
            required_if=spec.required_if,
            required_by=dict(spec.required_by),
        )
        checked = validator.validate(plain(self._task.args))
        if checked.error_messages:
            raise AnsibleActionFail(f"{self._task.action}: " + "; ".join(checked.error_messages))
        options: dict[str, Any] = plain(checked.validated_parameters)
        return options


class ControllerAction(EngineAction):
    """An action that does all its work on the controller and needs no connection to the host."""

    _requires_connection = False


@dataclass(frozen=True)
class HostEngine:
    """An engine that runs on hosts, and the module that is its other front.

    `function` is ``MODULE.NAME`` in the first of the `packages` of ``module_utils`` that it needs; it takes the module's
    options, and whether this is check mode. `error` names the exception whose text is meant for the admin.
    """

    module: str
    packages: tuple[str, ...]
    function: str
    error: str


class HostAction(EngineAction):
    """An action that does part of its work on the host, by modules."""

    def run_module(self, name: str, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Run a module on the host, in check mode if the task is, and return its result, a failed one too."""
        result: dict[str, Any] = self._execute_module(
            module_name=name, module_args=dict(arguments), task_vars=dict(task_vars)
        )
        return result

    def run_engine(
        self, engine: HostEngine, options: Mapping[str, Any], task_vars: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Run an engine on the host and return its answer; ``failed`` and ``msg`` where it raised its own error.

        Where Ansible has no pipelining, so that standard input is not ours to use, or where the host's Python is still to
        be discovered, the module does the same more slowly.
        """
        interpreter = self._interpreter(task_vars)
        if not interpreter or not self._is_pipelining_enabled("new"):
            return self.run_module(engine.module, options, task_vars)
        command = _host_engine.command(interpreter, self._compute_environment_string())
        sent = _host_engine.job(
            engine.packages, engine.function, engine.error, {"options": options, "check": self.check_mode}
        )
        done = self._low_level_execute_command(command, in_data=sent)
        try:
            return _host_engine.answer(done["rc"], done["stdout"], done["stderr"])
        except _host_engine.HostEngineError as error:
            raise AnsibleActionFail(f"{engine.module}: {error}") from None

    def _interpreter(self, task_vars: Mapping[str, Any]) -> str:
        """Return the path of the host's Python, or "" where Ansible has still to discover it."""
        own = own_variables(self, task_vars)
        known = (own.get("ansible_facts") or {}).get("discovered_interpreter_python")
        configured = constants.config.get_config_value("INTERPRETER_PYTHON", variables=dict(own))
        for candidate in (plain(self._templar.template(configured)), known):
            # "/usr/bin/env python3" is a command line, which the module knows how to start.
            if isinstance(candidate, str) and candidate.startswith("/") and " " not in candidate:
                return candidate
        return ""

"""A workflow's values as one process sees them: environment, home and folder applied at the time of use.

Rows of the database keep `$NAME` unresolved, so a secret is never stored and every process uses its own environment.
Secret values are wrapped; they appear in no repr, message or log.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from pydantic import SecretStr

from symphony.domain.errors import ConfigError
from symphony.workflow.findings import INVALID, KeyPath, Places, dotted
from symphony.workflow.loader import LoadedWorkflow
from symphony.workflow.schema import Workflow
from symphony.workflow.schema.repository import is_remote
from symphony.workflow.schema.tracker import INVALID_TRACKER
from symphony.workflow.variables import expand_path, referenced

MISSING_SECRET = "missing_tracker_secret"  # noqa: S105 (a category's name)


@dataclass(frozen=True, slots=True)
class Provider:
    """The adapter's keys, resolved; secrets apart from the rest, so that nothing prints them by accident."""

    kind: str
    values: Mapping[str, Any] = field(repr=False)
    secrets: Mapping[str, SecretStr]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A workflow together with an environment and the folder that relative paths start from."""

    workflow: Workflow
    places: Places = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    base_dir: Path

    def workspace_root(self, *, home: Path) -> Path:
        """Give the absolute folder of the workspaces; `home` is SYMPHONY_HOME.

        Raises:
            ConfigError: a variable in the path is not set.
        """
        root = self.workflow.workspace.root
        if root is not None:
            return self._path(root, ("workspace", "root"))
        if self.workflow.repository is not None:
            return home.absolute() / "workspaces" / self.workflow.name
        return Path(tempfile.gettempdir()).absolute() / "symphony_workspaces"

    def repository_url(self) -> str | None:
        """Give the url for git: a local path made absolute, a url untouched, None without a repository.

        Raises:
            ConfigError: a variable in it is not set.
        """
        if self.workflow.repository is None:
            return None
        path: KeyPath = ("repository", "url")
        url = self.workflow.repository.url
        if variable := referenced(url):
            url = self._variable(variable, path, INVALID)
        return url if is_remote(url) else str(self._path(url, path))

    def readable_paths(self) -> tuple[Path, ...]:
        """Give `sandbox.read` as absolute paths.

        Raises:
            ConfigError: a variable in one is not set.
        """
        read = self.workflow.sandbox.read
        return tuple(self._path(text, ("sandbox", "read", number)) for number, text in enumerate(read))

    def tracker_provider(self) -> Provider:
        """Give the adapter's keys with defaults, fallbacks and references resolved.

        Raises:
            ConfigError: `missing_tracker_secret`, or `invalid_tracker_config` for another key.
        """
        profile, written = self.workflow.tracker.profile, self.workflow.tracker.provider
        values: dict[str, Any] = {**profile.defaults, **_without_nulls(written)}
        for name, variable in profile.fallbacks.items():
            if name not in values and self.environ.get(variable):
                values[name] = self.environ[variable]
        secrets: dict[str, SecretStr] = {}
        for name in profile.secrets:
            secrets[name] = self._secret(name, values.pop(name, None))
        for name in profile.optional_secrets:
            values.pop(name, None)
            if (secret := self.tracker_secret(name)) is not None:
                secrets[name] = secret
        for name, value in values.items():
            path: KeyPath = ("tracker", "provider", name)
            if name in profile.paths:
                values[name] = self._path(value, path, INVALID_TRACKER)
            elif reference := referenced(value):
                values[name] = self._variable(reference, path, INVALID_TRACKER)
        for name in profile.required:
            if not values.get(name):
                self._fail(("tracker", "provider", name), "is required", INVALID_TRACKER)
        return Provider(self.workflow.tracker.kind, values, secrets)

    def tracker_secret(self, name: str) -> SecretStr | None:
        """Give one of the adapter's optional secrets, whatever else of its keys this process lacks; None: not named.

        Raises:
            ConfigError: `missing_tracker_secret`: it is named and not there.
        """
        value = self.workflow.tracker.provider.get(name)
        if value is None:
            value = self.environ.get(self.workflow.tracker.profile.fallbacks.get(name, "")) or None
        return self._secret(name, value) if value is not None else None

    def secret_variables(self) -> frozenset[str]:
        """Name the variables that hold the tracker's secrets, which no agent inherits."""
        profile, written = self.workflow.tracker.profile, self.workflow.tracker.provider
        secret = (*profile.secrets, *profile.optional_secrets)
        names = [profile.fallbacks.get(name) for name in secret]
        names += [referenced(written.get(name)) for name in secret]
        return frozenset(name for name in names if name)

    def _secret(self, name: str, value: Any) -> SecretStr:
        path: KeyPath = ("tracker", "provider", name)
        if variable := referenced(value):
            return SecretStr(self._variable(variable, path, MISSING_SECRET))
        if not value or not str(value).strip():
            fallback = self.workflow.tracker.profile.fallbacks.get(name)
            self._fail(path, "is required", MISSING_SECRET, f"set {fallback}" if fallback else None)
        return SecretStr(str(value))

    def _path(self, text: str, path: KeyPath, category: str = INVALID) -> Path:
        def missing(variable: str) -> ConfigError:
            return self._error(path, f"needs {variable}, which is not set", category)

        return expand_path(text, environ=self.environ, base=self.base_dir, missing=missing)

    def _variable(self, name: str, path: KeyPath, category: str) -> str:
        value = self.environ.get(name, "")
        if not value.strip():
            self._fail(path, f"needs ${name}, which is not set", category, f"set {name} in the environment")
        return value

    def _fail(self, path: KeyPath, what: str, category: str, cure: str | None = None) -> NoReturn:
        raise self._error(path, what, category, cure)

    def _error(self, path: KeyPath, what: str, category: str, cure: str | None = None) -> ConfigError:
        return self.places.finding(category, path, f"{dotted(path)} {what}", cure=cure).as_error()


def resolve(loaded: LoadedWorkflow, *, environ: Mapping[str, str], base_dir: Path) -> Resolved:
    """Bind a workflow to an environment; nothing is read from it before a value is asked for."""
    return Resolved(loaded.workflow, loaded.places, environ, base_dir)


def _without_nulls(provider: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in provider.items() if value is not None}

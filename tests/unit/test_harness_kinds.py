"""What is found in made-up repositories of the common kinds: commands, caches, and the files behind the check."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from symphony.local.harness import contract, make
from symphony.local.harness.bench import Remote
from symphony.local.harness.folder import Folder
from symphony.local.harness.guards import protected
from symphony.local.harness.kinds import layout_of
from symphony.workflow.findings import NOT_IN_THIS_BUILD
from symphony.workflow.loader import parse
from symphony.workflow.prompt import validate_template

PY_TEST = {"tests/test_a.py": "def test_a():\n    assert True\n"}
VENV = "python3 -m venv .venv && .venv/bin/pip install --quiet "
REPOSITORIES: dict[str, tuple[dict[str, str], str | None, list[str], set[str]]] = {
    "pip": (
        {"requirements.txt": "flask\n", "requirements-dev.txt": "pytest\n", **PY_TEST, "tests/conftest.py": ""},
        f"{VENV}-r requirements.txt -r requirements-dev.txt",
        [".venv/bin/python -m pytest"],
        {"**/conftest.py", "requirements.txt", "requirements-dev.txt"},
    ),
    "pip with extras": (
        {
            "pyproject.toml": '[project]\nname = "a"\n[project.optional-dependencies]\ndev = ["pytest"]\n',
            **PY_TEST,
            "tox.ini": "",
        },
        f"{VENV}-e '.[dev]'",
        [".venv/bin/python -m pytest"],
        {"pyproject.toml", "tox.ini"},
    ),
    "plain python": (
        {"a.py": "", "test_a.py": "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): ...\n"},
        None,
        ["python3 -m unittest discover"],
        set(),
    ),
    "uv": (
        {"pyproject.toml": '[project]\nname = "a"\n', "uv.lock": "", **PY_TEST},
        "uv sync --frozen",
        ["uv run python -m pytest"],
        {"uv.lock", "pyproject.toml"},
    ),
    "poetry": (
        {"pyproject.toml": '[tool.poetry]\nname = "a"\n', "poetry.lock": "", **PY_TEST},
        "poetry install --no-interaction",
        ["poetry run python -m pytest"],
        {"poetry.lock", "pyproject.toml"},
    ),
    "npm": (
        {"package.json": '{"scripts": {"test": "jest"}}', "package-lock.json": "{}", "jest.config.js": ""},
        "npm ci",
        ["npm test"],
        {"package.json", "package-lock.json", "jest.config.js"},
    ),
    "npm without anything to fetch": (
        {"package.json": '{"scripts": {"test": "node --test"}}'},
        None,
        ["npm test"],
        {"package.json"},
    ),
    "npm with its own placeholder": (
        {"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'},
        None,
        [],
        {"package.json"},
    ),
    "pnpm": (
        {"package.json": '{"scripts": {"test": "vitest"}, "devDependencies": {"vitest": "1"}}', "pnpm-lock.yaml": ""},
        "pnpm install --frozen-lockfile",
        ["pnpm test"],
        {"package.json", "pnpm-lock.yaml"},
    ),
    "yarn": (
        {"package.json": '{"packageManager": "yarn@4.1.0", "scripts": {"test": "x"}}', "yarn.lock": ""},
        "yarn install --immutable",
        ["yarn test"],
        {"yarn.lock"},
    ),
    "go": (
        {"go.mod": "module a\nrequire b v1\n", "go.sum": "", "a_test.go": ""},
        "go mod download",
        ["go test ./..."],
        {"go.mod", "go.sum"},
    ),
    "rust": (
        {"Cargo.toml": "[package]\n[dependencies]\nx = '1'\n", "Cargo.lock": "", "build.rs": ""},
        "cargo fetch --locked",
        ["cargo test --locked"],
        {"Cargo.toml", "Cargo.lock", "build.rs"},
    ),
    "maven": (
        {"pom.xml": "", "mvnw": "", "src/A.java": ""},
        "./mvnw -B -q dependency:go-offline",
        ["./mvnw -B test"],
        {"pom.xml", "mvnw"},
    ),
    "gradle": (
        {"build.gradle.kts": "", "gradlew": "", "src/A.kt": ""},
        "./gradlew --no-daemon testClasses",
        ["./gradlew --no-daemon test"],
        {"build.gradle.kts", "gradlew"},
    ),
    "ruby": (
        {"Gemfile": "gem 'rspec'", "Gemfile.lock": "", "spec/a_spec.rb": "", "spec/spec_helper.rb": ""},
        "bundle config set --local path vendor/bundle && bundle install",
        ["bundle exec rspec"],
        {"Gemfile", "**/spec_helper.rb"},
    ),
    "php": (
        {"composer.json": "{}", "composer.lock": "{}", "phpunit.xml.dist": ""},
        "composer install --no-interaction --no-progress",
        ["vendor/bin/phpunit"],
        {"composer.json", "phpunit.xml.dist"},
    ),
    "dotnet": (
        {"A.sln": "", "T/T.csproj": '<PackageReference Include="Microsoft.NET.Test.Sdk"/>'},
        "dotnet restore",
        ["dotnet test --no-restore"],
        {"A.sln", "**/*.csproj"},
    ),
    "make": (
        {"Makefile": "all: a\ntest: all\n\t./scripts/check.sh a\n", "scripts/check.sh": "", "a.c": ""},
        None,
        ["make test"],
        {"Makefile", "scripts/check.sh"},
    ),
    "cmake": (
        {"CMakeLists.txt": "enable_testing()\n", "a.cpp": ""},
        None,
        ["cmake -S . -B build && cmake --build build && ctest --test-dir build --output-on-failure"],
        {"CMakeLists.txt"},
    ),
    "make over pip": (
        {"Makefile": "test:\n\tpytest -q\n", "requirements.txt": "pytest\n", **PY_TEST},
        f"{VENV}-r requirements.txt",
        ['PATH="$PWD/.venv/bin:$PATH" make test'],
        {"Makefile", "requirements.txt"},
    ),
    "make with a setup of its own": (
        {"Makefile": "deps:\n\tnpm ci\ntest: deps\n\tnpm test\n", "package.json": "{}", "package-lock.json": "{}"},
        "make deps",
        ["make test"],
        {"Makefile"},
    ),
    "two kinds in folders": (
        {"api/go.mod": "module a\n", "api/a_test.go": "", "web/package.json": '{"scripts": {"test": "x"}}'},
        None,
        ["(cd api && go test ./...)", "(cd web && npm test)"],
        {"**/package.json", "**/go.mod"},
    ),
    "nothing known": ({"README.md": "hello"}, None, [], set()),
}


def made(folder: Path, files: dict[str, str]) -> Folder:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return Folder(folder)


@pytest.mark.parametrize("kind", REPOSITORIES)
def test_commands_and_guards_are_found_and_the_file_that_names_them_loads(tmp_path: Path, kind: str) -> None:
    files, setup, checks, guards = REPOSITORIES[kind]
    folder = made(tmp_path, files)
    layout = layout_of(folder)
    assert (layout.setup, [check.run for check in layout.checks]) == (setup, checks)
    found = protected(folder, layout)
    assert guards <= set(found), found
    text = contract.text_of(contract.Facts("acme", Remote(None, None, "main"), layout, found, has_agents_md=True))
    loaded = parse(text, place="WORKFLOW.md")
    assert [finding for finding in loaded.warnings if finding.category != "nothing_lands"] == []
    assert validate_template(loaded.prompt_template, place="WORKFLOW.md", first_line=loaded.prompt_line) == []
    workflow = loaded.workflow
    assert (workflow.agent.kind, workflow.agent.model) == ("openai", "gpt-6.2-sol") and "model:" in text
    assert [check.run for check in workflow.proof.checks] == checks
    assert (workflow.proof.setup.run if workflow.proof.setup else None) == setup
    assert workflow.proof.setup is None or (workflow.proof.setup.cache and workflow.proof.setup.network == "on")
    assert set(found) < set(workflow.proof.protect) and "WORKFLOW.md" in workflow.proof.protect
    assert NOT_IN_THIS_BUILD not in {finding.category for finding in loaded.warnings}


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("https://user:token@git.example.org/a.git", "https://git.example.org/a.git"),
        ("https://token@git.example.org/a.git", "https://git.example.org/a.git"),
        ("ssh://git@git.example.org/a.git", "ssh://git@git.example.org/a.git"),
        ("git@git.example.org:a.git", "git@git.example.org:a.git"),
        ("../a b: #x.git", "../a b: #x.git"),
    ],
)
def test_a_remote_is_written_without_its_password_and_reads_back(tmp_path: Path, url: str, written: str) -> None:
    facts = contract.Facts("acme", Remote("origin", url, "trunk"), layout_of(made(tmp_path, {})), (), has_agents_md=False)
    repository = parse(contract.text_of(facts), place="WORKFLOW.md").workflow.repository
    assert repository is not None and (repository.url, repository.branch) == (written, "trunk")


def test_code_on_github_lands_by_plain_git(tmp_path: Path) -> None:
    remote = Remote("origin", "git@github.com:acme/a.git", "main")
    text = contract.text_of(contract.Facts("acme", remote, layout_of(made(tmp_path, {})), (), has_agents_md=False))
    repository = parse(text, place="WORKFLOW.md").workflow.repository
    assert repository is not None and repository.effective_forge == "git"


@pytest.mark.parametrize("text", ["true", "1.0", "a: b", "- x", "#x", "a #b", "", " x", "1e3", "'", "é", "*", "~", "a\nb"])
def test_a_scalar_reads_back_as_itself(text: str) -> None:
    import yaml

    assert yaml.safe_load(f"key: {contract.scalar(text)}") == {"key": text}
    assert yaml.safe_load(f"[{contract.scalar(text)}]") == [text]


def test_a_recipe_includes_what_its_target_needs_and_calls() -> None:
    text = (
        "a := b\ntest: build | x\n\t$(MAKE) inner\nbuild:\n\tcc -c a.c\n\ninner: ; true\ninner:\n\tpytest\n.PHONY: test\n"
    )
    said = make.recipe_of(text, "test")
    assert "cc -c" in said and "pytest" in said
    assert "a" not in make.rules(text)


def test_names_that_no_document_can_hold_and_folders_that_a_shell_would_split(tmp_path: Path) -> None:
    (tmp_path / "my app").mkdir()
    (tmp_path / "my app" / "go.mod").write_text("module a\n")
    (tmp_path / "my app" / "a_test.go").write_text("")
    (tmp_path / os.fsdecode(b"requirements\xff.txt")).write_text("")
    layout = layout_of(Folder(tmp_path))
    assert [check.run for check in layout.checks] == ["(cd 'my app' && go test ./...)"]
    assert protected(Folder(tmp_path), layout) == ("**/go.mod",)


def test_links_and_dependencies_are_not_looked_at(tmp_path: Path) -> None:
    made(tmp_path / "elsewhere", {"secret.txt": "x"})
    folder = made(tmp_path / "repo", {"node_modules/x/package.json": "{}", "a.py": ""})
    (tmp_path / "repo" / "link.txt").symlink_to(tmp_path / "elsewhere" / "secret.txt")
    assert folder.files == ("a.py",)

"""The files behind a check: whoever changes one of them can make a red check green without mending anything.

They are what `symphony init` writes into `proof.protect`: build and test configuration, CI, and the scripts that the
test commands name. A name that occurs below the top, too, is written as `**/NAME`.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from symphony.local.harness import make
from symphony.local.harness.folder import Folder
from symphony.local.harness.kinds import Layout

ALWAYS = ("WORKFLOW.md", "AGENTS.md", ".github/**", ".gitlab-ci.yml")
_CI_FOLDERS = (".circleci", ".buildkite", ".woodpecker", ".gitea", ".forgejo", ".teamcity")
_NAMES = (
    "azure-pipelines.yml", ".travis.yml", "Jenkinsfile", "bitbucket-pipelines.yml", ".drone.yml", ".woodpecker.yml",
    "appveyor.yml", ".pre-commit-config.yaml",
    "Makefile", "GNUmakefile", "makefile", "*.mk", "justfile", "Justfile", "Taskfile.yml", "CMakeLists.txt",
    "CMakePresets.json", "CTestConfig.cmake",
    "conftest.py", "pytest.ini", "tox.ini", "noxfile.py", "setup.cfg", "setup.py", "pyproject.toml", "sitecustomize.py",
    ".coveragerc", "requirements*.txt", "uv.lock", "poetry.lock", "Pipfile", "Pipfile.lock", "mypy.ini", "ruff.toml",
    "package.json", "package-lock.json", "pnpm-lock.yaml", "pnpm-workspace.yaml", "yarn.lock", ".npmrc", ".yarnrc.yml",
    "jest.config.*", "jest.setup.*", "vitest.config.*", "vitest.setup.*", "vitest.workspace.*", "vite.config.*",
    "karma.conf.*", ".mocharc*", "ava.config.*", "playwright.config.*", "cypress.config.*", "babel.config.*", ".babelrc*",
    "tsconfig*.json", ".eslintrc*", "eslint.config.*",
    "go.mod", "go.sum", "Cargo.toml", "Cargo.lock", "build.rs", "nextest.toml",
    "pom.xml", "mvnw", "build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts", "gradle.properties",
    "gradlew", "gradle-wrapper.properties", "libs.versions.toml",
    "Gemfile", "Gemfile.lock", "Rakefile", ".rspec", "spec_helper.rb", "rails_helper.rb", "test_helper.rb",
    "composer.json", "composer.lock", "phpunit.xml", "phpunit.xml.dist", "phpunit.dist.xml", "Pest.php",
    "*.sln", "*.slnx", "*.csproj", "*.fsproj", "Directory.Build.props", "Directory.Build.targets",
    "Directory.Packages.props", "*.runsettings", "global.json", "nuget.config", "packages.lock.json",
)  # fmt: skip
_SCRIPT_FOLDERS = ("scripts/", "script/", "bin/", "tools/", "ci/", "hack/")
_WORD = re.compile(r"[\w.@/-]+")


def protected(folder: Folder, layout: Layout) -> tuple[str, ...]:
    """List what `proof.protect` should name for this repository, besides what it names always."""
    found: list[str] = [f"{name}/**" for name in _CI_FOLDERS if any(path.startswith(f"{name}/") for path in folder.files)]
    for pattern in _NAMES:
        there = [path for path in folder.files if fnmatchcase(path.rpartition("/")[2], pattern)]
        found += [path for path in there if "/" not in path]
        if any("/" in path for path in there):
            found.append(f"**/{pattern}")
    found += _scripts(folder, layout)
    return tuple(path for path in dict.fromkeys(found) if path not in ALWAYS)


def _scripts(folder: Folder, layout: Layout) -> list[str]:
    """Give the scripts, and no tests, that the setup and the checks run."""
    said = " ".join([layout.setup or "", *(check.run for check in layout.checks)])
    said += _recipes(folder, said)
    scripts = folder.json("package.json").get("scripts")
    if isinstance(scripts, dict):
        said += " ".join(str(text) for text in scripts.values())
    named = dict.fromkeys(word.removeprefix("./") for word in _WORD.findall(said))
    return [path for path in named if folder.has(path) and _is_script(path)]


def _recipes(folder: Folder, said: str) -> str:
    makefile = folder.has(*make.MAKEFILES)
    text = folder.text(makefile) if makefile else ""
    return " ".join(make.recipe_of(text, target) for target in re.findall(r"\bmake ([\w.-]+)", said))


def _is_script(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.endswith((".sh", ".bash", ".mk")) or "." not in name or path.startswith(_SCRIPT_FOLDERS)

"""Go, Rust, Java, Ruby, PHP and .NET repositories."""

from __future__ import annotations

import re
from collections.abc import Mapping

from symphony.local.harness.folder import Folder
from symphony.local.harness.kind import Kind


def go(folder: Folder) -> Kind | None:
    """Describe a Go module."""
    if not folder.has("go.mod"):
        return None
    depends = re.search(r"^\s*require\b", folder.text("go.mod"), re.M) is not None
    return Kind(
        title="Go",
        language="Go",
        setup="go mod download" if depends else None,
        cache=_there(folder, "go.sum", "go.mod") if depends else (),
        tests=("go test ./...",) if folder.named("*_test.go") else (),
        further=(("vet", "go vet ./..."),),
    )


def rust(folder: Folder) -> Kind | None:
    """Describe a Cargo package or workspace."""
    if not folder.has("Cargo.toml"):
        return None
    locked = " --locked" if folder.has("Cargo.lock") else ""
    depends = re.search(r"^\[(workspace|(dev-|build-)?dependencies)", folder.text("Cargo.toml"), re.M) is not None
    return Kind(
        title="Rust",
        language="Rust",
        setup=f"cargo fetch{locked}" if depends else None,
        cache=_there(folder, "Cargo.lock", "Cargo.toml") if depends else (),
        tests=(f"cargo test{locked}",),
        further=(("lint", f"cargo clippy{locked} -- -D warnings"),),
    )


def maven(folder: Folder) -> Kind | None:
    """Describe a Maven project."""
    if not folder.has("pom.xml"):
        return None
    program = "./mvnw" if folder.has("mvnw") else "mvn"
    return Kind(
        title="Java with Maven",
        language="Java",
        setup=f"{program} -B -q dependency:go-offline",
        cache=tuple(folder.named("pom.xml")),
        tests=(f"{program} -B test",),
    )


def gradle(folder: Folder) -> Kind | None:
    """Describe a Gradle build."""
    files = folder.named("build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts")
    if not any("/" not in path for path in files):
        return None
    program = "./gradlew" if folder.has("gradlew") else "gradle"
    locks = folder.named("gradle.lockfile", "libs.versions.toml", "gradle-wrapper.properties")
    return Kind(
        title="Java with Gradle",
        language="Java",
        setup=f"{program} --no-daemon testClasses",
        cache=(*files, *locks),
        tests=(f"{program} --no-daemon test",),
    )


def ruby(folder: Folder) -> Kind | None:
    """Describe a Bundler project."""
    if not folder.has("Gemfile"):
        return None
    tests: list[str] = []
    if folder.named("*_spec.rb"):
        tests.append("bundle exec rspec")
    if folder.has("bin/rails") and folder.named("*_test.rb"):
        tests.append("bin/rails test")
    elif re.search(r"TestTask|\btask[ (]+:?[\"']?test\b", folder.text("Rakefile")):
        tests.append("bundle exec rake test")
    return Kind(
        title="Ruby with Bundler",
        language="Ruby",
        setup="bundle config set --local path vendor/bundle && bundle install",
        cache=_there(folder, "Gemfile.lock", "Gemfile"),
        tests=tuple(tests),
        further=(("lint", "bundle exec rubocop"),) if "rubocop" in folder.text("Gemfile") else (),
    )


def php(folder: Folder) -> Kind | None:
    """Describe a Composer project."""
    if not folder.has("composer.json"):
        return None
    composer = folder.json("composer.json")
    scripts = composer.get("scripts")
    tests: list[str] = []
    if isinstance(scripts, Mapping) and "test" in scripts:
        tests.append("composer test")
    if "pestphp/pest" in (composer.get("require-dev") or {}):
        tests.append("vendor/bin/pest")
    elif folder.has("phpunit.xml", "phpunit.xml.dist", "phpunit.dist.xml"):
        tests.append("vendor/bin/phpunit")
    return Kind(
        title="PHP with Composer",
        language="PHP",
        setup="composer install --no-interaction --no-progress",
        cache=_there(folder, "composer.lock", "composer.json"),
        tests=tuple(tests),
    )


def dotnet(folder: Folder) -> Kind | None:
    """Describe a .NET solution or project."""
    solutions = [path for path in folder.named("*.sln", "*.slnx") if "/" not in path]
    projects = folder.named("*.csproj", "*.fsproj")
    if not solutions and not any("/" not in path for path in projects):
        return None
    has_tests = any("Microsoft.NET.Test.Sdk" in folder.text(path) for path in projects)
    return Kind(
        title=".NET",
        language="C#" if any(path.endswith(".csproj") for path in projects) else "F#",
        setup="dotnet restore",
        cache=(*solutions, *projects, *folder.named("packages.lock.json", "Directory.Packages.props")),
        tests=("dotnet test --no-restore",) if has_tests else (),
    )


def _there(folder: Folder, *names: str) -> tuple[str, ...]:
    return tuple(name for name in names if folder.has(name))

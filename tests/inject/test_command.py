"""`isthmus inject` as an operator runs it."""

import subprocess
import sys
from pathlib import Path

import yaml

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: echo}\nspec: {containers: [{name: echo, image: echo}]}\n"


def isthmus_inject(*arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "isthmus.cli.main", "inject", "--offline", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)


def test_standard_input_goes_to_standard_output() -> None:
    done = isthmus_inject("-f", "-", "--image", "mine:1", "--discovery-address", "pilot.x:1", text=POD)
    assert done.returncode == 0, done.stderr
    assert "image: mine:1" in done.stdout
    assert '"discoveryAddress":"pilot.x:1"' in done.stdout
    assert not done.stderr


def test_files_are_read_and_written_in_place(tmp_path: Path) -> None:
    file, mesh = tmp_path / "app.yaml", tmp_path / "mesh.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + POD.encode())
    mesh.write_text("defaultConfig: {concurrency: 7}\n")
    done = isthmus_inject("-f", str(file), "-o", str(file), "--mesh-config", str(mesh))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert '{"concurrency":7}' in file.read_text()


def test_what_is_left_out_is_said_on_standard_error() -> None:
    text = POD.replace("spec: {", "spec: {hostNetwork: true, ")
    done = isthmus_inject("-f", "-", text=text)
    assert (done.returncode, done.stdout) == (0, text)
    assert "Pod echo: left without a sidecar" in done.stderr


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(POD)
    command = [
        sys.executable,
        "-m",
        "isthmus.cli.main",
        "inject",
        "--offline",
        "-f",
        str(file),
        "-o",
        str(file),
    ]
    limited = ["sh", "-c", 'trap "" XFSZ; ulimit -f 1; exec "$@"', "sh", *command]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"isthmus: {file} cannot be written: File too large.\n" == done.stderr
    assert file.read_text() == POD
    assert [one.name for one in tmp_path.iterdir()] == ["app.yaml"]


def test_an_error_is_one_sentence_and_prints_nothing_else(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"\xff")
    whole = tmp_path / "config-map.yaml"
    whole.write_text("apiVersion: v1\nkind: ConfigMap\ndata: {mesh: '{}', values: '{}'}\n")
    for arguments, sentence in (
        (["-f", str(tmp_path / "none.yaml")], "none.yaml cannot be read"),
        (["-f", str(bad)], "bad.yaml is not UTF-8"),
        (["-f", "-", "--discovery-address", "x"], "--discovery-address is 'x'"),
        (["-f", "-", "--mesh-config", str(tmp_path / "no.yaml")], "no.yaml cannot be read"),
        (["-f", "-", "--mesh-config", str(whole)], "is an object of kind ConfigMap; write into the file"),
        (["-f", "-", "--values-file", str(whole)], "jsonpath='{.data.values}'"),
        (["-f", "-", "-o", str(tmp_path / "no" / "out.yaml")], "out.yaml cannot be written"),
    ):
        done = isthmus_inject(*arguments, text=POD)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("isthmus: ")
        assert done.stderr.count("\n") == 1
        assert sentence in done.stderr


def test_no_file_is_wrong_usage() -> None:
    assert isthmus_inject().returncode == 2


def test_uninject_undoes_it(tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(isthmus_inject("-f", "-", text=POD).stdout)
    command = [sys.executable, "-m", "isthmus.cli.main", "uninject", "-f", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load(done.stdout) == yaml.safe_load(POD)

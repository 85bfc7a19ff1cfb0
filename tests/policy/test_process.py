"""`isthmus policy` as a process, and its command `check`."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from typer.testing import CliRunner, Result

from isthmus.cli.policy import app
from isthmus.lib.errors import UserError
from isthmus.policy import checks
from tests.policy.building import Json, check_request, denier, denies, policy
from tests.policy.serving import ask

RULES = policy(
    denies('source.cluster == "east"', name="no-east"),
    {"name": "few", "quota": {"max": 5, "window": "1m"}},
    denies("false", dryRun=True),
)


def request_from(cluster: str) -> Json:
    headers = {"X-User": "joe"}
    return {"source": {"cluster": cluster}, "destination.namespace": "demo", "request": {"headers": headers}}


def written(folder: Path, name: str, *documents: Any) -> str:
    file = folder / name
    file.write_text(yaml.safe_dump_all(documents))
    return str(file)


@dataclass(frozen=True, slots=True)
class Server:
    process: asyncio.subprocess.Process
    grpc_port: int
    pages: str


@asynccontextmanager
async def running_server(rules: str) -> AsyncGenerator[Server]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isthmus.cli.main", "policy", "--rules", rules),
        *("--grpc-address", "127.0.0.1:0", "--monitoring-address", "127.0.0.1:0"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20):
            found: dict[str, Any] = {}
            while found.get("event") != "serving":
                found = json.loads(await process.stderr.readline())
        yield Server(process, found["grpc_port"], f"http://127.0.0.1:{found['monitoring_port']}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


async def page(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as response:
        assert response.status == 200
        return await response.text()


async def test_the_process_answers_counts_and_ends_in_good_order(tmp_path: Path) -> None:
    async with (
        running_server(written(tmp_path, "rules.yaml", RULES)) as server,
        aiohttp.ClientSession() as session,
    ):
        answer = CheckResponse.FromString(await ask(server.grpc_port, checks.METHOD, check_request()))
        assert denier(answer) == "demo/guard/no-east"
        assert "source.cluster is absent" in answer.denied_response.body
        assert await page(session, f"{server.pages}/ready") == "ready\n"
        metrics = await page(session, f"{server.pages}/metrics")
        assert 'isthmus_policy_checks_total{answer="denied"} 1.0' in metrics
        assert 'dry_run="false",outcome="denied",rule="demo/guard/no-east"} 1.0' in metrics
        policies = json.loads(await page(session, f"{server.pages}/debug/policyz"))
        assert [one["policy"] for one in policies["inForce"]] == ["demo/guard"]
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await server.process.wait() == 0


def test_check_explains_each_rule_and_its_exit_code_is_the_decision(tmp_path: Path) -> None:
    rules = written(tmp_path, "rules.yaml", RULES)
    east, west = (written(tmp_path, f"{name}.yaml", request_from(name)) for name in ("east", "west"))
    denied = run("check", "-f", east, "-r", rules, "-o", "json")
    found = json.loads(denied.output)
    assert (denied.exit_code, found["deniedBy"], found["status"]) == (1, "demo/guard/no-east", 403)
    assert (found["unasked"], found["connection"]) == (2, False)
    allowed = run("check", "-f", west, "-r", rules)
    assert allowed.exit_code == 0
    lines = [line.split() for line in allowed.output.splitlines()]
    assert [line[:3] for line in lines if line and line[0].startswith("demo/guard/")] == [
        ["demo/guard/no-east", "no", "match"],
        ["demo/guard/few", "matched", "4"],
        ["demo/guard/rule-2", "no", "match"],
    ]
    assert allowed.output.splitlines()[-1] == "allowed"
    assert "does not hold: source.cluster is `west`" in " ".join(allowed.output.split())
    unproved = {"source": {"ip": "10.1.2.3"}, "destination.namespace": "demo"}
    told = run("check", "-f", written(tmp_path, "unproved.yaml", unproved), "-r", rules)
    assert told.exit_code == 1
    assert "This is a connection without requests" in told.output
    assert "`absent: skip` passes" in " ".join(told.output.split())


def test_bad_files_end_in_one_sentence(tmp_path: Path) -> None:
    good = written(tmp_path, "rules.yaml", RULES)
    bad = written(tmp_path, "bad.yaml", policy(denies("nonsense")))
    request = written(tmp_path, "request.yaml", request_from("east"))
    misspelt = written(tmp_path, "misspelt.yaml", {"source": {"clutser": "a"}})
    for arguments, reason in (
        (("check", "-f", request, "-r", bad), "Policy demo/guard: spec.rules[0].when: 1:1: undeclared"),
        (("check", "-f", misspelt, "-r", good), "source.clutser is no attribute"),
        (("check", "-f", str(tmp_path / "none"), "-r", good), "cannot be read"),
        (("--rules", bad), "Policy demo/guard: spec.rules[0].when"),
        (("check", "-f", request, "-r", good, "-o", "xml"), "--output is 'xml'"),
    ):
        error = run(*arguments).exception
        assert isinstance(error, UserError)
        assert reason in str(error)
        assert error.exit_code == (2 if "check" in arguments else 1)

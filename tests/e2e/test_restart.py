"""Requests do not need the control plane."""

import os
import signal
import time

from isthmus.lab.controllers.objects import is_ready
from isthmus.lab.demo.deploy import SYSTEM, complete, until
from isthmus.lab.demo.steps import pods_of, scale
from tests.e2e.conftest import Mesh
from tests.e2e.machine import lab_processes


async def test_killed_control_plane_loses_no_request_and_comes_back(mesh: Mesh) -> None:
    (pilot,) = [process for process in lab_processes() if "/isthmus pilot " in process.command]
    os.kill(pilot.pid, signal.SIGKILL)
    await mesh.observed.sample(300)
    assert mesh.observed.failures() == []
    await until(
        mesh.primary, "Pod", SYSTEM, is_ready, what="A pilot that is ready again", selector="istio=pilot"
    )
    before, start = await pods_of(mesh.remote), time.monotonic()
    await scale(mesh.remote, len(before) + 1)
    await mesh.observed.first(
        lambda answer: answer.cluster == mesh.remote.name and answer.who not in before, start
    )
    assert mesh.observed.failures() == []
    await scale(mesh.remote, len(before))
    await complete(mesh.remote, "echo")

"""Orphans are buried in a process of the test's own, since whoever buries them waits for every child."""

import subprocess
import sys
import textwrap

SCENE = textwrap.dedent("""
    import asyncio, ctypes, os, signal
    from isthmus.agent.reaper import burying_orphans

    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

    def zombies():
        children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
        return [pid for pid in children if " Z " in open(f"/proc/{pid}/stat").read()]

    async def shell(script):
        return await asyncio.create_subprocess_exec("sh", "-c", script, stdin=asyncio.subprocess.PIPE)

    async def scene():
        envoy = await shell("read x; exit 7")
        async with burying_orphans(envoy.pid):
            for _ in range(5):
                parent = await shell("sleep 0.05 & exit 3")
                await parent.wait()
            await asyncio.sleep(0.3)
            print("zombies", zombies())
            envoy.stdin.write(b"\\n")
            print("envoy", await envoy.wait())

    asyncio.run(scene())
""")


def test_orphans_leave_no_zombie_and_envoy_keeps_its_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCENE], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["zombies []", "envoy 7"], done.stderr

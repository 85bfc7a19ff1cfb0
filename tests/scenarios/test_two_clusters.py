from pathlib import Path

from tests.scenarios.mesh import proxy_of, running_pilot, two_clusters


async def test_a_proxy_gets_the_endpoints_of_all_clusters_as_they_join_change_and_leave(
    tmp_path: Path,
) -> None:
    async with two_clusters() as mesh:
        await mesh.west.serve_echo("10.1.0.1")
        await mesh.east.serve_echo("10.2.0.1")
        async with running_pilot(mesh.west.server, tmp_path) as pilot, proxy_of(pilot) as proxy:
            assert await proxy.addresses() == ["10.1.0.1"]
            await mesh.join_east()
            await proxy.until("10.1.0.1", "10.2.0.1")
            await mesh.east.move_echo("10.2.0.1", "10.2.0.2")
            assert await proxy.addresses() == ["10.1.0.1", "10.2.0.1", "10.2.0.2"]
            await mesh.leave("east")
            assert await proxy.addresses() == ["10.1.0.1"]
            await mesh.join_east()
            await proxy.until("10.1.0.1", "10.2.0.1", "10.2.0.2")


async def test_a_cluster_registered_before_the_start_is_in_the_first_answer(tmp_path: Path) -> None:
    async with two_clusters() as mesh:
        await mesh.west.serve_echo("10.1.0.1")
        await mesh.east.serve_echo("10.2.0.1")
        await mesh.join_east()
        async with running_pilot(mesh.west.server, tmp_path) as pilot, proxy_of(pilot) as proxy:
            assert await proxy.addresses() == ["10.1.0.1", "10.2.0.1"]


async def test_sigterm_ends_the_control_plane_with_exit_code_0(tmp_path: Path) -> None:
    async with two_clusters() as mesh, running_pilot(mesh.west.server, tmp_path) as pilot:
        await pilot.xds_port()
        pilot.process.terminate()
        assert await pilot.process.wait() == 0

from pathlib import Path

import pytest

from isthmus.lab.assets import Assets, check_versions, find_assets
from isthmus.lib.errors import UserError
from tests.lab.assets_folder import program, stand_in


def folder(path: Path, **versions: str) -> Assets:
    """The assets of a folder with stand-ins of these versions; by default such as go together."""
    usual = {"etcd": "3.6.4", "kube_apiserver": "1.36.1", "kube_controller_manager": "1.36.0"}
    for name, version in (usual | versions).items():
        stand_in(path / name.replace("_", "-"), version)
    found = find_assets({"KUBEBUILDER_ASSETS": str(path)})
    assert found is not None
    return found


def test_a_folder_that_lacks_programs_is_refused_by_all_their_names(tmp_path: Path) -> None:
    assert find_assets({}) is None
    assert find_assets({"KUBEBUILDER_ASSETS": ""}) is None
    (tmp_path / "etcd").touch(mode=0o644)
    with pytest.raises(
        UserError, match=r"where etcd is no program .*, and kube-apiserver is missing\. Put "
    ) as told:
        find_assets({"KUBEBUILDER_ASSETS": str(tmp_path)})
    assert f"ls -l {tmp_path}/etcd" in str(told.value)
    (tmp_path / "kube-apiserver").mkdir()
    with pytest.raises(UserError, match="kube-apiserver is no program"):
        find_assets({"KUBEBUILDER_ASSETS": str(tmp_path)})


def test_a_controller_manager_need_not_be_there_but_must_be_a_program(tmp_path: Path) -> None:
    for name in ("etcd", "kube-apiserver"):
        (tmp_path / name).touch(mode=0o755)
    assert find_assets({"KUBEBUILDER_ASSETS": str(tmp_path)}) == Assets(
        tmp_path, has_controller_manager=False
    )
    manager = tmp_path / "kube-controller-manager"
    manager.touch(mode=0o644)
    with pytest.raises(UserError, match="kube-controller-manager is no program"):
        find_assets({"KUBEBUILDER_ASSETS": str(tmp_path)})
    manager.chmod(0o755)
    assert find_assets({"KUBEBUILDER_ASSETS": str(tmp_path)}) == Assets(tmp_path, has_controller_manager=True)


async def test_programs_of_one_release_go_together(tmp_path: Path) -> None:
    await check_versions(folder(tmp_path))
    await check_versions(folder(tmp_path, kube_controller_manager="1.35.9", etcd="3.5.21"))


@pytest.mark.parametrize(
    ("versions", "sentence"),
    [
        ({"etcd": "3.4.23"}, "/etcd is of version 3.4, older than 3.5. Put "),
        ({"kube_apiserver": "1.22.0"}, "/kube-apiserver is of version 1.22, older than 1.34. Put "),
        (
            {"kube_controller_manager": "1.37.0"},
            "/kube-controller-manager is of version 1.37, which does not go with kube-apiserver 1.36. Put ",
        ),
        ({"kube_controller_manager": "1.34.0"}, "which does not go with kube-apiserver 1.36"),
    ],
)
async def test_programs_that_do_not_go_together_are_refused(
    tmp_path: Path, versions: dict[str, str], sentence: str
) -> None:
    with pytest.raises(UserError) as told:
        await check_versions(folder(tmp_path, **versions))
    assert sentence in str(told.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\x7fELF, but of no machine", "/etcd cannot be run on this machine: Exec format error. Put "),
        ("#!/nowhere/sh\n", "/etcd cannot be run on this machine: No such file or directory. Put "),
        (
            "#!/bin/sh\necho GLIBC_9.99 not found >&2; exit 1\n",
            "/etcd --version` ended with exit code 1 and says no version: GLIBC_9.99 not found. Put ",
        ),
        (
            "#!/bin/sh\necho usage\n",
            "/etcd --version` ended with exit code 0 and says no version: usage. Put ",
        ),
    ],
)
async def test_a_program_that_does_not_run_is_named_with_what_it_says(
    tmp_path: Path, text: str, sentence: str
) -> None:
    assets = folder(tmp_path)
    program(tmp_path / "etcd", text)
    with pytest.raises(UserError) as told:
        await check_versions(assets)
    assert sentence in str(told.value)

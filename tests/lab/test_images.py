import sys
from pathlib import Path

import pytest

from isthmus.lab.images import ImageUnknownError, find_image, open_to_all


@pytest.mark.parametrize(
    "name",
    ["isthmus/proxyv2", "isthmus/proxyv2:1.0", "docker.io/isthmus/proxyv2:x", "isthmus/proxyv2@sha256:abc"],
)
def test_an_image_is_found_whatever_its_tag(name: str) -> None:
    targets = {bind.target for bind in find_image(name).binds}
    assert "/opt/isthmus/bin/envoy" in targets


@pytest.mark.parametrize("name", ["nginx", "quay.io/isthmus/pilot", "isthmus/nosuch:1", ""])
def test_an_unknown_image_is_refused_with_the_known_names(name: str) -> None:
    with pytest.raises(
        ImageUnknownError, match="isthmus/pilot, isthmus/proxyv2, isthmus/echo, isthmus/client"
    ):
        find_image(name)


def test_the_machines_files_are_read_only_and_its_own_etc_stays_out() -> None:
    rootfs = find_image("isthmus/echo")
    assert all(bind.read_only for bind in rootfs.binds if not bind.target.startswith("/dev/"))
    assert not {"/etc", "/etc/passwd", "/etc/shadow", "/etc/hosts", "/etc/resolv.conf"} & {
        bind.target for bind in rootfs.binds
    }


def test_this_python_is_there_at_its_own_path() -> None:
    targets = [bind.target for bind in find_image("isthmus/echo").binds]
    assert any(sys.prefix.startswith(target) for target in targets)
    assert any(sys.base_prefix.startswith(target) for target in targets)


def test_no_bind_hides_in_another() -> None:
    targets = [bind.target for bind in find_image("isthmus/echo").binds]
    nested = [(a, b) for a in targets for b in targets if a != b and b.startswith(a + "/")]
    assert nested == []


def test_what_only_root_can_read_is_copied_for_everybody(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "package").mkdir(parents=True)
    (closed / "package" / "module.py").write_text("x = 1")
    (closed / "link").symlink_to("package")
    closed.chmod(0o755)
    assert open_to_all(closed, tmp_path / "copies") == closed
    (closed / "package" / "module.py").chmod(0o600)
    (closed / "package").chmod(0o700)
    copy = open_to_all(closed, tmp_path / "copies")
    assert copy != closed
    assert (copy / "package" / "module.py").stat().st_mode & 0o777 == 0o644
    assert (copy / "package").stat().st_mode & 0o777 == 0o755
    assert (copy / "link").is_symlink()
    assert open_to_all(closed, tmp_path / "copies") == copy

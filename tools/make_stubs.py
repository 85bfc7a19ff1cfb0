# pyright: basic
"""Make type stubs for xds-protos, which ships none.

Reads the descriptors out of the installed modules, hands them to mypy-protobuf's generator, and writes
`typings/`, which pyright reads and git ignores. Run at set-up, and again when xds-protos changes.
"""

import importlib
import pkgutil
import sys
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from mypy_protobuf.main import Descriptors, generate_mypy_stubs

ROOTS = ("envoy.admin.v3", "envoy.config", "envoy.data", "envoy.extensions", "envoy.service", "envoy.type")


def modules_below(package: str) -> list[str]:
    """Every `*_pb2` module below `package`, the retired v2 and alpha interfaces excepted."""
    root = importlib.import_module(package)
    found = (m.name for m in pkgutil.walk_packages(root.__path__, package + ".", onerror=lambda _: None))
    return [n for n in found if n.endswith("_pb2") and ".v3" in n]


def collect(file: FileDescriptor, into: dict[str, FileDescriptor]) -> None:
    """Add `file` and everything it depends on, dependencies first."""
    if file.name in into or file.name.startswith("google/protobuf/"):
        return
    for dependency in file.dependencies:
        collect(dependency, into)
    into[file.name] = file


def everything(file: FileDescriptor, into: dict[str, FileDescriptorProto]) -> None:
    """Add the descriptors of `file` and of all that it imports: the generator resolves names in them."""
    if file.name in into:
        return
    for dependency in file.dependencies:
        everything(dependency, into)
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    into[file.name] = proto


def main() -> None:
    """Write the stubs below the folder named by the first argument (default `typings`)."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "typings")
    wanted: dict[str, FileDescriptor] = {}
    known: dict[str, FileDescriptorProto] = {}
    for root in ROOTS:
        for module in modules_below(root):
            try:
                file: FileDescriptor = importlib.import_module(module).DESCRIPTOR
            except (ImportError, TypeError):
                continue  # a module whose own dependencies the package does not ship
            collect(file, wanted)
            everything(file, known)
    request = CodeGeneratorRequest(file_to_generate=list(wanted), proto_file=list(known.values()))
    response = CodeGeneratorResponse()
    generate_mypy_stubs(
        Descriptors(request),
        response,
        quiet=True,
        readable_stubs=False,
        relax_strict_optional_primitives=False,
        use_default_deprecation_warnings=False,
        generate_concrete_servicer_stubs=False,
    )
    for stub in response.file:
        path = target / stub.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(stub.content)
    for folder in {p.parent for p in target.rglob("*.pyi")}:
        while folder != target:
            (folder / "__init__.pyi").touch()
            folder = folder.parent


if __name__ == "__main__":
    main()

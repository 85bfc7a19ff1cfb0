"""The charts' `meshConfig` as a JSON schema, so that helm refuses what its reader would refuse.

`python -m isthmus.config.chart_schemas` writes it into the values.schema.json of each chart that is named.
"""

import json
import sys
from pathlib import Path
from typing import Any

from isthmus.config.mesh import MeshConfig
from isthmus.config.schemas import schema_of


def mesh_schema() -> dict[str, Any]:
    """Of the value `meshConfig`. Istio's fields that have no effect here pass; pilot names them."""
    return schema_of(MeshConfig) | {"description": "Istio's MeshConfig, the part that has an effect here."}


def main() -> None:
    """Bring the files that are named up to date."""
    for file in map(Path, sys.argv[1:]):
        schema = json.loads(file.read_text())
        schema["properties"]["meshConfig"] = mesh_schema()
        file.write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    main()

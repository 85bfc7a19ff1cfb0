"""Tables: what `kubectl get` prints, with Kubernetes' own columns. Pure."""

from isthmus.lab.apiserver.formats import partial
from isthmus.lab.apiserver.kinds import Resource
from isthmus.lab.apiserver.objects import Object, name_of


def table(
    resource: Resource, objects: list[Object], meta: Object, include: str, *, headless: bool = False
) -> Object:
    """Objects as a Table (meta.k8s.io/v1)."""
    columns = [{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}]
    rows = [{"cells": [name_of(one)], "object": partial(one)} for one in objects]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": columns,
        "rows": rows,
    }

"""The controllers of one lab cluster: what kube-controller-manager does, as far as a mesh needs it.

Level-based: a request is only a name; each reconciler reads the caches, compares, and writes what differs.
Nothing polls. Refused: StatefulSets, DaemonSets, Jobs, quotas, volumes, nodes that come and go.
"""

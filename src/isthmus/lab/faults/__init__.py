"""Faults on purpose: what breaks a lab's cluster, from outside of the parts that it breaks.

Processes are stopped by signals, packets by rules of the cluster's network namespace, answers by a hop in
front of the API server. Neither the API server nor the product knows of any of it.
"""

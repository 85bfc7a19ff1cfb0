"""Whole Kubernetes clusters on one Linux machine: API server, controllers, node and network.

The lab drives the built product from outside, as an operator's clusters would; nothing outside this room
and the tests knows that it exists.
"""

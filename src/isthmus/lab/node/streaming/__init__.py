"""The kubelet's streaming endpoints: commands in containers, their standard streams, and forwarded ports.

Clients speak WebSocket (`v5.channel.k8s.io`), or SPDY/3.1, bare or carried by a WebSocket.
"""

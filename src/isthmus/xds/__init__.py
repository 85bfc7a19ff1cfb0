"""ADS to proxies: who asked for what, what is due, and the bytes of it. It derives no resource and opens no
socket but its own listener: resources come through `model.resources.Scope`, streams through
`xds.transport`."""

"""`isthmus statsd-bridge`: statsd in, Prometheus out."""

from pathlib import Path
from typing import Annotated, Any

import typer


def _style(name: str) -> Any:
    flags = (f"--{prefix}parse-{name}-tags/--no-{prefix}parse-{name}-tags" for prefix in ("", "statsd."))
    return typer.Option(*flags, help="Read tags of this style.")


def statsd_bridge(
    udp_address: Annotated[
        str,
        typer.Option(
            "--udp-address", "--statsd.listen-udp", metavar="HOST:PORT", help="Statsd; empty: none."
        ),
    ] = ":9125",
    tcp_address: Annotated[
        str,
        typer.Option(
            "--tcp-address", "--statsd.listen-tcp", metavar="HOST:PORT", help="Statsd; empty: none."
        ),
    ] = ":9125",
    http_address: Annotated[
        str,
        typer.Option("--http-address", "--web.listen-address", metavar="HOST:PORT", help="/metrics."),
    ] = ":9102",
    mapping_config: Annotated[
        Path | None,
        typer.Option(
            "--mapping-config",
            "--statsd.mapping-config",
            help="statsd_exporter's YAML; read again when it changes.",
        ),
    ] = None,
    check_config: Annotated[bool, typer.Option(help="Check the mapping file, and end.")] = False,
    max_series: Annotated[
        int, typer.Option(min=1, help="The most series of all metrics together.")
    ] = 100_000,
    max_series_per_metric: Annotated[
        int, typer.Option(min=1, help="The most series of one metric.")
    ] = 10_000,
    cache_size: Annotated[
        int,
        typer.Option(
            "--cache-size",
            "--statsd.cache-size",
            min=1,
            help="Names with tags that are remembered; others cost more.",
        ),
    ] = 100_000,
    parse_dogstatsd_tags: Annotated[bool, _style("dogstatsd")] = True,
    parse_influxdb_tags: Annotated[bool, _style("influxdb")] = True,
    parse_librato_tags: Annotated[bool, _style("librato")] = True,
    parse_signalfx_tags: Annotated[bool, _style("signalfx")] = True,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Receive statsd over UDP and TCP, and give it to Prometheus as `/metrics`.

    SIGHUP reads the mapping file again. Ends with SIGTERM or SIGINT.
    """
    from isthmus.apps.statsd_bridge import BridgeOptions, run_statsd_bridge
    from isthmus.lib.address import parse_host_port
    from isthmus.statsd.families import Limits
    from isthmus.statsd.reloading import load_rules
    from isthmus.statsd.tags import TagStyles

    if check_config:
        rules = load_rules(mapping_config)
        typer.echo(f"The mapping is in order: {len(rules.rules)} mappings.")
        return
    run_statsd_bridge(
        BridgeOptions(
            udp_address=parse_host_port(udp_address, "--udp-address") if udp_address else None,
            tcp_address=parse_host_port(tcp_address, "--tcp-address") if tcp_address else None,
            http_address=parse_host_port(http_address, "--http-address"),
            mapping_config=mapping_config,
            limits=Limits(per_metric=max_series_per_metric, total=max_series),
            cache_size=cache_size,
            styles=TagStyles(
                dogstatsd=parse_dogstatsd_tags,
                influxdb=parse_influxdb_tags,
                librato=parse_librato_tags,
                signalfx=parse_signalfx_tags,
            ),
        ),
        log_level=log_level,
    )

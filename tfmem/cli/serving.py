"""`tfmem serve` and `tfmem gateway`."""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import click

from tfmem.cli.common import reports_errors
from tfmem.errors import InvalidInput

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def _read_token(context: click.Context, parameter: click.Parameter, path: Path | None) -> str | None:
    # What is not ASCII is no token, and is refused as such.
    return None if path is None else path.read_text(encoding="ascii", errors="replace").strip()


def _listening(command: Callable) -> Callable:
    """Adds the options of `tfmem.serving.listening.Listening`."""
    options = [
        click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
        click.option("--tls-certificate", type=_FILE, help="PEM; with --tls-key everything here speaks TLS."),
        click.option("--tls-key", type=_FILE),
        click.option(
            *("--token-file", "token"),
            type=_FILE,
            callback=_read_token,
            help="Holds a bearer token that requests must carry.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("base", required=False, type=click.Path(path_type=Path))
@click.option("--model-config", type=_FILE, help="TF Serving's models.config, in place of BASE.")
@click.option("--versions", type=click.IntRange(1), default=2, show_default=True, help="Kept of each model.")
@click.option("--rest-port", type=click.IntRange(0, 65535), default=8501, show_default=True)
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=8500, show_default=True)
@click.option("--max-batch-size", type=int, default=64, show_default=True, help="Rows computed together.")
@click.option("--batch-timeout-micros", type=int, default=0, show_default=True, help="Wait for more rows.")
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Cores that compute one batch."
)
@click.option("--max-concurrency", type=int, default=128, show_default=True, help="Requests at a time.")
@click.option("--request-timeout-s", type=float, default=30.0, show_default=True)
@click.option("--max-request-mib", type=int, default=64, show_default=True)
@_listening
@reports_errors
def serve(
    base: Path | None,
    model_config: Path | None,
    versions: int,
    max_batch_size: int,
    batch_timeout_micros: int,
    threads: int,
    **listening: Any,
) -> None:
    """Serve models over TF Serving's REST and gRPC APIs.

    BASE holds NAME/VERSION/ folders; the newest versions of every model are served. New versions are loaded
    as they appear, and old ones go once the new ones answer. Stops on Ctrl-C or SIGTERM, when running
    requests are answered. Logs are JSON lines on standard error.

    Example: tfmem serve saved_models --rest-port 8501 --grpc-port 8500
    """
    from tfmem.progress import working

    with working("loading"):
        try:
            import tensorflow as tf

            from tfmem.serving.server import Batching, ServerConfig, discover, read_config
            from tfmem.serving.server import serve as serve_models
            from tfmem.serving.server.logs import log_as_json
        except ModuleNotFoundError as error:
            raise InvalidInput(f"tfmem serve needs {error.name}: pip install 'tfmem[serve]'") from error
        config = ServerConfig(
            batching=Batching(max_batch_size=max_batch_size, timeout_micros=batch_timeout_micros),
            **listening,
        )
        if base is not None and model_config is None:
            source = partial(discover, base, keep=versions)
        elif model_config is not None and base is None:
            source = partial(read_config, model_config)
        else:
            raise InvalidInput("give either BASE, a folder of models, or --model-config FILE")
        source()  # fails before anything is set up
        # Waking threads for a small policy's operations costs more than the operations do.
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    log_as_json()

    def ready(url: str, grpc_address: str, available: dict[str, list[int]]) -> None:
        names = ", ".join(f"{name} version {max(numbers)}" for name, numbers in available.items())
        # The collector would go through all of TensorFlow's objects again and again while requests wait.
        gc.collect()
        gc.freeze()
        click.echo(f"ready at {url} and grpc://{grpc_address} with {names}")

    _run_until_told(lambda stop: serve_models(source, config, ready=ready, stop=stop))


@click.command()
@click.argument("upstream")
@click.option("--port", type=click.IntRange(0, 65535), default=8600, show_default=True)
@click.option(
    "--store",
    default="memory",
    show_default=True,
    metavar="memory|URL",
    help="Such as redis://127.0.0.1:6379.",
)
@click.option("--idle-timeout-s", default=600.0, show_default=True, help="A session idle for longer is gone.")
@click.option("--max-sessions", default=100_000, show_default=True, help="Cap on sessions.")
@click.option("--max-in-flight", default=256, show_default=True, help="Requests answered at a time.")
@click.option("--request-timeout-s", default=10.0, show_default=True, help="For the upstream, and the store.")
@click.option(
    *("--upstream-token-file", "upstream_token"),
    type=_FILE,
    callback=_read_token,
    help="Holds a bearer token to send to UPSTREAM.",
)
@click.option(
    "--upstream-ca-file",
    type=click.Path(exists=True, dir_okay=False),
    help="PEM; certificates to check UPSTREAM's against, by default the usual ones.",
)
@_listening
@reports_errors
def gateway(**options: Any) -> None:
    """Keep the memory of sessions with a policy behind UPSTREAM, TF Serving's gRPC address.

    UPSTREAM is HOST:PORT, or grpcs://HOST:PORT with TLS.

    Gateways with one Redis share their sessions. Stops on Ctrl-C or SIGTERM, once running requests are
    answered.

    Example: tfmem gateway 127.0.0.1:8500 --store redis://127.0.0.1:6379
    """
    from tfmem.progress import working

    with working("loading"):
        try:
            from tfmem.serving.gateway import GatewayConfig
            from tfmem.serving.gateway import serve as serve_sessions
        except ModuleNotFoundError as error:
            raise InvalidInput(f"tfmem gateway needs {error.name}: pip install 'tfmem[gateway]'") from error
        config = GatewayConfig(**options)

    def ready(url: str) -> None:
        click.echo(f"ready at {url}")

    _run_until_told(lambda stop: serve_sessions(config, ready=ready, stop=stop))


def _run_until_told(serve: Callable[[asyncio.Event], Coroutine]) -> None:
    """Runs a server until SIGINT or SIGTERM sets its event, and it has ended."""

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, stop.set)
        await serve(stop)

    asyncio.run(run())

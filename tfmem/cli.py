"""The `tfmem` command.

Every command prints one clear line and exits non-zero on bad input, shows progress on a terminal (on standard
error, so that standard output stays for results), and imports TensorFlow only when it runs.
"""

import dataclasses
import functools
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import tfmem
from tfmem.errors import InvalidInput, TfmemError

_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def _reports_errors(command: Callable) -> Callable:
    """Turns tfmem's own errors into one line on standard error and a non-zero exit; quiets TensorFlow."""

    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        import tfmem.quiet  # noqa: F401

        # A worker's traceback, of which our error has the gist.
        warnings.filterwarnings("ignore", category=UserWarning, module="gymnasium.vector")
        try:
            return command(*args, **kwargs)
        except TfmemError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}") from error
        except ImportError as error:
            if "tfmem" not in str(error):  # tfmem's own say what to do
                raise
            raise click.ClickException(str(error)) from error

    return wrapped


def _print(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result))
        return
    for key, value in result.items():
        click.echo(f"{key:16} {_shown(value)}")


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items())
    return f"{value:.3f}" if isinstance(value, float) else value


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tfmem.__version__, prog_name="tfmem")
def main() -> None:
    """Attention and external memory for deep Q-networks: train, look, export, serve.

    Example: tfmem train popgym-RepeatPreviousEasy-v0 --out runs/recall
    """


@main.command()
@_JSON
@_reports_errors
def doctor(as_json: bool) -> None:
    """Check Python, TensorFlow, Keras, devices and extras.

    Example: tfmem doctor --json
    """
    from tfmem.doctor import examine

    findings = examine()
    ok = all(finding.ok for finding in findings)
    if as_json:
        parts = {f.name: {"ok": f.ok, "found": f.found} for f in findings}
        click.echo(json.dumps({"ok": ok, **parts}))
    else:
        for finding in findings:
            click.echo(f"{'ok ' if finding.ok else 'BAD'}  {finding.name:12} {finding.found}")
    sys.exit(0 if ok else 1)


def _parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InvalidInput(f"expected key=value, not {setting!r}")
        try:
            overrides[key] = json.loads(text)
        except json.JSONDecodeError:
            overrides[key] = text
    return overrides


@main.command()
@click.argument("env_id")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--preset", help="Family of tasks: recall, control, atari or fast.  [default: recall]")
@click.option("--steps", type=int, help="Environment steps (env_steps).")
@click.option("--seed", type=int, help="Seed of the run.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a field of the configuration, such as learning_rate=0.001, core=lstm, core.slots=64.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out from its last checkpoint.")
@_JSON
@_reports_errors
def train(
    env_id: str,
    out: Path,
    preset: str | None,
    steps: int | None,
    seed: int | None,
    settings: tuple[str, ...],
    resume: bool,
    as_json: bool,
) -> None:
    """Train a memory-augmented DQN on ENV_ID, a Gymnasium id or module:id.

    The folder gets config.json, checkpoints, TensorBoard events, metrics.jsonl and result.json. A resumed
    run keeps its own configuration.

    Example: tfmem train popgym-RepeatPreviousEasy-v0 --out runs/recall --steps 100000
    """
    import tfmem.xla  # noqa: F401
    from tfmem.progress import training_progress
    from tfmem.training import RunFolder, make_config
    from tfmem.training import train as train_run

    overrides = _parse_settings(settings)
    overrides |= {k: v for k, v in (("env_steps", steps), ("seed", seed)) if v is not None}
    if resume:
        config = RunFolder(out).config()
        if config.env_id != env_id:
            raise InvalidInput(f"{out} is a run of {config.env_id}, not of {env_id}")
        if overrides or preset:
            raise InvalidInput(
                "a resumed run keeps its configuration; leave --preset, --steps, --seed and --set out"
            )
    else:
        config = make_config(env_id, preset=preset or "recall", overrides=overrides)
    with training_progress(config) as watch:
        result = train_run(config, out, resume=resume, watch=watch)
    _print(dataclasses.asdict(result), as_json)


_ENV_ARGUMENTS = click.option(
    "--env-arg",
    "env_arguments",
    multiple=True,
    metavar="KEY=VALUE",
    help="An argument of the environment itself.",
)
_EVALUATION_SEED = click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Environment seed of the first episode.",
)


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--env", "env_id", help="Environment id; by default the one it was trained on.")
@_ENV_ARGUMENTS
@click.option("--episodes", type=click.IntRange(1), default=100, show_default=True)
@_EVALUATION_SEED
@click.option("--ablate-memory", is_flag=True, help="Put the initial memory in place at every step.")
@_JSON
@_reports_errors
def evaluate(
    path: Path,
    env_id: str | None,
    env_arguments: tuple[str, ...],
    episodes: int,
    seed: int,
    ablate_memory: bool,
    as_json: bool,
) -> None:
    """Play greedy episodes with a run, or with a version folder of an export.

    Without --env the environment is the policy's own, with the arguments it was trained with; --env-arg adds
    to them or changes them.

    Example: tfmem evaluate runs/recall --episodes 100 --ablate-memory
    """
    from tfmem.environments import load
    from tfmem.progress import working
    from tfmem.training import evaluate as evaluate_policy

    with working("loading"):
        policy, description = _policy_in(path)
        env_id = env_id or description.get("id")
        if env_id is None:
            raise InvalidInput(f"{path} does not say which environment it is for; give --env")
        own = description["kwargs"] if env_id == description.get("id") else {}
        environment = load(
            env_id,
            num_envs=min(episodes, 50),
            env_kwargs={**own, **_parse_settings(env_arguments)},
            previous_action=description.get("previous_action", False),
            previous_reward=description.get("previous_reward", False),
            action_mask=description.get("action_mask", False),
        )
        _require_fit(environment, policy.observation, policy.actions)
    with working(f"playing {episodes} episodes"):
        evaluation = evaluate_policy(
            policy, environment, episodes=episodes, seed=seed, ablate_memory=ablate_memory
        )
    _print(
        {
            "env": env_id,
            "episodes": episodes,
            "mean_return": evaluation.mean_return,
            "std_return": evaluation.std_return,
        },
        as_json,
    )


def _policy_in(path: Path):
    """The policy of a run or an export, and what it says of its environment."""
    from tfmem.export import MANIFEST_PATH, load_policy
    from tfmem.training import load_run

    if (path / MANIFEST_PATH).exists():
        exported = load_policy(path)
        return exported, exported.manifest["environment"]
    if not (path / "config.json").exists():
        raise InvalidInput(f"{path} is neither the folder of a run nor a version folder of an export")
    run = load_run(path)
    return run.policy, run.environment


def _require_fit(environment, observation: dict[str, dict[str, Any]], actions: int) -> None:
    """Raises `InvalidInput` unless the environment has the observations and actions of a policy.

    `observation` has the dtype and shape of each part by its name on the wire.
    """
    from tfmem.serving import wire

    found = wire.flatten_observation(environment.observation_spec())
    theirs = {name: (spec.dtype.name, list(spec.shape)) for name, spec in found.items()}
    ours = {name: (spec["dtype"], list(spec["shape"])) for name, spec in observation.items()}
    if theirs != ours:
        raise InvalidInput(
            f"the environment does not fit the policy: it shows {theirs}, the policy takes {ours}"
        )
    count = int(environment.action_spec().maximum) + 1
    if count != actions:
        raise InvalidInput(
            f"the environment does not fit the policy: it has {count} actions, the policy {actions}"
        )


@main.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.argument("base", required=False, type=click.Path(path_type=Path))
@click.option(
    "--serving-files", type=click.Path(path_type=Path), help="Write TF Serving's files to this folder."
)
@click.option(
    "--litert", type=click.Path(path_type=Path), help="Also write a LiteRT model of one actor to this file."
)
@click.option(
    "--check", type=click.Path(path_type=Path), help="Only look at the SavedModel in a version folder."
)
@_JSON
@_reports_errors
def export(
    run: Path | None,
    base: Path | None,
    serving_files: Path | None,
    litert: Path | None,
    check: Path | None,
    as_json: bool,
) -> None:
    """Export RUN's policy as the next version of the served model BASE, a folder …/NAME.

    With --check PATH instead, say what in any SavedModel a stock TF Serving does not take; exits with 1 if
    there is something.

    Example: tfmem export runs/recall saved_models/repeat_previous
    """
    from tfmem.progress import working

    if check is not None:
        if run or serving_files or litert:
            raise InvalidInput("--check exports nothing; leave RUN, BASE, --serving-files and --litert out")
        _check(check, as_json)
        return
    if run is None or base is None:
        raise InvalidInput("give RUN and BASE to export, or --check PATH to look at a SavedModel")

    from tfmem.export import export_litert, export_policy, write_serving_files
    from tfmem.training import load_run

    with working("loading"):
        trained = load_run(run)
    with working("exporting, and comparing the export with the policy"):
        exported = export_policy(
            trained.policy,
            base,
            environment=trained.environment,
            run=trained.provenance,
        )
    if serving_files:
        write_serving_files(exported.path, serving_files)
    result = {
        "path": str(exported.path),
        "version": exported.version,
        "fingerprint": exported.fingerprint,
    }
    if litert:
        with working("converting to LiteRT, and comparing the two"):
            converted = export_litert(exported.path, litert)
        result |= {"litert_bytes": converted.size, "litert_q_difference": converted.worst_q_difference}
    _print(result, as_json)


def _check(path: Path, as_json: bool) -> None:
    """Prints what `lint` finds and exits with 1 if there is anything."""
    from tfmem.export import lint
    from tfmem.progress import working

    with working("reading"):
        findings = lint(path)
    if as_json:
        click.echo(json.dumps({"ok": not findings, "findings": list(map(dataclasses.asdict, findings))}))
    else:
        lines = list(map(str, findings)) or [f"ok  {path}: nothing that a stock server does not take"]
        click.echo("\n".join(lines))
    sys.exit(1 if findings else 0)


_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@main.command()
@click.argument("base", required=False, type=click.Path(path_type=Path))
@click.option("--model-config", type=_FILE, help="TF Serving's models.config, in place of BASE.")
@click.option("--versions", type=click.IntRange(1), default=2, show_default=True, help="Kept of each model.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--rest-port", type=click.IntRange(0, 65535), default=8501, show_default=True)
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=8500, show_default=True)
@click.option("--max-batch-size", type=int, default=64, show_default=True, help="Rows computed together.")
@click.option("--batch-timeout-micros", type=int, default=0, show_default=True, help="Wait for more rows.")
@click.option("--max-concurrency", type=int, default=128, show_default=True, help="Requests at a time.")
@click.option("--request-timeout-s", type=float, default=30.0, show_default=True)
@click.option("--max-request-mib", type=int, default=64, show_default=True)
@click.option("--tls-certificate", type=_FILE, help="PEM; with --tls-key both ports speak TLS.")
@click.option("--tls-key", type=_FILE)
@click.option("--token-file", type=_FILE, help="Holds a bearer token that requests must carry.")
@_reports_errors
def serve(
    base: Path | None,
    model_config: Path | None,
    versions: int,
    max_batch_size: int,
    batch_timeout_micros: int,
    token_file: Path | None,
    **listening: Any,
) -> None:
    """Serve models over TF Serving's REST and gRPC APIs.

    BASE holds NAME/VERSION/ folders; the newest versions of every model are served. New versions are loaded
    as they appear, and old ones go once the new ones answer. Stops on Ctrl-C or SIGTERM, when running
    requests are answered. Logs are JSON lines on standard error.

    Example: tfmem serve saved_models --rest-port 8501 --grpc-port 8500
    """
    import asyncio
    import signal

    from tfmem.progress import working

    if (base is None) == (model_config is None):
        raise InvalidInput("give either BASE, a folder of models, or --model-config FILE")
    with working("loading"):
        try:
            from tfmem.serving import server
            from tfmem.serving.logs import log_as_json
            from tfmem.serving.model_config import discover, read_config
        except ModuleNotFoundError as error:
            raise InvalidInput(f"tfmem serve needs {error.name}: pip install 'tfmem[serve]'") from error
        config = server.ServerConfig(
            batching=server.Batching(max_batch_size=max_batch_size, timeout_micros=batch_timeout_micros),
            token=token_file.read_text().strip() if token_file else None,
            **listening,
        )

        def source():
            return read_config(model_config) if model_config else discover(base, keep=versions)

        source()  # fails before anything is set up
    log_as_json()

    def ready(url: str, grpc_address: str, available: dict[str, list[int]]) -> None:
        names = ", ".join(f"{name} version {max(numbers)}" for name, numbers in available.items())
        click.echo(f"ready at {url} and grpc://{grpc_address} with {names}")

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, stop.set)
        await server.serve(source, config, ready=ready, stop=stop)

    asyncio.run(run())


@main.command()
@click.argument("upstream")
@click.option("--port", type=click.IntRange(0, 65535), default=8600, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
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
@_reports_errors
def gateway(**options: Any) -> None:
    """Keep the memory of sessions with a policy behind UPSTREAM, TF Serving's gRPC address HOST:PORT.

    Gateways with one Redis share their sessions. Stops on Ctrl-C or SIGTERM, once running requests are
    answered.

    Example: tfmem gateway 127.0.0.1:8500 --store redis://127.0.0.1:6379
    """
    import asyncio
    import signal

    from tfmem.progress import working

    with working("loading"):
        try:
            from tfmem.serving import gateway_server
        except ModuleNotFoundError as error:
            raise InvalidInput(f"tfmem gateway needs {error.name}: pip install 'tfmem[gateway]'") from error
        config = gateway_server.GatewayConfig(**options)

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, stop.set)
        await gateway_server.serve(config, ready=lambda url: click.echo(f"ready at {url}"), stop=stop)

    asyncio.run(run())


@main.command()
@click.argument("name")
@click.option("--server", required=True, metavar="URL", help="Such as http://127.0.0.1:8501.")
@click.option("--env", "env_id", required=True, help="Environment id.")
@_ENV_ARGUMENTS
@click.option("--episodes", type=click.IntRange(1), default=20, show_default=True)
@_EVALUATION_SEED
@_JSON
@_reports_errors
def play(
    name: str,
    server: str,
    env_id: str,
    env_arguments: tuple[str, ...],
    episodes: int,
    seed: int,
    as_json: bool,
) -> None:
    """Play episodes through a server with the model NAME, its memory carried along.

    Example: tfmem play repeat_previous --server http://127.0.0.1:8501 --env popgym-RepeatPreviousEasy-v0
    """
    import numpy as np

    from tfmem.environments import load
    from tfmem.progress import working
    from tfmem.serving import PolicyClient
    from tfmem.training import evaluate as evaluate_policy

    with PolicyClient(server, name) as client:
        policy = _Timed(client.pinned())
        environment = load(
            env_id,
            env_kwargs=_parse_settings(env_arguments),
            previous_action="observation_previous_action" in policy.observation,
            previous_reward="observation_previous_reward" in policy.observation,
            action_mask="observation_action_mask" in policy.observation,
        )
        _require_fit(environment, policy.observation, policy.actions)
        with working(f"playing {episodes} episodes"):
            evaluation = evaluate_policy(policy, environment, episodes=episodes, seed=seed)
    p50, p99 = np.percentile(policy.latencies_ms, [50, 99])
    _print(
        {
            "env": env_id,
            "episodes": episodes,
            "mean_return": evaluation.mean_return,
            "std_return": evaluation.std_return,
            "p50_ms": round(float(p50), 3),
            "p99_ms": round(float(p99), 3),
        },
        as_json,
    )


class _Timed:
    """A served policy that notes how long each step took."""

    def __init__(self, policy):
        self._policy = policy
        self.observation = policy.observation
        self.actions = policy.actions
        self.latencies_ms: list[float] = []

    def initial_state(self, batch_size: int):
        return self._policy.initial_state(batch_size)

    def step(self, observation, is_first, state):
        started = time.perf_counter()
        answer = self._policy.step(observation, is_first, state)
        self.latencies_ms.append(1e3 * (time.perf_counter() - started))
        return answer

import dataclasses
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import RECALL, TINY, TINY_LSTM, TINY_NO_CORE
from tfmem.agents import MemoryPolicy, unscale
from tfmem.environments import EnvironmentFailed, load
from tfmem.errors import InvalidInput
from tfmem.layers import ScanNTM
from tfmem.networks import NoCoreConfig
from tfmem.training import (
    Diverged,
    EndlessEpisode,
    Evaluation,
    Interrupted,
    RunFolder,
    SavingFailed,
    TrainingRun,
    evaluate,
    load_run,
    make_config,
    train,
)
from tfmem.training.best_policy import BestPolicy
from tfmem.training.collector import Collector
from tfmem.training.learner import Learner
from tfmem.training.run import EVALUATION_SEED
from tfmem.training.stopwatch import Stopwatch


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    return [v.numpy() for v in load_run(folder).policy.network.variables]


def strip(row):
    return {k: v for k, v in row.items() if k != "wall_s"}


@pytest.fixture(scope="module")
def finished(tiny_lstm_config, tmp_path_factory):
    """A tiny run left alone, and the learner it used."""
    out = tmp_path_factory.mktemp("finished") / "run"
    run = TrainingRun(tiny_lstm_config, out)
    statuses = []
    result = run.run(statuses.append)
    return out, run, result, statuses


def test_the_folder_has_everything(finished, tiny_lstm_config):
    out, _, result, _ = finished
    assert json.loads((out / "config.json").read_text())["env_id"] == tiny_lstm_config.env_id
    assert json.loads((out / "result.json").read_text()) == dataclasses.asdict(result)
    assert list((out / "events").glob("events.out.tfevents.*"))
    assert [row["env_steps"] >= 400 * (i + 1) for i, row in enumerate(rows(out))] == [True] * 3
    assert result.env_steps >= 1200
    assert result.best_return == max(row["greedy_return"] for row in rows(out))


def test_acting_and_learning_are_traced_once_over_a_whole_run(finished):
    _, run, result, _ = finished
    assert result.updates > 50
    assert run.learner.act.experimental_get_tracing_count() == 1
    assert run.learner.learn.experimental_get_tracing_count() == 1


def test_status_is_reported_as_it_goes(finished):
    _, _, result, statuses = finished
    steps = [status.env_steps for status in statuses]
    assert steps == sorted(steps)
    assert steps[-1] == result.env_steps
    doing = {status.doing for status in statuses}
    assert doing == {"compiling", "training", "evaluating", "saving"}


def test_the_same_seed_gives_the_same_run_and_another_seed_another(finished, tiny_lstm_config, tmp_path):
    out, _, _, _ = finished
    train(tiny_lstm_config, tmp_path / "same")
    assert [strip(r) for r in rows(tmp_path / "same")] == [strip(r) for r in rows(out)]
    for a, b in zip(weights(tmp_path / "same"), weights(out), strict=True):
        np.testing.assert_array_equal(a, b)
    train(dataclasses.replace(tiny_lstm_config, seed=1), tmp_path / "other")
    assert [strip(r) for r in rows(tmp_path / "other")] != [strip(r) for r in rows(out)]


def interrupted_after(env_steps):
    def interrupt(status):
        if status.env_steps > env_steps:
            raise KeyboardInterrupt

    return interrupt


def test_an_interrupted_run_saves_and_says_how_to_go_on(tiny_lstm_config, tmp_path):
    with pytest.raises(Interrupted, match=r"stopped at environment step \d+ and saved; .*--resume"):
        train(tiny_lstm_config, tmp_path / "run", watch=interrupted_after(500))
    result = train(tiny_lstm_config, tmp_path / "run", resume=True)
    assert result.env_steps >= 1200


def test_the_best_policy_is_kept_whatever_comes_after_it(tiny_lstm_config, tmp_path, monkeypatch):
    evaluated = []

    def worse_and_worse(policy, *arguments, **options):
        evaluated.append([variable.numpy() for variable in policy.network.variables])
        return Evaluation(np.asarray([-len(evaluated)]), [])

    monkeypatch.setattr("tfmem.training.run.evaluate", worse_and_worse)
    config = dataclasses.replace(tiny_lstm_config, core=NoCoreConfig())
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(config, out, watch=interrupted_after(0))
    with pytest.raises(InvalidInput, match="made no evaluation yet, so no policy is its best; go on"):
        load_run(out, best=True)
    with pytest.raises(Interrupted):
        train(config, out, resume=True, watch=interrupted_after(500))
    assert load_run(out).provenance["greedy_return"] is None  # of the weights before
    assert train(config, out, resume=True).best_return == -1
    best, last = load_run(out, best=True), load_run(out)
    assert [best.env_steps, last.env_steps] == [rows(out)[0]["env_steps"], rows(out)[-1]["env_steps"]]
    assert [run.provenance["greedy_return"] for run in (best, last)] == [-1, -3]
    for run, expected in ((best, evaluated[0]), (last, evaluated[-1])):
        for a, b in zip(run.policy.network.variables, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    kernels = zip(evaluated[0], evaluated[-1], strict=True)
    assert any(np.any(first != last) for first, last in kernels)


def test_the_best_of_equal_policies_has_learned_longest(finished):
    _, run, _, _ = finished
    best = BestPolicy(run.learner.network)
    for env_steps, greedy_return in ((10, 1.0), (20, 3.0), (30, 2.0), (40, 3.0)):
        best.offer(run.learner.network, reward_scale=0.5, greedy_return=greedy_return, env_steps=env_steps)
    assert [float(best.env_steps), float(best.greedy_return), float(best.reward_scale)] == [40, 3, 0.5]


def test_an_evaluation_that_was_interrupted_is_made_up_for(finished, tiny_lstm_config, tmp_path):
    def interrupt(status):
        if status.doing == "evaluating" and status.env_steps >= 1200:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(tiny_lstm_config, out, watch=interrupt)
    assert len(rows(out)) == 2
    result = train(tiny_lstm_config, out, resume=True)
    best = max(reversed(rows(out)), key=lambda row: row["greedy_return"])
    assert load_run(out, best=True).env_steps == best["env_steps"]
    uninterrupted, _, expected, _ = finished
    assert [r["greedy_return"] for r in rows(out)] == [r["greedy_return"] for r in rows(uninterrupted)]
    assert result.final_return == expected.final_return


def test_what_cannot_be_built_claims_no_folder(tiny_lstm_config, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(InvalidInput, match="the action space is Box"):
        train(dataclasses.replace(tiny_lstm_config, env_id="Pendulum-v1"), out)
    with pytest.raises(InvalidInput, match="replay_capacity to at most"):
        train(dataclasses.replace(tiny_lstm_config, replay_capacity=10**11), out)
    with pytest.raises(InvalidInput, match="TensorFlow sees no GPU"):
        train(dataclasses.replace(tiny_lstm_config, device="gpu"), out)
    assert not out.exists()
    out.write_text("")
    with pytest.raises(InvalidInput, match="is a file; name a folder"):
        train(tiny_lstm_config, out)


def test_a_checkpoint_of_another_network_is_refused(finished, tmp_path):
    out, _, _, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    config = json.loads((copy / "config.json").read_text())
    config["core"] = {"kind": "lstm", "units": 5}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInput, match="does not fit the configuration beside it"):
        load_run(copy)


def test_a_run_killed_at_any_moment_resumes_to_the_same_end(finished, tiny_lstm_config, tmp_path):
    """SIGKILL in a process of its own, with a torn line of metrics left behind."""
    out = tmp_path / "run"
    settings = [f"--set={key}={json.dumps(value)}" for key, value in TINY_LSTM.items()]
    code = "import sys, tests.conftest; from tfmem.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "train", tiny_lstm_config.env_id, f"--out={out}", *settings]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (out / "checkpoints" / "checkpoint").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"env_steps": 8')
    resumed_at = []
    train(tiny_lstm_config, out, resume=True, watch=lambda status: resumed_at.append(status.env_steps))
    assert resumed_at[0] == 400  # from the checkpoint, not from the beginning
    uninterrupted, _, _, _ = finished
    assert [strip(r) for r in rows(out)] == [strip(r) for r in rows(uninterrupted)]
    for a, b in zip(weights(out), weights(uninterrupted), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_that_stops_being_finite_names_the_last_good_checkpoint(tiny_lstm_config, tmp_path):
    config = dataclasses.replace(
        tiny_lstm_config, learning_rate=1e30, checkpoint_interval=100, learning_starts=300
    )
    with pytest.raises(Diverged, match=r"the loss is nan .* the last good checkpoint is .*ckpt-\d+"):
        train(config, tmp_path / "run")
    assert all(np.isfinite(w).all() for w in weights(tmp_path / "run"))
    config = dataclasses.replace(config, env_id="tests/AnImage-v0", checkpoint_interval=config.env_steps)
    with pytest.raises(Diverged, match="the loss is nan at environment step"):
        train(config, tmp_path / "image")


@pytest.mark.parametrize(
    ("env_id", "said"),
    [
        ("tests/NaNReward-v0", "the reward must be a finite number, not nan"),
        ("tests/NaNObservation-v0", "observation must be of finite numbers, not nan"),
    ],
)
def test_an_environment_that_gives_no_numbers_is_named_at_once(env_id, said, tiny_lstm_config, tmp_path):
    config = dataclasses.replace(tiny_lstm_config, env_id=env_id, checkpoint_interval=100)
    with pytest.raises(EnvironmentFailed, match=f"'{env_id}' failed: {said}, at .* checkpoint is .*ckpt-"):
        train(config, tmp_path / "run")
    assert all(np.isfinite(w).all() for w in weights(tmp_path / "run"))


def test_a_run_whose_greedy_episodes_do_not_end_keeps_what_it_has_learned(
    tiny_lstm_config, tmp_path, monkeypatch
):
    monkeypatch.setattr("tfmem.training.evaluation.ENDLESS", 3)
    said = r"not ended after 3 steps.*ckpt-\d+; start a new run with.*max_episode_steps"
    with pytest.raises(EndlessEpisode, match=said):
        train(tiny_lstm_config, tmp_path / "run")
    assert load_run(tmp_path / "run").env_steps >= tiny_lstm_config.checkpoint_interval


@pytest.mark.parametrize(
    ("vectorization", "kills", "said"),
    [
        ("sync", False, "RuntimeError: the arm has come off"),
        ("async", False, "RuntimeError: the arm has come off"),
        ("async", True, "the process of a worker has ended"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:gymnasium.vector.async_vector_env")
def test_an_environment_that_breaks_is_named_with_the_last_good_checkpoint(
    vectorization, kills, said, tiny_lstm_config, tmp_path
):
    config = dataclasses.replace(
        tiny_lstm_config,
        env_id="tests/Breaking-v0",
        env_kwargs={"kills": kills},
        vectorization=vectorization,
        checkpoint_interval=200,
        learning_starts=1100,  # after it breaks: nothing to compile
    )
    expected = rf"'tests/Breaking-v0' failed: {said}, at environment step \d+; the last good .*ckpt-\d+; mend"
    with pytest.raises(EnvironmentFailed, match=expected):
        train(config, tmp_path / "run")
    assert load_run(tmp_path / "run").env_steps >= 200


def test_a_full_disk_is_named_and_what_was_saved_goes_on(finished, tiny_lstm_config, tmp_path):
    """A limit on the size of files stands for the full disk."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(status):
        if status.doing == "saving" and status.env_steps >= 800:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, most))

    out = tmp_path / "run"
    try:
        expected = r"cannot write to .*File too large.*ckpt-4\d\d; mend that and go on"
        with pytest.raises(SavingFailed, match=expected):
            train(tiny_lstm_config, out, watch=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert 400 <= load_run(out).env_steps < 800
    train(tiny_lstm_config, out, resume=True)
    for a, b in zip(weights(out), weights(finished[0]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("what", ["claim", "write_result"])
def test_any_file_that_cannot_be_written_is_named(what, tiny_lstm_config, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RunFolder, what, full)
    with pytest.raises(SavingFailed, match=r"cannot write to .*run: No space left on device"):
        train(dataclasses.replace(tiny_lstm_config, env_steps=300), tmp_path / "run")


def test_checkpoints_that_nothing_lists_are_not_forgotten(finished, tiny_lstm_config, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    (out / "checkpoints" / "checkpoint").unlink()
    with pytest.raises(InvalidInput, match="'checkpoint', which lists them, is damaged or gone"):
        train(tiny_lstm_config, out, resume=True)
    assert rows(out)


def test_a_damaged_row_of_figures_is_named(finished, tiny_lstm_config, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "run")
    lines = (out / "metrics.jsonl").read_text().splitlines()
    (out / "metrics.jsonl").write_text("\n".join([lines[0], "{", *lines[2:]]) + "\n")
    with pytest.raises(InvalidInput, match=r"metrics.jsonl is damaged: line 2 is not JSON"):
        train(tiny_lstm_config, out, resume=True)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_goes_on(finished, tiny_lstm_config, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    # TensorFlow keeps a checkpoint's place as it was saved, relative to its folder.
    newest = Path(RunFolder(out).latest_checkpoint())
    (data,) = newest.parent.glob(newest.name + ".data*")
    content = bytearray(data.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    data.write_bytes(content)
    expected = rf"{newest} is damaged; delete {newest}\.\* to go back to .*ckpt-8"
    with pytest.raises(InvalidInput, match=expected):
        train(tiny_lstm_config, out, resume=True)
    for file in newest.parent.glob(newest.name + ".*"):
        file.unlink()
    assert train(tiny_lstm_config, out, resume=True).env_steps >= 1200
    for a, b in zip(weights(out), weights(finished[0]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_folder_is_not_overwritten_and_resume_wants_the_runs_own_configuration(finished, tiny_lstm_config):
    out, _, _, _ = finished
    with pytest.raises(InvalidInput, match="already holds a run; go on with --resume"):
        train(tiny_lstm_config, out)
    with pytest.raises(InvalidInput, match="another gamma"):
        train(dataclasses.replace(tiny_lstm_config, gamma=0.1), out, resume=True)


def test_folders_without_a_run_are_named(tiny_lstm_config, tmp_path):
    with pytest.raises(InvalidInput, match="holds no run"):
        load_run(tmp_path)
    with pytest.raises(InvalidInput, match="holds no run"):
        train(tiny_lstm_config, tmp_path, resume=True)
    for damaged, message in (
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON: .*utf-8"),
        (b"[]", "the configuration must be an object"),
    ):
        (tmp_path / "config.json").write_bytes(damaged)
        with pytest.raises(InvalidInput, match=message):
            load_run(tmp_path)


def test_attention_without_a_core_trains_and_loads(tiny_lstm_config, tmp_path):
    config = dataclasses.replace(tiny_lstm_config, core=NoCoreConfig(), attention_window=3, env_steps=400)
    train(config, tmp_path / "run")
    assert load_run(tmp_path / "run").env_steps >= 400


@pytest.mark.parametrize("kind", ["soft", "reinforce"])
def test_attention_over_regions_learns_and_loads(kind, tiny_lstm_config, tmp_path):
    config = dataclasses.replace(
        tiny_lstm_config,
        env_id="tests/Marked-v0",
        core=NoCoreConfig(),
        gamma=0.0,
        region_attention=kind,
        env_steps=8000,
        checkpoint_interval=8000,
    )
    result = train(config, tmp_path / "run")
    assert result.final_return > 4.5  # of 5; at random 1.25
    environment = load("tests/Marked-v0", num_envs=8)
    again = evaluate(load_run(tmp_path / "run").policy, environment, episodes=8, seed=EVALUATION_SEED)
    assert again.mean_return == result.final_return


def test_what_was_learned_needs_its_memory(trained_run):
    environment = load(RECALL, num_envs=50)
    whole = evaluate(trained_run.policy, environment, episodes=50, seed=0)
    ablated = evaluate(trained_run.policy, environment, episodes=50, seed=0, ablate_memory=True)
    assert whole.mean_return >= 0.99
    assert ablated.mean_return <= -0.3


@pytest.mark.parametrize("mask_in", ["observation", "info"])
def test_only_allowed_actions_are_taken(mask_in, tiny_lstm_config, tmp_path):
    """In exploration, evaluation and by the policy that is left; the environment raises otherwise."""
    masked = dataclasses.replace(
        tiny_lstm_config,
        env_id="tests/OneAllowed-v0",
        env_kwargs={"mask_in": mask_in},
        action_mask=True,
        env_steps=500,
    )
    assert train(masked, tmp_path / "run").final_return == 5.0
    run = load_run(tmp_path / "run")
    environment = load("tests/OneAllowed-v0", env_kwargs=masked.env_kwargs, action_mask=True)
    assert evaluate(run.policy, environment, episodes=3, seed=0).mean_return == 5.0


@pytest.mark.parametrize(
    ("tiny", "options"),
    [
        (
            TINY,
            {
                "stored_state": True,
                "burn_in": 3,
                "priority_exponent": 0.9,
                "n_step": 3,
                "value_rescaling": True,
            },
        ),
        (TINY, {"vectorization": "async", "attention_window": 3, "td_loss": "squared"}),
        (TINY, {"previous_action": True, "previous_reward": True}),
        (TINY, {"previous_action": True, "action_slots": 4, "stored_state": True, "burn_in": 3}),
        (TINY, {"previous_action": True, "action_slots": 4, "action_grid": [3, 1]}),
        (TINY_LSTM, {"stored_state": True, "target_tau": 1.0, "target_period": 10, "td_loss": "squared"}),
        (TINY_LSTM, {"averaging": 0.9}),
        (TINY_LSTM, {"exploration": "ladder", "epsilon": 0.4, "priority_exponent": 0.6, "double_q": False}),
        (TINY_NO_CORE, {"attention_window": 6, "attention": "reinforce", "env_steps": 2000}),
    ],
)
def test_options_learn_together(tiny, options, tmp_path):
    config = make_config("tests/RememberFirst-v0", overrides={**tiny, **options})
    result = train(config, tmp_path / "run")
    assert result.best_return > 2.5  # of 5; at random 1.67


def test_the_ladder_gives_each_environment_its_own_epsilon(tiny_lstm_config):
    config = dataclasses.replace(tiny_lstm_config, exploration="ladder", epsilon=0.4)
    learner = Learner(load(config.env_id, num_envs=4), config)
    np.testing.assert_allclose(learner.epsilon(), 1.0)
    learner.env_steps.assign(config.epsilon_steps)
    # .4 to the powers 1, 1 + 7/3, 1 + 14/3, 8.
    np.testing.assert_allclose(learner.epsilon(), [0.4, 0.0471, 0.00556, 0.000655], rtol=2e-3)


def test_a_running_mean_of_the_weights_answers(tiny_lstm_config, tmp_path):
    learner = Learner(
        load(tiny_lstm_config.env_id, num_envs=4), dataclasses.replace(tiny_lstm_config, averaging=0.5)
    )
    mean, weight = learner.answering.variables[0], learner.network.variables[0]
    assert mean is not weight
    start = weight.numpy()
    weight.assign(start + 10.0)
    learner.updates.assign(tiny_lstm_config.updates)  # the first round
    learner._average_weights()  # keeps min(.5, 1 / 10) of itself: 9 of the 10
    np.testing.assert_allclose(mean, start + 9.0, rtol=1e-5)
    learner.updates.assign(100 * tiny_lstm_config.updates)
    learner._average_weights()  # half of itself, 9.5
    np.testing.assert_allclose(mean, start + 9.5, rtol=1e-5)
    run = TrainingRun(dataclasses.replace(tiny_lstm_config, averaging=0.9, env_steps=500), tmp_path / "run")
    run.run()
    for read, answering, latest in zip(
        load_run(tmp_path / "run").policy.network.variables,
        run.learner.answering.variables,
        run.learner.network.variables,
        strict=True,
    ):
        np.testing.assert_array_equal(read, answering)
        if latest.trainable:
            assert np.any(read.numpy() != latest.numpy())


def test_heads_are_made_sharp_in_the_middle_of_a_run(tiny_config):
    learner = Learner(load(tiny_config.env_id, num_envs=4), tiny_config)
    for share, expected in ((0.0, 1.0), (0.4, 1.0), (0.6, 0.625), (0.8, 0.25), (1.0, 0.25)):
        learner.env_steps.assign(int(share * tiny_config.env_steps))
        np.testing.assert_allclose(learner.temperature(), expected, rtol=1e-6)
    learner.network.set_temperature(learner.temperature())
    (core,) = (layer for layer in learner.network.layers if isinstance(layer, ScanNTM))
    np.testing.assert_allclose(core.temperature, 0.25)


def test_the_learning_rate_falls_to_a_tenth_by_environment_steps(tiny_lstm_config):
    """Whatever the length of episodes: Adam's first step is as large as the rate."""
    config = dataclasses.replace(tiny_lstm_config, updates=1)
    first, budget = config.first_update, config.env_steps
    largest = []
    for share, expected in ((0.0, 1.0), (0.5, 0.55), (1.0, 0.1)):
        environment = load(config.env_id, num_envs=config.num_envs, seed=0)
        learner = Learner(environment, config)
        collector = Collector(learner, environment, Stopwatch(), steps=config.collect_steps)
        collector.restart(0)
        while not learner.ready():
            collector.collect()
        learner.env_steps.assign(round(first + share * (budget - first)))
        np.testing.assert_allclose(learner.learning_rate(), expected * config.learning_rate, rtol=1e-5)
        before = [weight.numpy() for weight in learner.network.trainable_variables]
        learner.learn()
        after = learner.network.trainable_variables
        largest.append(max(np.abs(b - a).max() for a, b in zip(before, after, strict=True)))
    np.testing.assert_allclose(np.array(largest) / largest[0], [1.0, 0.55, 0.1], rtol=1e-2)


def test_q_values_are_in_the_environments_units_and_what_is_forbidden_stays_so(tiny_config):
    masked = dataclasses.replace(
        tiny_config, env_id="tests/OneAllowed-v0", action_mask=True, value_rescaling=True
    )
    network = Learner(load(masked.env_id, num_envs=4, action_mask=True), masked).network
    policy = MemoryPolicy(network, tf.Variable(0.5), value_rescaling=True)
    observation = {"x": tf.zeros([1, 1]), "action_mask": tf.constant([[1, 0, 1]], tf.int8)}
    is_first = tf.constant([True])
    learned, _ = network(observation, step_type=tf.constant([0]), network_state=policy.initial_state(1))
    _, found, _ = policy.step(observation, is_first, policy.initial_state(1))
    np.testing.assert_allclose(found[0, ::2], unscale(learned)[0, ::2] / 0.5, rtol=1e-5)
    assert found[0, 1] == -1e9


def test_pretrained_weights_are_where_training_starts(finished, tiny_lstm_config, tmp_path):
    """`finished` is a run that has learned; a learner that starts from it plays as it does."""
    config = dataclasses.replace(tiny_lstm_config, seed=7, averaging=0.9, pretrained=str(finished[0]))
    run = TrainingRun(config, tmp_path / "transfer")
    theirs = load_run(config.pretrained).policy.network.trainable_variables
    learner = run.learner
    for network in (learner.network, learner.answering, learner.agent._target_q_network):
        for variable, weight in zip(network.trainable_variables, theirs, strict=True):
            np.testing.assert_array_equal(variable, weight)


def test_pretrained_weights_are_taken_into_a_memory_of_another_size(tiny_config, tmp_path):
    """All but the initial state, which has an axis of slots."""
    train(tiny_config, tmp_path / "small")
    core = dataclasses.replace(tiny_config.core, slots=11)
    config = dataclasses.replace(tiny_config, core=core, seed=7, pretrained=str(tmp_path / "small"))
    theirs = load_run(config.pretrained).policy.network
    scratch = TrainingRun(dataclasses.replace(config, pretrained=None), tmp_path / "scratch").learner.network
    learner = TrainingRun(config, tmp_path / "transfer").learner
    for network in (learner.network, learner.agent._target_q_network):
        own = {weight.ref() for weight in network.memory.slot_weights}
        assert len(own) == 3
        expected = zip(theirs.trainable_variables, scratch.trainable_variables, strict=True)
        for variable, (weight, fresh) in zip(network.trainable_variables, expected, strict=True):
            np.testing.assert_array_equal(variable, fresh if variable.ref() in own else weight)


def test_a_run_from_pretrained_weights_is_resumed_from_its_own(finished, tiny_lstm_config, tmp_path):
    """Also where what it was pretrained on is gone; without a checkpoint it would have to be there."""
    shutil.copytree(finished[0], tmp_path / "pretrained")
    config = dataclasses.replace(tiny_lstm_config, env_steps=800, pretrained=str(tmp_path / "pretrained"))
    result = train(config, tmp_path / "run")
    (tmp_path / "pretrained").rename(tmp_path / "gone")
    assert train(config, tmp_path / "run", resume=True).final_return == result.final_return
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(InvalidInput, match="pretrained"):
        TrainingRun(config, tmp_path / "run", resume=True)


def test_pretrained_weights_of_another_network_are_refused(finished, tiny_lstm_config, tmp_path):
    for changed, message in (
        ({"hidden": 17}, r"MemoryQNetwork/hidden/kernel:0 must be \(\d+, 17\), by this run's .*hidden"),
        ({"hidden_layers": 3}, r"hidden_2/kernel:0 must be \(.*, not"),
    ):
        config = dataclasses.replace(tiny_lstm_config, **changed, pretrained=str(finished[0]))
        with pytest.raises(InvalidInput, match=message):
            TrainingRun(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_every_part_of_the_experience_is_resumed(tiny_config, tmp_path):
    """Stored states, priorities and the ladder go on as in the run left alone."""
    config = dataclasses.replace(
        tiny_config, stored_state=True, burn_in=3, priority_exponent=0.9, exploration="ladder", epsilon=0.4
    )
    out, copy = tmp_path / "run", tmp_path / "copy"

    def copy_after_the_first_checkpoint(status):
        if status.doing == "training" and status.env_steps > 400 and not copy.exists():
            shutil.copytree(out, copy)

    run = TrainingRun(config, out)
    run.run(copy_after_the_first_checkpoint)
    assert run.learner.act.experimental_get_tracing_count() == 1
    assert run.learner.learn.experimental_get_tracing_count() == 1
    resumed_at = []
    train(config, copy, resume=True, watch=lambda status: resumed_at.append(status.env_steps))
    assert resumed_at[0] == 400
    assert [strip(r) for r in rows(copy)] == [strip(r) for r in rows(out)]
    for a, b in zip(weights(copy), weights(out), strict=True):
        np.testing.assert_array_equal(a, b)


def test_ctrl_c_reaches_workers_and_the_run_still_saves(tiny_lstm_config, tmp_path):
    out = tmp_path / "run"
    settings = [f"--set={k}={json.dumps(v)}" for k, v in {**TINY_LSTM, "env_steps": 10**6}.items()]
    code = "import sys, tests.conftest; from tfmem.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "train", tiny_lstm_config.env_id, f"--out={out}", *settings]
    process = subprocess.Popen(
        [*command, "--set=vectorization=async"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests that a shell runs in its background are started with this signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not (out / "checkpoints" / "checkpoint").exists():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, printed = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "and saved; go on with --resume" in printed.splitlines()[-1]

"""The policy that the repository carries does what the README says."""

from pathlib import Path

from tests.conftest import RECALL
from tfmem.environments import load
from tfmem.export import load_policy
from tfmem.training import evaluate

VERSION = Path(__file__).parents[1] / "saved_models" / "repeat_previous" / "1"


def test_it_remembers_and_needs_its_memory():
    environment = load(RECALL, num_envs=50)
    policy = load_policy(VERSION)
    assert policy.manifest["environment"]["id"] == RECALL
    whole = evaluate(policy, environment, episodes=100, seed=0)
    ablated = evaluate(policy, environment, episodes=100, seed=0, ablate_memory=True)
    assert whole.mean_return >= 0.99
    assert ablated.mean_return <= -0.3


def test_it_is_small():
    assert sum(file.stat().st_size for file in VERSION.rglob("*") if file.is_file()) < 2e6

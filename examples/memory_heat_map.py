"""Plays one episode with an exported policy and draws where it wrote and read, step by step.

python examples/memory_heat_map.py saved_models/repeat_previous/1 docs/images/memory_heat_map.png
"""

import tfmem.quiet  # noqa: F401  # isort: skip  (before anything that imports TensorFlow)

import argparse

from tfmem.environments import load
from tfmem.export import load_policy
from tfmem.inspection import draw, trace


def main() -> None:
    """Parses the command line, plays and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policy", help="version folder of an export")
    parser.add_argument("picture")
    arguments = parser.parse_args()
    policy = load_policy(arguments.policy)
    environment = load(policy.manifest["environment"]["id"])
    episode = trace(policy, environment, seed=0, gamma=0.5)
    draw(episode, arguments.picture, title="Where the policy writes and reads, one episode")


if __name__ == "__main__":
    main()

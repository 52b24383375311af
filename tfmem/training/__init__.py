"""Configuration, the collect-and-learn loop, checkpoints, evaluation."""

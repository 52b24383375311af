import numpy as np
import pytest

from tfmem.errors import InvalidInput
from tfmem.tasks import AssociativeRecall, Copy, PrioritySort, RepeatCopy, batches, wrong_bits

CASES = [
    (Copy(), {"length": 1}),
    (Copy(bits=3), {"length": 20}),
    (RepeatCopy(), {"length": 4, "repeats": 3}),
    (RepeatCopy(bits=2), {"length": 1, "repeats": 10}),
    (AssociativeRecall(), {"items": 2}),
    (AssociativeRecall(bits=2, item_length=2), {"items": 6}),
    (PrioritySort(), {"items": 20, "answers": 16}),
]


@pytest.mark.parametrize(("task", "size"), CASES)
def test_the_oracle_is_right_and_the_batch_well_formed(task, size):
    batch = task.sample(np.random.default_rng(0), batch_size=16, **size)
    assert batch.inputs.shape == (*batch.mask.shape, task.features)
    assert batch.targets.shape == (*batch.mask.shape, task.outputs)
    assert {array.dtype for array in batch} == {np.dtype(np.float32)}
    assert wrong_bits(task.oracle(batch.inputs), batch) == 0
    # Nothing is shown while answers count, and nothing is to be answered before.
    assert not (batch.inputs * batch.mask[..., None]).any()
    assert not (batch.targets * (1 - batch.mask[..., None])).any()


def test_batches_go_on_and_have_every_size():
    train = batches(Copy(bits=2).sample, np.random.default_rng(0), batch_size=3, length=(1, 4))
    shapes = {next(train)[0].shape for _ in range(20)}
    assert shapes == {(3, 4, 4), (3, 10, 4)}


def test_wrong_bits_are_counted_where_they_count():
    batch = Copy(bits=4).sample(np.random.default_rng(0), batch_size=2, length=3)
    answer = batch.targets.copy()
    answer[0, -1] = 1 - answer[0, -1]  # four wrong bits in one of two sequences
    answer[:, 0] = 1  # before the answer
    assert wrong_bits(answer, batch) == 2


def test_copy_by_hand():
    batch = Copy(bits=2).sample(np.random.default_rng(0), batch_size=1, length=2)
    bits = batch.inputs[0, 1:3, :2]
    assert batch.inputs[0, :, 2].tolist() == [1, 0, 0, 0, 0, 0]
    assert batch.inputs[0, :, 3].tolist() == [0, 0, 0, 1, 0, 0]
    np.testing.assert_array_equal(batch.targets[0, 4:], bits)
    assert batch.mask[0].tolist() == [0, 0, 0, 0, 1, 1]


def test_repeat_copy_by_hand():
    batch = RepeatCopy(bits=2).sample(np.random.default_rng(0), batch_size=1, length=2, repeats=2)
    assert batch.inputs[0, :, 2].tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 0]
    # Numbers from 1 to 10 have the mean 5.5 and the variance (100 - 1) / 12 = 8.25: (2 - 5.5) / 2.8723.
    np.testing.assert_allclose(batch.inputs[0, :, 3], [0, 0, 0, -1.21854, 0, 0, 0, 0, 0], atol=1e-5)
    assert batch.targets[0, :, -1].tolist() == [0] * 8 + [1]
    np.testing.assert_array_equal(batch.targets[0, 4:6], batch.targets[0, 6:8])


def test_priority_sort_is_sorted():
    batch = PrioritySort(bits=1).sample(np.random.default_rng(1), batch_size=1, items=3, answers=3)
    order = np.argsort(-batch.inputs[0, :3, 1])
    np.testing.assert_array_equal(batch.targets[0, 4:, 0], batch.inputs[0, order, 0])


@pytest.mark.parametrize(
    ("task", "size", "message"),
    [
        (Copy(), {"length": 0}, "length must be at least 1"),
        (RepeatCopy(), {"length": 1, "repeats": 0}, "repeats must be at least 1"),
        (AssociativeRecall(bits=1, item_length=1), {"items": 3}, "items must be between 2 and 2"),
        (PrioritySort(), {"items": 2, "answers": 3}, "answers must be between 1 and items = 2"),
    ],
)
def test_sizes_that_do_not_fit_are_named(task, size, message):
    with pytest.raises(InvalidInput, match=message):
        task.sample(np.random.default_rng(0), batch_size=1, **size)

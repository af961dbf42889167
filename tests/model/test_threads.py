"""Models are read in many threads, and the process is the same afterwards."""

import gc
import logging
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import onnx
import pytest

from ntkit import FrozenModel, LinearHead


@pytest.fixture
def hasty():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def state():
    """Filters of warnings, levels and filters of all loggers, the collector."""
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    levels = {
        logger.name: (logger.level, tuple(logger.filters), logger.disabled)
        for logger in loggers
        if isinstance(logger, logging.Logger)
    }
    return list(warnings.filters), warnings.showwarning, levels, gc.isenabled()


def test_nothing_is_left_behind(zoo, tmp_path, hasty):
    path = zoo.save_external(zoo.classifier(3), tmp_path / "m.onnx")
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        tensor.external_data.add(key="unknown", value="to ONNX")  # of which it would warn
    path.write_bytes(proto.SerializeToString())
    FrozenModel.load(path)
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.INFO)  # the user's own
    before = state()

    def work(number):
        model = FrozenModel.load(path)
        model.body()
        model.with_head(LinearHead(*zoo.weights(3, seed=number), range(3)))
        return model.head

    try:
        with ThreadPoolExecutor(16) as threads:
            heads = list(threads.map(work, range(160)))
        assert state() == before
    finally:
        logger.setLevel(level)
    assert all(head == heads[0] for head in heads)

"""An import looks for no garbage, and leaves the collector as it was."""

import gc

import pytest

from keras_imaml._compat.quick_import import without_garbage_collection


@pytest.fixture(params=[True, False], ids=["collector_on", "collector_off"])
def enabled(request):
    was, frozen = gc.isenabled(), gc.get_freeze_count()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if was else gc.disable)()
    if frozen and not gc.get_freeze_count():
        gc.freeze()


@pytest.mark.parametrize("raises", [False, True])
def test_the_collector_is_off_within_and_as_it_was_after(enabled, raises):
    try:
        with without_garbage_collection():
            assert not gc.isenabled()
            if raises:
                raise ImportError
    except ImportError:
        assert raises
    assert gc.isenabled() is enabled


@pytest.mark.parametrize("frozen", [False, True])
def test_objects_go_to_the_oldest_generation_unless_some_are_frozen(enabled, frozen):
    (gc.freeze if frozen else gc.unfreeze)()
    with without_garbage_collection():
        lists = [[] for _ in range(10)]
    assert bool(gc.get_freeze_count()) is frozen
    oldest = {id(each) for each in gc.get_objects(generation=2)}
    assert all(id(each) in oldest for each in lists) is (enabled and not frozen)

"""The default client, and the public methods as functions of it."""

from __future__ import annotations

import atexit
import functools
import inspect
import os
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from siglip_ingest.client.client import SiglipClient

_default_client: SiglipClient | None = None
_default_client_lock = threading.Lock()


def default_client() -> SiglipClient:
    """The client of the module-level functions, made from the environment at first use and closed at exit."""
    global _default_client  # noqa: PLW0603  # the one process-wide value: the module-level functions are its reason
    with _default_client_lock:
        if _default_client is None:
            _default_client = SiglipClient.from_environment(os.environ)
            atexit.register(_default_client.close)
        return _default_client


def _forget_inherited_lock() -> None:
    """In a forked child: a lock that another thread of the parent held would never be released here."""
    global _default_client_lock  # noqa: PLW0603
    _default_client_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_inherited_lock)

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def _of_default_client(
    method: Callable[Concatenate[SiglipClient, _Parameters], _Result],
) -> Callable[_Parameters, _Result]:
    """Make a function of the default client's method, with the same parameters and docstring."""

    @functools.wraps(method)
    def function(*arguments: _Parameters.args, **options: _Parameters.kwargs) -> _Result:
        return method(default_client(), *arguments, **options)

    signature = inspect.signature(method)
    parameters = [value for name, value in signature.parameters.items() if name != "self"]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # help() reads it
    function.__qualname__ = method.__name__
    return function


enqueue_images = _of_default_client(SiglipClient.enqueue_images)
search_images = _of_default_client(SiglipClient.search_images)
similar_images = _of_default_client(SiglipClient.similar_images)
create_index = _of_default_client(SiglipClient.create_index)
create_label_set = _of_default_client(SiglipClient.create_label_set)
add_label = _of_default_client(SiglipClient.add_label)
mark_images = _of_default_client(SiglipClient.mark_images)
delete_images = _of_default_client(SiglipClient.delete_images)
prune_images = _of_default_client(SiglipClient.prune_images)
sync_folder = _of_default_client(SiglipClient.sync_folder)
label_scores = _of_default_client(SiglipClient.label_scores)
calibrate = _of_default_client(SiglipClient.calibrate)
calibrations = _of_default_client(SiglipClient.calibrations)
use_calibration = _of_default_client(SiglipClient.use_calibration)
label_from_images = _of_default_client(SiglipClient.label_from_images)
suggest_examples = _of_default_client(SiglipClient.suggest_examples)
explain_score = _of_default_client(SiglipClient.explain_score)
index_recall = _of_default_client(SiglipClient.index_recall)
tune_search = _of_default_client(SiglipClient.tune_search)
import_vectors = _of_default_client(SiglipClient.import_vectors)
export_vectors = _of_default_client(SiglipClient.export_vectors)
relevant_images = _of_default_client(SiglipClient.relevant_images)
diverse_images = _of_default_client(SiglipClient.diverse_images)
images_with_labels = _of_default_client(SiglipClient.images_with_labels)
near_duplicates = _of_default_client(SiglipClient.near_duplicates)
duplicate_groups = _of_default_client(SiglipClient.duplicate_groups)
locate = _of_default_client(SiglipClient.locate)
representatives = _of_default_client(SiglipClient.representatives)

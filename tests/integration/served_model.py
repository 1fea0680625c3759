"""A board whose agent is a model that plays a script: the tests' model server behind the real stages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from tests.fakes.model_server import ModelServer
from tests.integration.stage_bench import Bench

ADD = "*** Begin Patch\n*** Add File: new.txt\n+one\n*** End Patch\n"
Serve = Callable[..., AbstractContextManager[tuple[Bench, ModelServer]]]

"""A worker that runs on while the code on disk is replaced continues with the scripts of its own version."""

from pathlib import Path

import pytest

from taskserver import Client, tool
from taskserver.store import scripts
from tests.architecture.package import scripts as scripts_on_disk
from tests.patience import PATIENCE
from tests.worker.conftest import Hire


@tool
async def answer() -> int:
    return 42


async def test_scripts_are_read_when_the_worker_starts(
    client: Client, hire: Hire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [path.stem for path in scripts_on_disk()]
    scripts.script.cache_clear()
    hired = await hire(answer)
    await hired.worker.ready.wait()
    monkeypatch.setattr(scripts, "_LUA", tmp_path)  # where the files were, there are none any more
    assert await (await client.submit(answer)).result(timeout=PATIENCE) == 42
    assert [scripts.script(name).name for name in names] == names

"""README's Python blocks run, in order, in one namespace, as a reader would paste them."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def python_blocks(text: str) -> list[tuple[int, str]]:
    """(line, source) of every fenced block marked as Python."""
    blocks = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: block.start(1)].count("\n") + 1, block.group(1)) for block in blocks]


def run(text: str, name: str) -> dict[str, object]:
    namespace: dict[str, object] = {"__name__": "readme"}
    for line, source in python_blocks(text):
        exec(compile("\n" * (line - 1) + source, name, "exec"), namespace)  # errors show the document's own lines
    return namespace


def test_blocks_are_found_run_in_order_and_fail_with_their_line():
    text = "# A\n```python\nx = 1\n```\n```bash\nfalse\n```\n\n```python\ny = x + 1\n```\n"
    assert [line for line, _ in python_blocks(text)] == [3, 10]
    assert run(text, "text")["y"] == 2
    with pytest.raises(NameError) as error:
        run("\n\n```python\nmissing\n```\n", "text")
    assert error.traceback[-1].lineno == 3


def test_readme():
    text = README.read_text()
    assert python_blocks(text)
    run(text, str(README))

"""The option `--import MODULE`. `main.run` imports the modules before a command reads the registries."""

from typing import Annotated

import tyro

Imports = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="import", metavar="MODULE")]
"""Module names, one per use of the option."""

"""The network that a long run has come to, on the disk while it goes on: whole or not at all, and gone at its end."""

from __future__ import annotations

import shutil
from pathlib import Path

from refnet.errors import FormatError, RefnetError
from refnet.files import containers
from refnet.files.containers import npz
from refnet.files.graph_text import graph_text, read_graph_text
from refnet.network import Network

__all__ = ["KeptNetwork"]


class KeptNetwork:
    """A folder with one network and the number of the step that made it.

    Parameters
    ----------
    folder : ends in '.part', since what it holds is no output
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, step: int, net: Network) -> None:
        """Take in the network of a step; the one before goes."""
        self.folder.mkdir(exist_ok=True)
        npz.write(self.folder / f"{step}.npz", net.params, graph=graph_text(net.graph))
        for other in self._steps():
            if other != step:
                (self.folder / f"{other}.npz").unlink(missing_ok=True)

    def get(self) -> tuple[int, Network] | None:
        """The last step, and its network; None where there is none.

        Raises
        ------
        FormatError : what is there is none
        """
        steps = self._steps()
        if not steps:
            return None
        path = self.folder / f"{max(steps)}.npz"
        try:
            contents = containers.read(path)
            return max(steps), Network(read_graph_text(contents.graph), contents.arrays)
        except RefnetError as error:
            raise FormatError(f"{path}: {error}; take the folder away to compute it again") from None

    def remove(self) -> None:
        """Take the folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _steps(self) -> list[int]:
        return [int(each.stem) for each in self.folder.glob("*.npz") if each.stem.isdecimal()]

"""Where the index of a fleet goes: every place is looked at before the work begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmbd.cli import places
from mmbd.cli.options import Usage
from mmbd.cli.outputs import written

FORMS = (".html", ".csv", ".parquet", ".jsonl")


@dataclass(frozen=True)
class Outputs:
    """The files and folders that the index of a store is written to."""

    store: Path
    files: tuple[Path, ...]
    folders: tuple[Path, ...]

    def write(self) -> bool:
        """Write them all; whether that worked, else it has been said."""
        if not (self.files or self.folders):
            return True
        from mmbd.render import fleet_files
        from mmbd.results.store import Store

        store, done = Store(self.store), True
        for file in self.files:
            done &= written(file, lambda file=file: fleet_files.save(store, file))
        for folder in self.folders:
            done &= written(folder, lambda folder=folder: fleet_files.site(store, folder))
        return done


def plan(wanted: Sequence[str] | None, store: Path) -> Outputs:
    """Check every place; Usage for one that cannot be, Failed for one that cannot be written to."""
    files: list[Path] = []
    folders: list[Path] = []
    for given in wanted or ():
        if given.endswith(("/", os.sep)) or Path(given).is_dir():
            folders.append(places.folder("--out", given))
        else:
            files.append(places.file("--out", given, FORMS, [store], other=", or a folder"))
    if any(path.suffix == ".parquet" for path in files):
        from mmbd.base.extras import require

        require("pyarrow.parquet", extra="data")
    if len({path.resolve() for path in (*files, *folders)}) < len(files) + len(folders):
        raise Usage("--out: two of the outputs are one file")
    return Outputs(store, tuple(files), tuple(folders))

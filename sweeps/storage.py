"""Where the study is stored: a journal file in the run directory, or a database."""

from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from sweeps.run import Run

STUDY_NAME = "lmopt"


def open_storage(run: Run) -> BaseStorage:
    """Return the study's storage: the journal file, or the database that the sweep names.

    The caller holds `run.lock()`, as every writer of the study does.
    """
    url = run.sweep.study.storage
    if url is not None:
        return optuna.storages.RDBStorage(url)
    repair_torn_tail(run.journal)
    lock = JournalFileOpenLock(str(run.journal))
    return JournalStorage(JournalFileBackend(str(run.journal), lock_obj=lock))


def repair_torn_tail(journal: Path) -> int:
    """Cut an unfinished last line off a journal; return how many bytes were cut.

    A killed writer or a full disk leaves one. Optuna would join the next record to it and fail
    to read the file from then on. What the line said is in the rows and claims.
    """
    if not journal.exists():
        return 0
    with journal.open("rb+") as file:
        content = file.read()
        torn = len(content) - (content.rfind(b"\n") + 1)
        if torn:
            file.truncate(len(content) - torn)
    return torn


def load_or_create_study(run: Run, storage: BaseStorage) -> optuna.Study:
    """Return the study in a storage, new if it is not there. Loading writes nothing."""
    name = STUDY_NAME if run.sweep.study.storage is None else run.name
    # Points are proposed on a scratch copy (see sweeps.study); this study only records them.
    sampler = optuna.samplers.RandomSampler(seed=0)
    try:
        return optuna.load_study(study_name=name, storage=storage, sampler=sampler)
    except KeyError:
        directions = list(run.sweep.objectives.values())
        return optuna.create_study(
            study_name=name, storage=storage, directions=directions, sampler=sampler
        )

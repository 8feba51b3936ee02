"""Where the study is stored: a journal file in the run directory, or a database."""

import os
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from sweeps.definition.errors import ConfigError
from sweeps.run.directory import Run


def open_storage(run: Run) -> BaseStorage:
    """Return the study's storage: the journal file, or the database that the sweep names.

    The caller holds `run.lock()`, as every writer of the study does.
    """
    url = run.sweep.study.storage
    if url is not None:
        return open_database(url, os.getpid())
    repair_torn_tail(run.journal)
    lock = JournalFileOpenLock(str(run.journal))
    return JournalStorage(JournalFileBackend(str(run.journal), lock_obj=lock))


@cache
def open_database(url: str, pid: int) -> BaseStorage:
    """Return a database as storage of this process: the tables are looked at once, not each time.

    No connection is kept open: hundreds of workers with one each are more than a server allows.

    Raises:
        ConfigError: It does not answer, or its driver is not installed.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    try:
        shown = make_url(url).render_as_string(hide_password=True)
        return optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})
    except ImportError:
        package = "'lmopt[postgresql]'" if url.startswith("postgresql") else "the one it names"
        raise ConfigError(
            f"study.storage {shown} needs a driver that is not installed: pip install {package}"
        ) from None
    except SQLAlchemyError as error:
        words = " ".join(str(getattr(error, "orig", None) or error).split())
        raise ConfigError(
            f"study.storage does not answer: {words}; correct the URL or start the server"
        ) from None


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


def load_study(run: Run) -> optuna.Study:
    """Return the study of a run; loading writes nothing.

    Raises:
        KeyError: There is none.
        ValueError: The journal holds a line that is no record.
    """
    # Points are proposed on a scratch copy (see sweeps.study); this study only records them.
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.load_study(study_name=run.study_name, storage=open_storage(run), sampler=sampler)


def create_study(run: Run) -> optuna.Study:
    """Make the study of a run, with nothing in it."""
    return optuna.create_study(
        study_name=run.study_name,
        storage=open_storage(run),
        directions=list(run.sweep.objectives.values()),
        sampler=optuna.samplers.RandomSampler(seed=0),
    )


def put_study_aside(run: Run) -> None:
    """Make room for a new study: keep the journal under another name, delete from a database."""
    if run.sweep.study.storage is not None:
        with suppress(KeyError):
            optuna.delete_study(study_name=run.study_name, storage=open_storage(run))
    elif run.journal.exists():
        run.journal.rename(run.journal.with_name(f"study.journal.broken-{int(time.time())}"))

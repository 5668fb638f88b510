"""What a run writes at its end, and what the same command does after that.

A finished run is checked against what it wrote: files that were cut, changed or lost are written again from its
journal, and pictures that were replaced since are scored again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from roc.model.reasoned import add_kinds
from roc.scoring.copies import CHOSEN
from roc.scoring.journal import Journal
from roc.scoring.options import ScoreOptions
from roc.scoring.outputs import Facts, Outputs
from roc.scoring.selection import Rows, select
from roc.scoring.sources import Source
from roc.scoring.stamps import STAMP, is_changed
from roc.scoring.stars import Starring, write_stars

logger = logging.getLogger(__name__)

_KEPT = ("settings", "failed", "answers", "retried", "moved", "uncopied", "versions", "outs", "outputs")
"""Facts of a finished run that stand as they were."""


@dataclass(frozen=True)
class Outcome:
    """What a run has done.

    Attributes:
        facts: What stands in `scores.run.json`.
        scored: Images scored by this command; None where the run was finished before.
        seconds: How long that took, without loading the model.
        chosen: How many images were chosen; None where that was not asked for.
        uncopied: How many of them could not be copied or moved; the errors file says why.
        starring: What was written into XMP sidecars; None where that was not asked for.
    """

    facts: Facts
    scored: int | None
    seconds: float
    chosen: int | None
    uncopied: int = 0
    starring: Starring | None = None


def changed(journal: Journal, sources: Sequence[Source]) -> list[Source]:
    """Lists the images whose files are no longer those that were scored."""
    done = [source for source in sources if source.name in journal]
    rows = journal.rows(source.name for source in done)
    return [source for source, row in zip(done, rows, strict=True) if _is_other(row, source)]


def _is_other(row: dict[str, Any], source: Source) -> bool:
    """Tells whether a row was scored from another picture; one of an earlier version says nothing about that."""
    return STAMP in row and is_changed(source, row[STAMP])


class Run:
    """A run with what the steps after its scoring need.

    Args:
        options: Of the run.
        files: Its files.
        sources: All images.
        facts: What will stand in `scores.run.json`.

    Attributes:
        journal: That of a finished run, opened again because images are to be scored (again).
    """

    def __init__(self, options: ScoreOptions, files: Outputs, sources: Sequence[Source], facts: Facts) -> None:
        self.options = options
        self.files = files
        self.sources = sources
        self.facts = facts
        self.journal: Journal | None = None

    def finished_rows(self, stack: ExitStack, before: Facts, earlier: dict[str, Any]) -> Rows | None:
        """Checks a finished run against what it wrote, and gives its rows.

        Args:
            stack: Closes the journal.
            before: Facts of then.
            earlier: Settings as an earlier version noted them.

        Returns:
            The rows; None where images are to be scored (again), into `self.journal`.

        Raises:
            ValueError: The output is wrong and cannot be written again.
        """
        options, files, facts = self.options, self.files, self.facts
        facts |= {name: before[name] for name in _KEPT if name in before}
        wrong = files.wrong(before)
        if not files.has_sound_journal(before):
            if wrong:
                raise ValueError(
                    f"{'; '.join(wrong)}, and there is no sound journal of the run to write it again from; score anew "
                    "with --overwrite, or name another --out"
                )
            return self._rows_of_output(stack, before, earlier)
        journal = stack.enter_context(Journal(files.kept, facts["settings"], earlier=earlier))
        files.clean(options.gallery, options.copy_to, options.move_to)
        names = [source.name for source in self.sources]
        missing = [name for name in names if name not in journal]
        again = changed(journal, self.sources)
        if missing or again or (options.retry_failed and facts["failed"]):
            journal.rename(files.journal)
            self.journal = journal
            return None
        if wrong:
            logger.warning("%s; written again from %s", "; ".join(wrong), files.kept)
            self.write(lambda: journal.rows(names))
        return lambda: journal.rows(names)

    def _rows_of_output(self, stack: ExitStack, before: Facts, earlier: dict[str, Any]) -> Rows | None:
        """Does so where the journal of the finished run is gone or damaged and its output is all there is."""
        files, facts = self.files, self.facts
        if "outputs" in before:
            logger.warning("%s is gone or damaged; whether pictures were replaced since cannot be seen", files.kept)
        else:
            logger.warning(
                "%s was finished by an earlier version of roc: its number of rows is right, but it noted nothing else "
                "to check it by, nor whether all of the model is the same; --overwrite scores anew",
                files.out,
            )
        if not (self.options.retry_failed and facts["failed"]):
            return files.read_rows
        self.journal = stack.enter_context(Journal(files.journal, facts["settings"], facts, earlier=earlier))
        failed = [row for row in files.read_errors() if not row["error"].startswith(CHOSEN)]
        self.journal.write([*files.read_rows(), *failed])
        return None

    def write(self, rows: Rows) -> None:
        """Writes all outputs, the facts last."""
        files, facts = self.files, self.facts
        facts["failed"] = files.write_errors(rows())
        count = files.write_rows(rows())
        for column in ("answers", "retried"):  # an earlier version noted no kinds of what was written anew
            kinds = add_kinds(row[column] for row in rows() if row.get(column))
            if kinds:
                facts[column] = kinds
        files.write_facts(facts, count)

    def chosen(self, outcome: Outcome, rows: Rows, again: bool = False) -> Outcome:
        """Writes what is chosen by the scores, notes what could not be copied, and gives the photos their stars.

        Args:
            outcome: So far.
            rows: All of the run.
            again: Whether an earlier choice has left errors that are to be removed.
        """
        options, files, facts = self.options, self.files, self.facts
        selection = select(options, facts, self.sources, rows)
        if selection.moved or selection.faults or again:
            facts["moved"] = {**facts.get("moved", {}), **selection.moved}
            facts["uncopied"] = len(selection.faults)
            failed = [row for row in files.read_errors() if not row["error"].startswith(CHOSEN)]
            files.write_errors([*failed, *selection.faults])
            count = sum("error" not in row for row in rows())
            files.write_facts(facts, count)
        files.moves.unlink(missing_ok=True)
        starring = write_stars(options, self.sources, rows) if options.xmp is not None else None
        return replace(outcome, chosen=selection.count, uncopied=len(selection.faults), starring=starring)


def some(sources: Sequence[Source]) -> str:
    return ", ".join(source.name for source in sources[:3]) + (", ..." if len(sources) > 3 else "")

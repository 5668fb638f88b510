"""The phases in which photos get their edits: what each editor is told, what it makes of that, whether that is good.

Which editor an edit comes from, and what it is told, is decided by the photo's name, the seed and the journal alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from roc.data.images import open_image
from roc.data.records import hash_fraction
from roc.relative.config import EMBEDDED, BuildOptions
from roc.relative.edit_check import check_edit
from roc.relative.editors import EditError, Editor, Order, plan
from roc.relative.instructions import asked, kind_of, listed
from roc.relative.judges import Pair
from roc.relative.photos import Photo, edit_fault, fitted, write_picture
from roc.relative.steps import Row, Step, Steps

TOLD = ("editor", "category", "instruction", "strength", "seed")
"""What a record says of how its picture was made."""


class Editing:
    """Has photos edited, and remembers what came of it.

    Args:
        options: Of the build.
        steps: What was done, and does the rest.
        out: Folder of the build.
        editors: Name -> editor.
        instructor: (chat model, patience) that writes instructions; None takes them from the list.
        checker: (chat model, patience) that checks edits; None checks none.
    """

    def __init__(
        self,
        options: BuildOptions,
        steps: Steps,
        out: Path,
        editors: Mapping[str, Editor],
        instructor: tuple | None = None,
        checker: tuple | None = None,
    ) -> None:
        self._options, self._steps, self._out, self._editors = options, steps, out, editors
        self._instructor, self._checker = instructor, checker
        self._plans: dict[str, tuple[Order | None, list[Order]]] = {}
        self._damaged = options.damaged if set(options.editors) == {EMBEDDED} else 0.0

    def damage(self, photo: Photo) -> Order | None:
        """Tells how a photo is damaged before it is edited; None for one that stays as it is."""
        return self._plan(photo)[0]

    def edit(self, photos: Sequence[tuple[Photo, Row]]) -> None:
        """Has photos edited.

        Args:
            photos: Each with the row of the step that wrote it.
        """
        if self._instructor is not None:
            self._instruct(photos)
        by_editor: dict[str, list[Step]] = {name: [] for name in self._editors}
        for photo, written in photos:
            for number in self._numbers():
                order = self._order(photo, number, written)
                if not isinstance(order, Order):
                    continue
                key, name = _edit_key(photo, number, written), self._editor_of(photo, number)
                row = self._steps.row(key)
                if row is not None and row.get("picture") and not (self._out / row["picture"]).is_file():
                    self._steps.forget(key)
                work = partial(self._edit_one, name, written["source"], order, f"{photo.folder}/{number}.jpg")
                by_editor[name].append(Step(key, work))
        for name, steps in by_editor.items():
            self._steps.carry_out(steps, at_once=self._editors[name].at_once, unit=f"edits by {name}")
            self._editors[name].close()
        if self._checker is not None:
            self._check(photos)

    def edited(self, photo: Photo, written: Row) -> list[tuple[str, Row]]:
        """Lists a photo's edits: name and row, with `reason` and `error` where one cannot be used."""
        found = []
        for number in self._numbers():
            order = self._order(photo, number, written)
            if isinstance(order, Order):
                row = self._steps.row(_edit_key(photo, number, written))
            else:
                row = dict.fromkeys(TOLD) | {"editor": self._editor_of(photo, number), "category": order["category"]}
                row |= {"reason": "failed", "error": f"no instruction: {order['error']}"}
            if row is not None:
                found.append((f"{photo.id}#{number}", self._checked(written, row)))
        return found

    def _numbers(self) -> Iterable[int]:
        return range(1, self._options.edits + 1)

    def _plan(self, photo: Photo) -> tuple[Order | None, list[Order]]:
        options = self._options
        if photo.id not in self._plans:
            self._plans[photo.id] = plan(
                photo.id,
                options.edits,
                categories=options.categories,
                strengths=(options.weakest, options.strongest),
                damaged=self._damaged,
                seed=options.seed,
            )
        return self._plans[photo.id]

    def _editor_of(self, photo: Photo, number: int) -> str:
        """Chooses who makes an edit, at random as the paper does."""
        place = hash_fraction(f"{photo.id} {number}", f"editor {self._options.seed}")
        return self._options.editors[int(place * len(self._options.editors))]

    def _order(self, photo: Photo, number: int, written: Row) -> Order | Row:
        """Gives what an editor is told; a row with `category` and `error` where there is no instruction."""
        if self._editor_of(photo, number) == EMBEDDED:
            return self._plan(photo)[1][number - 1]
        if self._instructor is None:
            told = listed(photo.id, number, self._options.seed)
        else:
            kind = kind_of(photo.id, number, self._options.seed)
            told = self._steps.row(self._instruction_key(photo, number, written)) or {"error": "nobody was asked"}
            if "error" in told:
                return {"category": kind, "error": told["error"]}
        seed = int(hash_fraction(f"{photo.id} {number}", f"noise {self._options.seed}") * 2**31)
        return Order(told["instruction"], told["category"], seed)

    def _instruction_key(self, photo: Photo, number: int, written: Row) -> str:
        return f"instruction:{self._options.instructions}:{written['content']}:{photo.id}:{number}"

    def _instruct(self, photos: Sequence[tuple[Photo, Row]]) -> None:
        steps = [
            Step(
                self._instruction_key(photo, number, written),
                partial(
                    asked,
                    *self._instructor,
                    str(self._out / written["source"]),
                    kind_of(photo.id, number, self._options.seed),
                ),
            )
            for photo, written in photos
            for number in self._numbers()
            if self._editor_of(photo, number) != EMBEDDED
        ]
        self._steps.carry_out(steps, at_once=self._options.requests_at_once, unit="instructions")

    def _edit_one(self, name: str, source: str, order: Order, written: str) -> Row:
        editor = self._editors[name]
        facts = {"editor": name, **{key: value for key, value in asdict(order).items() if key != "level"}}
        before = open_image(self._out / source)
        try:
            edited = editor.edit(before, order)
        except EditError as error:
            return facts | {"reason": "failed", "error": str(error)}
        picture, returned = fitted(edited.picture, before.size)
        if returned is not None:
            facts["returned"] = returned
        fault = edit_fault(before, picture)
        if fault is not None:
            return facts | {"reason": fault[0], "error": fault[1]}
        content = write_picture(self._out / written, picture)
        return facts | {"picture": written, "content": content, "known": edited.known}

    # --- the check ----------------------------------------------------------------------------------------------------

    def _check(self, photos: Sequence[tuple[Photo, Row]]) -> None:
        steps = []
        for photo, written in photos:
            for name, row in self.edited(photo, written):
                if "content" in row and row["editor"] != EMBEDDED:
                    before, after = (str(self._out / path) for path in (written["source"], row["picture"]))
                    pair = Pair(name, before, after, row["instruction"], row["category"])
                    steps.append(Step(self._check_key(written, row), partial(check_edit, *self._checker, pair)))
        self._steps.carry_out(steps, at_once=self._options.requests_at_once, unit="edits checked")

    def _check_key(self, written: Row, row: Row) -> str:
        return f"check:{self._options.checker}:{written['content']}:{row['content']}:{row['instruction']}"

    def _checked(self, written: Row, row: Row) -> Row:
        """Adds what the check found to the row of an edit; edits of the embedded editor are what they are."""
        if self._checker is None or "error" in row or row["editor"] == EMBEDDED:
            return row
        found = self._steps.row(self._check_key(written, row))
        if found is None:
            return row
        if "error" in found:
            return row | {"reason": "unchecked", "error": found["error"]}
        if found["quality"] < self._options.quality:
            marks = ", ".join(f"{mark:g}" for mark in found["marks"])
            told = f"its quality is {found['quality']:.2f} (success, restraint, naturalness, cleanness: {marks})"
            return row | {"reason": "poor edit", "error": f"{told}, below {self._options.quality:g}"}
        return row | {"quality": found["quality"]}


def _edit_key(photo: Photo, number: int, written: Row) -> str:
    return f"edit:{written['digest'][:16]}:{photo.id}:{number}"

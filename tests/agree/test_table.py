"""A table of sensitivities fits its photos or is refused; what is missing is counted."""

import shutil

import pytest
import torch
from heads import picture

from roc.agree.attributes import ATTRIBUTES
from roc.agree.table import PREFIX, SensitivityTable, write_table
from roc.data.parquet import write_parquet
from roc.data.records import Record
from roc.data.rows import DataError
from roc.scoring.sources import Source
from roc.scoring.stamps import stamp_of

VALUES = [[0.25, 0.05, 0.2, 0.1, 0.4], [0.1, 0.1, 0.4, 0.02, 0.1], [0.0] * 5]
FACTS = {"settings": {"delta": 0.2}, "versions": {"roc": "0.1.0"}}


@pytest.fixture
def photos(tmp_path):
    """Three photos with numbers for names, as records."""
    records = []
    for number in (1, 2, 10):
        path = tmp_path / f"{number}.png"
        picture(number).save(path)
        records.append(Record(id=str(number), images=(str(path),)))
    return records


@pytest.fixture
def rows(photos):
    return [
        {
            "id": record.id,
            "fold": 1,
            **{PREFIX + name: value for name, value in zip(ATTRIBUTES, values, strict=True)},
            "f": "abc",
            "digest": stamp_of(Source(record.id, record.images[0]))[-1],
        }
        for record, values in zip(photos, VALUES, strict=True)
    ]


@pytest.fixture
def table(rows, tmp_path):
    write_table(tmp_path / "sens.parquet", rows, FACTS)
    return tmp_path / "sens.parquet"


def test_what_is_written_is_read(table):
    found = SensitivityTable.read(table)
    assert found.ids == ("1", "2", "10") and found.facts == {"kind": "sensitivity", **FACTS}
    assert found.values["blur"].tolist() == [0.4, 0.1, 0.0] and found.medians["saturation"] == 0.2


def test_weights_go_by_id_and_by_name(table, rows, photos, tmp_path):
    expected = SensitivityTable.read(table).route(photos, calibrated=False)
    assert expected.weights["saturation"].tolist() == pytest.approx([0.2, 0.4 / 0.72, 0.2])
    assert expected.weights["blur"].tolist() == pytest.approx([0.4, 0.1 / 0.72, 0.2])
    # The same rows and columns in the order of the released table, and the photos in yet another.
    released = ("id", *(PREFIX + name for name in ("brightness", "contrast", "blur", "hue", "saturation")))
    about = '{"kind": "sensitivity"}'
    write_parquet(tmp_path / "other.parquet", rows[::-1], (*released, "digest"), about)
    found = SensitivityTable.read(tmp_path / "other.parquet").route(photos[::-1], calibrated=False)
    assert found.ids == ("10", "2", "1")
    for name in ATTRIBUTES:
        assert torch.equal(found.weights[name].flip(0), expected.weights[name]), name


def test_calibrated_weights_take_the_medians_given(table, photos):
    routing = SensitivityTable.read(table).route(photos[:1], medians=dict.fromkeys(ATTRIBUTES, 1.0))
    plain = SensitivityTable.read(table).route(photos[:1], calibrated=False)
    own = SensitivityTable.read(table).route(photos[:1])
    assert routing.weights["blur"].item() == pytest.approx(plain.weights["blur"].item(), abs=1e-6)
    assert own.weights["hue"].item() == pytest.approx(5 / (2.5 + 1 + 1 + 5 + 4), abs=1e-6)


def test_photos_that_nothing_moves_are_counted(table, photos, caplog):
    routing = SensitivityTable.read(table).route(photos)
    assert routing.flat == ("10",) and routing.missing == () and routing.coverage == pytest.approx(2 / 3)
    assert [routing.weights[name][2].item() for name in ATTRIBUTES] == pytest.approx([0.2] * 5)
    assert "of 3 photos, 0 are not in the table and 1 do not change" in caplog.text


def test_numbers_for_names_are_found_whatever_type_they_were_stored_in(rows, photos, tmp_path):
    for row in rows:
        row["id"] = int(row["id"])
    write_parquet(tmp_path / "typed.parquet", rows, tuple(rows[0]), '{"kind": "sensitivity"}')
    assert SensitivityTable.read(tmp_path / "typed.parquet").route(photos).missing == ()


def test_unknown_ids_are_refused_or_counted(table, photos, caplog):
    found, stranger = SensitivityTable.read(table), Record(id="11", images=())
    with pytest.raises(ValueError, match=r"lacks 1 of 4 photos \(11\); it holds 3 \(1, 2, 10\)"):
        found.route([*photos, stranger])
    routing = found.route([stranger, *photos], missing="uniform")
    assert routing.missing == ("11",) and routing.coverage == 0.5
    assert [routing.weights[name][0].item() for name in ATTRIBUTES] == pytest.approx([0.2] * 5)
    assert routing.weights["blur"][1] > 0.2 and "1 are not in the table" in caplog.text
    with pytest.raises(ValueError, match="lacks 1 of 1 photos"):
        found.route([stranger], missing="uniform")
    named = [Record(id=f"{photo.id}.PNG", images=photo.images) for photo in photos]
    with pytest.raises(ValueError, match="3 ids differ in their extension or in capital letters alone"):
        found.route(named)


def test_other_photos_of_the_same_names_are_refused(table, photos):
    shutil.copy(photos[0].images[0], photos[1].images[0])
    with pytest.raises(ValueError, match="is not the picture that the table knows as 2"):
        SensitivityTable.read(table).route(photos)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows[1].update(id="1"), "the id 1 stands there twice, again in row 2"),
        (lambda rows: rows[1].update(id=None), "row 2 has no id"),
        (lambda rows: rows[0].update(sens_hue=-0.1), "sens_hue of 1 is -0.1; expected a number of at least 0"),
        (lambda rows: rows[0].update(sens_hue=float("inf")), "sens_hue of 1 is inf"),
        (lambda rows: rows[0].update(sens_hue=None), "sens_hue of 1 is None"),
        (lambda rows: [row.pop("sens_hue") for row in rows], "of other attributes"),
        (lambda rows: [row.update(sens_light=0.1) for row in rows], "of other attributes"),
        (lambda rows: rows.clear(), "there is no photo in it"),
    ],
)
def test_a_table_that_cannot_be_used(rows, change, expected, tmp_path):
    change(rows)
    names = rows[0] if rows else ("id",)
    write_parquet(tmp_path / "wrong.parquet", rows, tuple(names), '{"kind": "sensitivity"}')
    with pytest.raises(ValueError, match=expected):
        SensitivityTable.read(tmp_path / "wrong.parquet")


def test_a_table_that_says_nothing_of_itself_is_refused(rows, tmp_path):
    write_parquet(tmp_path / "bare.parquet", rows, tuple(rows[0]))
    with pytest.raises(ValueError, match="does not say which model and perturbations"):
        SensitivityTable.read(tmp_path / "bare.parquet")
    with pytest.raises(DataError, match="no such file"):
        SensitivityTable.read(tmp_path / "gone.parquet")

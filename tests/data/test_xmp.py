"""XMP packets: ratings in every form that programs write, and changed without touching another byte."""

import pytest

from roc.data.xmp import XmpError, new_packet, read_packet, with_rating

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
XMP = 'xmlns:xmp="http://ns.adobe.com/xap/1.0/"'


def packet(inside, more=""):
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}>{inside}</rdf:RDF></x:xmpmeta>{more}'.encode()


ATTRIBUTE = packet(
    f"""<!-- mine > "yours" --><rdf:Description rdf:about='' {XMP}\r\n\txmp:Rating = '2' a="1 > 0" xmlns:a="b"/>"""
)
ELEMENT = packet(
    f'<rdf:Description rdf:about="" {XMP}><xmp:Rating>\n2\n</xmp:Rating></rdf:Description>', "<?xpacket?>\n"
)
EMPTY = packet(f"<rdf:Description {XMP}><xmp:Rating/></rdf:Description>")
OTHER_PREFIX = packet('<rdf:Description xmlns:xap="http://ns.adobe.com/xap/1.0/" xap:Rating="2"/>')
UNRATED = packet(
    '<rdf:Description rdf:about="" xmlns:dc="d"><dc:title>é &lt; xmp:Rating="5"</dc:title></rdf:Description>'
)
DECLARED = packet(f'<rdf:Description {XMP} xmp:Label="Red"/>')
TAKEN_PREFIX = packet('<rdf:Description xmlns:xmp="elsewhere" xmp:Rating="5"/>')
NO_DESCRIPTION = packet("\n")
NESTED = packet(
    f'<rdf:Description><m:Pantry xmlns:m="m" {XMP}><rdf:Description xmp:Rating="5"/></m:Pantry></rdf:Description>'
)


@pytest.mark.parametrize(
    ("data", "changed"),
    [
        (ATTRIBUTE, ATTRIBUTE.replace(b"= '2'", b"= '4'")),
        (ELEMENT, ELEMENT.replace(b">\n2\n<", b">4<")),
        (EMPTY, EMPTY.replace(b"<xmp:Rating/>", b"<xmp:Rating>4</xmp:Rating>")),
        (OTHER_PREFIX, OTHER_PREFIX.replace(b'"2"', b'"4"')),
        (DECLARED, DECLARED.replace(b"<rdf:Description", b'<rdf:Description xmp:Rating="4"')),
    ],
)
def test_only_the_rating_changes(data, changed):
    assert with_rating(data, 4) == changed and read_packet(changed).rating == 4


@pytest.mark.parametrize("data", [UNRATED, TAKEN_PREFIX, NO_DESCRIPTION, NESTED])
def test_a_rating_is_added_and_nothing_taken_away(data):
    assert read_packet(data).rating is None
    changed = with_rating(data, 3)
    assert read_packet(changed).rating == 3
    at = next(i for i, (a, b) in enumerate(zip(data, changed, strict=False)) if a != b)
    assert changed.startswith(data[:at]) and changed.endswith(data[at:])


def test_other_encodings():
    text = UNRATED.decode()
    for data in ("\ufeff".encode() + UNRATED, text.encode("utf-16"), ("\ufeff" + text).encode("utf-16-be")):
        changed = with_rating(data, 5)
        assert read_packet(changed).rating == 5 and changed[:2] == data[:2]


@pytest.mark.parametrize(
    ("written", "read"), [("5", 5), ("3.5", 3.5), ("0", None), (" ", None), ("-1", -1), ("+4", 4), ("2.", 2)]
)
def test_what_a_rating_says(written, read):
    assert read_packet(DECLARED.replace(b"xmp:Label", b'xmp:Rating="%b" xmp:Label' % written.encode())).rating == read


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is no XMP"),
        (b"<a/>", "no rdf:RDF"),
        (DECLARED[:-9], "is no XMP"),
        (DECLARED.replace(b'"Red"', b'"Red" xmp:Rating="six"'), "the rating 'six'; expected -1 to 5"),
        (DECLARED.replace(b'"Red"', b'"Red" xmp:Rating="99"'), "the rating '99'"),
        (DECLARED.replace(b'"Red"', b'"Red" xmp:Rating="0.5"'), "at least 1 star"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + DECLARED, "document type"),
        (EMPTY.replace(b"<xmp:Rating/>", b"<xmp:Rating>1</xmp:Rating><xmp:Rating>2</xmp:Rating>"), "two ratings"),
        (EMPTY.replace(b"<xmp:Rating/>", b"<xmp:Rating><a>1</a></xmp:Rating>"), "a form that is not known"),
        (b"\xff\xfe<\0a", "is no XMP"),
    ],
)
def test_what_is_no_rating(data, message):
    for work in (read_packet, lambda data: with_rating(data, 1)):
        with pytest.raises(XmpError, match=message):
            work(data)


def test_our_own_stars_are_known_until_somebody_changes_them():
    own = read_packet(new_packet(4, "1.2"))
    assert own.is_ours and own.rating == 4
    again = with_rating(new_packet(4, "1.2"), 2)
    assert again == new_packet(2, "1.2") and read_packet(again).is_ours
    assert not read_packet(again.replace(b'Rating="2"', b'Rating="3"')).is_ours and not read_packet(ATTRIBUTE).is_ours

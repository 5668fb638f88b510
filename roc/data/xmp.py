"""Ratings in XMP metadata: read from a packet, and put into one without touching anything else in it.

A packet is RDF in XML; `xmp:Rating` is an attribute or an element of its description: 1 to 5 stars, 0 for none, -1 for
a rejected photo. The parser is expat, which tells where in the bytes everything stands, so that a rating is changed in
place: comments, order, line ends and what other programs keep there stay byte for byte. A document type, which XMP
does not have and which can make a small file enormous, is refused.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XMP = "http://ns.adobe.com/xap/1.0/"
MOST_BYTES = 64 * 2**20

Name = tuple[str, str]
"""(namespace, local name) of an element or attribute."""

_RDF, _DESCRIPTION, _RATING, _TOOL = (RDF, "RDF"), (RDF, "Description"), (XMP, "Rating"), (XMP, "CreatorTool")
_ATTRIBUTE = re.compile(rb"""\s([^\s=/>"']+)\s*=\s*("[^"]*"|'[^']*')""")
_TAG_END = re.compile(rb"""(?:[^>"']|"[^"]*"|'[^']*')*?>""")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?\Z")
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_OWN_TOOL = re.compile(r"roc .*stars=([1-5])\Z")


class XmpError(ValueError):
    """XMP that cannot be read or changed; the message says why."""


@dataclass
class _Place:
    """Where a rating stands in the bytes.

    Attributes:
        text: As it is written.
        start, end: Of its value, without quotation marks; of an empty element, of the element.
        element: Name of the element where the element is empty; None elsewhere.
    """

    text: str
    start: int
    end: int
    element: bytes | None = None


@dataclass
class Packet:
    """What a packet holds of ratings.

    Attributes:
        rating: 1..5, or what lies between; -1 for rejected; None where there is none, or 0.
        tool: What `xmp:CreatorTool` says; None where it is absent.
    """

    rating: float | None
    tool: str | None = None

    @property
    def is_ours(self) -> bool:
        """Tells whether the rating is one that `new_packet` wrote and nobody has changed since."""
        own = _OWN_TOOL.match(self.tool or "")
        return own is not None and self.rating == int(own[1])


@dataclass
class _Element:
    name: Name | None
    raw: str
    prefixes: dict[str, str]
    start: int
    tag_end: int
    text: list[str] = field(default_factory=list)
    has_children: bool = False


class _Reader:
    """Parses a packet and notes where its ratings and descriptions are.

    Args:
        data: UTF-8.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.open: list[_Element] = []
        self.places: list[_Place] = []
        self.tools: list[str] = []
        self.description: _Element | None = None
        self.rdf_end: int | None = None
        self.parser = parser = expat.ParserCreate("utf-8")
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise XmpError(f"is no XMP: {error}") from None
        if self.rdf_end is None and self.description is None:
            raise XmpError("is no XMP: it holds no rdf:RDF")

    def _refuse(self, *declared: object) -> None:
        raise XmpError("declares a document type, which XMP does not have")

    def _start(self, raw: str, attributes: list[str]) -> None:
        prefixes = dict(self.open[-1].prefixes) if self.open else {"xml": "http://www.w3.org/XML/1998/namespace"}
        pairs = list(zip(attributes[::2], attributes[1::2], strict=True))
        for name, value in pairs:
            if name == "xmlns" or name.startswith("xmlns:"):
                prefixes[name[6:]] = value
        start = self.parser.CurrentByteIndex
        end = _TAG_END.match(self.data, start)
        element = _Element(_expanded(raw, prefixes, True), raw, prefixes, start, end.end() if end else start)
        if self.open:
            self.open[-1].has_children = True
        self.open.append(element)
        if [one.name for one in self.open[-2:]] == [_RDF, _DESCRIPTION]:
            self.description = self.description or element
            for name, value in pairs:
                expanded = _expanded(name, prefixes, False)
                if expanded == _RATING:
                    self.places.append(self._attribute(element, name, value))
                elif expanded == _TOOL:
                    self.tools.append(value)

    def _attribute(self, element: _Element, name: str, value: str) -> _Place:
        tag = self.data[element.start : element.tag_end]
        match = next(match for match in _ATTRIBUTE.finditer(tag) if match[1] == name.encode())
        return _Place(value, element.start + match.start(2) + 1, element.start + match.end(2) - 1)

    def _characters(self, text: str) -> None:
        if self.open:
            self.open[-1].text.append(text)

    def _end(self, raw: str) -> None:
        element = self.open.pop()
        end = self.parser.CurrentByteIndex
        if element.name == _RDF:
            is_empty = self.data[element.tag_end - 2 : element.tag_end] == b"/>"
            self.rdf_end = None if is_empty else end
        if [one.name for one in self.open[-2:]] != [_RDF, _DESCRIPTION]:
            return
        text = "".join(element.text).strip()
        if element.name == _TOOL:
            self.tools.append(text)
        if element.name == _RATING:
            if element.has_children:
                raise XmpError("has a rating in a form that is not known: an element with elements in it")
            if self.data[element.tag_end - 2 : element.tag_end] == b"/>":
                self.places.append(_Place("", element.start, element.tag_end, element.raw.encode()))
            else:
                self.places.append(_Place(text, element.tag_end, end))

    @property
    def packet(self) -> Packet:
        """What was found.

        Raises:
            XmpError: A rating is no number of -1 to 5, or there are two that differ.
        """
        found = {rating_of(place.text) for place in self.places}
        if len(found) > 1:
            raise XmpError("holds two ratings that differ")
        return Packet(found.pop() if found else None, self.tools[0] if self.tools else None)


def _expanded(raw: str, prefixes: dict[str, str], is_element: bool) -> Name | None:
    prefix, colon, local = raw.rpartition(":")
    if not colon and not is_element:
        return None  # attributes without a prefix are in no namespace
    return (prefixes[prefix], local) if prefix in prefixes else None


def rating_of(text: str) -> float | None:
    """Reads what a rating says.

    Returns:
        As `Packet.rating`.

    Raises:
        XmpError: It is no number of -1 to 5.
    """
    text = text.strip()
    if not text:
        return None
    value = float(text) if _NUMBER.match(text) else None
    if value is None or not (value == -1 or 0 <= value <= 5):
        raise XmpError(f"has the rating {text[:20]!r}; expected -1 to 5")
    if 0 < value < 1:
        raise XmpError(f"has the rating {text[:20]!r}; expected at least 1 star, 0 for none or -1 for rejected")
    return value or None


def read_packet(data: bytes) -> Packet:
    """Reads the rating in a packet, a whole sidecar or what a picture holds.

    Raises:
        XmpError: It cannot be read.
    """
    return _Reader(_as_utf8(data)[0]).packet


def with_rating(data: bytes, stars: int) -> bytes:
    """Puts a rating into a packet, in the place of the one that it has.

    Args:
        data: A packet.
        stars: 1 to 5.

    Returns:
        The packet, all other bytes as they were; one that roc gave a rating is still known as such.

    Raises:
        XmpError: It cannot be read, or has no place for a rating.
    """
    content, encoding, mark = _as_utf8(data)
    reader = _Reader(content)
    packet = reader.packet
    value = str(stars).encode()
    if len(reader.places) > 1:
        raise XmpError("holds more than one rating")
    if reader.places:
        place = reader.places[0]
        value = value if place.element is None else b"<%b>%b</%b>" % (place.element, value, place.element)
        changed = content[: place.start] + value + content[place.end :]
    elif reader.description is not None:
        where, prefix, declared = _free_prefix(reader.description)
        changed = content[:where] + b'%b %b:Rating="%b"' % (declared, prefix, value) + content[where:]
    else:
        description = f'<rdf:Description xmlns:rdf="{RDF}" rdf:about="" xmlns:xmp="{XMP}" xmp:Rating="{stars}"/>\n'
        if reader.rdf_end is None:
            raise XmpError("has an empty rdf:RDF, without a place for a rating")
        changed = content[: reader.rdf_end] + description.encode() + content[reader.rdf_end :]
    if packet.is_ours:
        changed = changed.replace(packet.tool.encode(), f"{packet.tool[:-1]}{stars}".encode())
    if _Reader(changed).packet.rating != stars:
        raise XmpError("has a rating in a form that is not known")
    return changed if encoding is None else mark + changed.decode().encode(encoding)


def _free_prefix(description: _Element) -> tuple[int, bytes, bytes]:
    """Finds where an attribute may be added to a description, a prefix for it, and the declaration that this needs."""
    where = description.start + 1 + len(description.raw.encode())
    for prefix, uri in description.prefixes.items():
        if uri == XMP and prefix:
            return where, prefix.encode(), b""
    prefix = "xmp"
    while prefix in description.prefixes:
        prefix += "_"
    return where, prefix.encode(), f" xmlns:{prefix}={quoteattr(XMP)}".encode()


def new_packet(stars: int, version: str) -> bytes:
    """Makes a sidecar for a photo that has none; `Packet.is_ours` recognises its rating.

    Args:
        stars: 1 to 5.
        version: Of roc.
    """
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        f' <rdf:RDF xmlns:rdf="{RDF}">\n'
        f'  <rdf:Description rdf:about="" xmlns:xmp="{XMP}"\n'
        f'    xmp:Rating="{stars}"\n'
        f'    xmp:CreatorTool="roc {version} stars={stars}"/>\n'
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
        '<?xpacket end="w"?>\n'
    ).encode()


def _as_utf8(data: bytes) -> tuple[bytes, str | None, bytes]:
    """Gives a packet as UTF-8, the encoding that it came in (None for UTF-8) and the mark it began with."""
    if len(data) > MOST_BYTES:
        raise XmpError(f"has {len(data)} bytes; expected at most {MOST_BYTES}")
    encoding = next((one for mark, one in _MARKS.items() if data.startswith(mark)), None)
    if encoding is None:
        if not data.strip():
            raise XmpError("is empty")
        return data, None, b""
    mark = "\ufeff".encode(encoding)
    try:
        return data[len(mark) :].decode(encoding).encode(), encoding, mark
    except UnicodeError as error:
        raise XmpError(f"is no XMP: {error}") from None

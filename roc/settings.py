"""Settings as dataclasses: declared once with `option`, read from YAML, flags or Python values, checked alike.

    @dataclass(frozen=True, kw_only=True)
    class CorpusConfig(Settings):
        \"\"\"Where the texts come from.\"\"\"

        writer: str = option("embedded", "who writes the texts")
        temperature: float = option(1.0, "randomness of the writer", above=0)

    config = load_settings(CorpusConfig, "corpus.yaml", ["--temperature", "0.7"])

A field declared with `option` is a YAML key, a command-line flag and a row of `--help`; fields without it are left
alone. YAML files hold values only: no nesting, no class names, no duplicate keys. YAML and flags are read as text by
the same code, so `1e-4` is a number and `eval_strategy: no` is the word in both.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import textwrap
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

TRUE_WORDS = ("true", "yes", "on", "1")
FALSE_WORDS = ("false", "no", "off", "0")
NONE_WORDS = ("", "none", "null", "~", "auto")
YAML_SUFFIXES = (".yaml", ".yml")
REQUIRED = dataclasses.MISSING
"""The default of an option that has to be given."""

Fault = tuple[str, str]
"""The name of a setting and the sentence that says what came, what was expected and what to do."""

S = TypeVar("S", bound="Settings")


class ConfigError(ValueError):
    """One or more settings that cannot be used; the message has one line per fault.

    Attributes:
        faults: `(name, text)` pairs; the text says what came, what was expected and what to do.
    """

    def __init__(self, faults: Sequence[Fault], origins: Mapping[str, str] | None = None):
        self.faults = list(faults)
        origins = origins or {}
        lines = [_placed(origins.get(name), text) for name, text in self.faults]
        super().__init__("\n".join(lines))


def _placed(origin: str | None, text: str) -> str:
    """Puts where a setting came from before a sentence that does not begin with it."""
    return text if origin is None or text.startswith(f"{origin} ") else f"{origin}: {text}"


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    matters: bool = True,
    unset: str | None = None,
    metavar: str | None = None,
    positional: bool = False,
    commas: bool = True,
) -> Any:
    """Declares one setting of a `Settings` dataclass.

    Args:
        default: Value when nothing else gives one; `REQUIRED` where something has to.
        help: One sentence for `--help`.
        low: Smallest allowed value.
        above: Value it must exceed.
        high: Largest allowed value.
        below: Value it must stay under.
        matters: Whether another value makes it another run. False for what only changes speed, logging or where the
            result goes.
        unset: What happens where the value is none, for `--help`: "as many as fit the machine".
        metavar: Word for the value in `--help` of a command: FILE, DIR.
        positional: Whether a command takes it as a word of its own instead of a flag.
        commas: Whether commas separate the items of a list. Turn it off for paths, which may hold them; words of a
            positional list are never split.
    """
    metadata = {
        "help": help,
        "matters": matters,
        "unset": unset,
        "metavar": metavar,
        "positional": positional,
        "commas": commas and not positional,
        "bounds": {"low": low, "above": above, "high": high, "below": below},
    }
    return dataclasses.field(default=default, metadata=metadata)


class Settings:
    """Base of dataclasses whose fields are declared with `option`; subclasses are frozen dataclasses.

    A class may define `faults(self) -> list[Fault]`, the checks that no bound of a single field can express. Where
    several such classes are combined by inheritance, each one's own `faults` is asked, bases first. `TITLE` is its
    heading in `help_text`.

    Raises:
        ConfigError: Naming every field whose value has the wrong type, lies outside its bounds, or contradicts another.
    """

    TITLE: ClassVar[str] = "options"

    def __post_init__(self) -> None:
        found: list[Fault] = []
        for name, setting in settings_of(type(self)).items():
            try:
                object.__setattr__(self, name, setting.read(getattr(self, name)))
            except ValueError as error:
                found.append((name, str(error)))
        if not found:
            found = [
                fault for group in _ancestry(type(self)) if "faults" in vars(group) for fault in group.faults(self)
            ]
        if found:
            raise ConfigError(found)

    def to_dict(self) -> dict[str, Any]:
        """Every setting by its name, lists in place of tuples; JSON can hold it, and the class takes it back."""
        values = {name: getattr(self, name) for name in settings_of(type(self))}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def without_effect(self) -> Collection[str]:
        """Names the settings that change nothing beside the others; a class with such settings overrides it."""
        return ()

    def differences(self, earlier: Mapping[str, Any], *, ignoring: Collection[str] = ()) -> list[str]:
        """Compares with the `to_dict()` of an earlier run, on the settings that make it the same run.

        Args:
            earlier: Settings of the other run. Names it lacks count as their defaults.
            ignoring: Names of settings that may differ.

        Returns:
            One line `name: earlier value -> value now` per difference; empty when it is the same run.
        """
        now, lines = self.to_dict(), []
        ignored = {*ignoring, *self.without_effect()}
        for name, setting in settings_of(type(self)).items():
            default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
            before = earlier.get(name, default)
            if setting.matters and name not in ignored and before != now[name]:
                lines.append(f"{name}: {before} -> {now[name]}")
        return lines


@dataclass(frozen=True)
class Setting:
    """One field of a `Settings` class as the readers and `--help` need it.

    Attributes:
        name: Field, key in YAML, flag on the command line.
        group: Class that declares it.
        kind: bool, int, float or str; of the items where `many`.
        many: Whether it is a list.
        optional: Whether it may be none.
        choices: Allowed words; empty when any value of the kind will do.
        default: `REQUIRED` where it has to be given.
        bounds: Limits of a number by `low`, `above`, `high`, `below`; None where there is none.

    `help`, `matters`, `unset`, `metavar`, `positional` and `commas` are those of `option`.
    """

    name: str
    group: type
    kind: type
    many: bool
    optional: bool
    choices: tuple[str, ...]
    default: Any
    help: str
    matters: bool
    unset: str | None
    metavar: str | None
    positional: bool
    commas: bool
    bounds: Mapping[str, float | None]

    @property
    def flag(self) -> str:
        """Its name on a command line, without dashes: `from_`, as `from` cannot name a field, is `--from`."""
        return self.name.removesuffix("_")

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        if self.choices:
            what = ("any of " if self.many else "one of ") + ", ".join(self.choices)
        else:
            what = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}[self.kind]
            plural = "names" if self.kind is str else what.removeprefix("a whole ").removeprefix("a ") + "s"
            what = f"a list of {plural}" if self.many else what
        words = {"low": "at least", "above": "above", "high": "at most", "below": "below"}
        limits = [f"{words[side]} {value:g}" for side, value in self.bounds.items() if value is not None]
        what = " ".join([what, " and ".join(limits)]).strip()
        return f"{what}, or {'auto' if self.kind is bool else 'none'}" if self.optional else what

    @property
    def default_text(self) -> str:
        """The default as `--help` shows it."""
        if self.default is REQUIRED:
            return "required"
        if self.default is None:
            return self.unset or ("auto" if self.kind is bool else "none")
        default = ", ".join(map(str, self.default)) if self.many else self.default
        return (self.unset or "none") if default == "" else f"{default:g}" if self.kind is float else str(default)

    def read(self, value: Any) -> Any:
        """Turns text, or a Python value, into this setting's type.

        Args:
            value: A string from YAML or the command line, a list of such, or a value of the right type.

        Returns:
            The typed value; a tuple where the setting is a list.

        Raises:
            ValueError: Naming the setting, the value and what was expected.
        """
        if self.many:
            if self.optional and _is_none(value):
                return None
            items = [value] if isinstance(value, str) else value
            if not isinstance(items, (list, tuple)):
                raise self._fault(value)
            if self.commas:
                items = [part for item in items for part in (item.split(",") if isinstance(item, str) else [item])]
                items = [item.strip() if isinstance(item, str) else item for item in items]
            return tuple(self._read_one(item, value) for item in items if item != "")
        return self._read_one(value, value)

    def _read_one(self, value: Any, given: Any) -> Any:
        if self.choices and value in self.choices:  # first, because `none` may be one of the choices
            return value
        if self.optional and _is_none(value):
            return None
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, str) and self.kind is not str:
            value = self._from_text(value.strip(), given)
        if self.kind is float and type(value) is int:
            value = float(value)
        if self.choices or type(value) is not self.kind or not self._inside(value):
            raise self._fault(given)
        return value

    def _from_text(self, text: str, given: Any) -> Any:
        if self.kind is bool:
            if text.lower() not in TRUE_WORDS + FALSE_WORDS:
                raise self._fault(given)
            return text.lower() in TRUE_WORDS
        for kind in (int, float):
            try:
                number = kind(text)
            except ValueError:
                continue
            return int(number) if self.kind is int and math.isfinite(number) and number == int(number) else number
        raise self._fault(given)

    def _inside(self, value: Any) -> bool:
        if self.kind not in (int, float):
            return value != ""
        if not math.isfinite(value):
            return False
        low, above, high, below = (self.bounds[side] for side in ("low", "above", "high", "below"))
        return (
            (low is None or value >= low)
            and (above is None or value > above)
            and (high is None or value <= high)
            and (below is None or value < below)
        )

    def _fault(self, value: Any) -> ValueError:
        return ValueError(f"{self.name} is {value!r}, expected {self.expected}")


def _is_none(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in NONE_WORDS)


def _ancestry(group: type) -> list[type]:
    """The dataclasses that `group` is made of, bases first and in their order, itself last."""
    found: list[type] = []
    for base in group.__bases__:
        if issubclass(base, Settings) and base is not Settings:
            found += [one for one in _ancestry(base) if one not in found]
    return [*found, group]


@functools.cache
def settings_of(group: type[Settings]) -> dict[str, Setting]:
    """The settings of a class by name: those of its bases first, each class in the order of its lines."""
    hints = typing.get_type_hints(group)
    declared = {entry.name: entry for entry in dataclasses.fields(group) if "bounds" in entry.metadata}
    found = {}
    for owner in _ancestry(group):
        for name in vars(owner).get("__annotations__", {}):
            if name in declared:
                found.pop(name, None)  # declared anew, it stands among the settings of the class that does so
                found[name] = _setting(owner, declared[name], hints[name])
    return found


def _setting(group: type, entry: dataclasses.Field, kind: Any) -> Setting:
    """Reads one field; `X | None`, `tuple[X, ...]` and `Literal` are the forms of a type that are known."""
    optional, many = False, False
    if typing.get_origin(kind) in (types.UnionType, typing.Union):  # Literal[...] | None is the second
        optional = True
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    if typing.get_origin(kind) is tuple:
        many, kind = True, typing.get_args(kind)[0]
    choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    return Setting(
        name=entry.name,
        group=group,
        kind=str if choices else kind,
        many=many,
        optional=optional,
        choices=choices,
        default=entry.default,
        **entry.metadata,
    )


class Source(NamedTuple):
    """What one YAML file, or the command line, gives.

    Attributes:
        values: A string, or a list of strings, by name; nothing is typed yet. Python values where code gives them.
        origins: `FILE:LINE` or `--flag` by name, for messages.
    """

    values: dict[str, Any]
    origins: dict[str, str]


def read_yaml(path: str | Path) -> Source:
    """Reads a flat YAML file as text.

    Raises:
        ConfigError: If the file cannot be read, is empty, is no flat mapping, or has a key twice.
    """
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([("", f"{path}: cannot read the configuration: {error}")]) from None
    try:
        # BaseLoader leaves every scalar as it was written. YAML's own typing would turn `no` into False and leave
        # `1e-4` a string.
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ConfigError([("", f"{path}: not valid YAML: {error}")]) from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError([("", f"{path}: expected lines `name: value`, one per setting; this file has none")])
    values, origins, faults = {}, {}, []
    for key_node, node in root.value:
        key, where = str(key_node.value), f"{path}:{key_node.start_mark.line + 1}"
        if key in values:
            faults.append(("", f"{where}: {key} was already set in {origins[key]}; keep one of them"))
            continue
        origins[key] = where
        if isinstance(node, yaml.ScalarNode):
            values[key] = node.value
        elif isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
            values[key] = [item.value for item in node.value]
        else:
            values[key] = ""
            faults.append(("", f"{where}: {key} is nested, expected one value or a plain list; settings are flat"))
    if faults:
        raise ConfigError(faults)
    return Source(values, origins)


def read_flags(argv: Sequence[str], settings: Mapping[str, Setting]) -> tuple[list[str], Source]:
    """Splits a command line into the YAML files and the flags' values as text.

    Written out because argparse would take the file in `--overwrite configs/demo.yaml` for the value of the flag.

    Args:
        argv: Words such as `["configs/demo.yaml", "--learning-rate", "1e-4", "--overwrite", "--seed=1"]`. `-` and `_`
            are the same in names; a list takes several words or commas; of a flag given twice the last one counts.
        settings: The known settings by name, `settings_of(...)`. Other flags are taken as they come, to be refused, or
            given a meaning, by the caller.

    Raises:
        ConfigError: For every flag without its value, and every stray word.
    """
    paths, values, origins, faults, strays = [], {}, {}, [], []
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            if word.endswith(YAML_SUFFIXES):
                paths.append(word)
            else:
                strays.append(("", f"unexpected argument {word!r}; expected CONFIG.yaml files, then --name value"))
            continue
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        origins[name] = f"--{name}"
        setting = settings.get(name)
        may_stand_alone = setting is None or setting.kind is bool
        nothing_follows = not words or words[0].startswith("--")
        if equals:
            values[name] = value
        elif setting is not None and setting.many:
            values[name] = []
            while words and not words[0].startswith("--") and not words[0].endswith(YAML_SUFFIXES):
                values[name].append(words.pop(0))
        elif may_stand_alone and (nothing_follows or words[0].endswith(YAML_SUFFIXES)):
            values[name] = "True"
        elif nothing_follows:
            faults.append((name, f"{name} has no value, expected {setting.expected}"))
        else:
            values[name] = words.pop(0)
    faults += strays
    if faults:
        raise ConfigError(faults, origins)
    return paths, Source(values, origins)


def read_sources(
    path: str | Path | Sequence[str | Path] | None,
    overrides: Mapping[str, Any] | Sequence[str],
    settings: Mapping[str, Setting],
) -> list[Source]:
    """What YAML files and overrides give, in the order in which a later one wins.

    Args:
        path: YAML file, several of them, or None.
        overrides: Values by name, or command-line words, which may name further YAML files.
        settings: The known settings by name.

    Raises:
        ConfigError: For a file or a word that cannot be read.
    """
    paths = [path] if isinstance(path, str | os.PathLike) else list(path or ())
    if isinstance(overrides, Mapping):
        named, flags = [], Source(dict(overrides), {})
    else:
        named, flags = read_flags(overrides, settings)
    return [*map(read_yaml, [*paths, *named]), flags]


def load_settings(
    group: type[S],
    path: str | Path | Sequence[str | Path] | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
) -> S:
    """Builds the settings of a class: defaults, then the YAML files in their order, then the overrides.

    Args:
        group: The class.
        path: YAML file, several of them, or None.
        overrides: Values by name, or command-line words, which may name further YAML files.

    Raises:
        ConfigError: Naming the file and line, or the flag, of every fault.
    """
    settings, values, origins = settings_of(group), {}, {}
    for source in read_sources(path, overrides, settings):
        values, origins = {**values, **source.values}, {**origins, **source.origins}
    unknown = [(name, unknown_name(name, settings)) for name in values if name not in settings]
    if unknown:
        raise ConfigError(unknown, origins)
    return build(group, values, origins)


def build(group: type[S], values: Mapping[str, Any], origins: Mapping[str, str], **others: Any) -> S:
    """Makes `group(**values, **others)`; faults and missing settings are told with where they came from.

    Raises:
        ConfigError: As the class raises it, and for every `REQUIRED` setting that is missing.
    """
    missing = [
        (name, f"{name} is missing, expected {setting.expected}; give --{setting.flag}")
        for name, setting in settings_of(group).items()
        if setting.default is REQUIRED and name not in values
    ]
    if missing:
        raise ConfigError(missing)
    try:
        return group(**values, **others)
    except ConfigError as error:
        raise ConfigError(error.faults, origins) from None


def unknown_name(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """The sentence that refuses `name`, with the nearest known one."""
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"unknown setting {name!r}; " + (f"did you mean {near[0]!r}?" if near else "--help lists all of them")


def help_text(group: type[Settings], *, without: Collection[str] = ()) -> str:
    """Every setting of a class with its meaning and default, below the heading of the class that declares it.

    Args:
        group: The class.
        without: Names of settings to leave out.
    """
    lines, owner = [], None
    for setting in settings_of(group).values():
        if setting.name in without:
            continue
        if setting.group is not owner:
            owner = setting.group
            title = (owner.__doc__ or "").strip().splitlines()[0]
            lines += ["", f"{owner.TITLE}: {title}"]
        choices = f" ({', '.join(setting.choices)})" if setting.choices else ""
        text = f"{setting.help}{choices} [{setting.default_text}]"
        lines.append(f"  --{setting.name}")
        lines += textwrap.wrap(text, width=100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines) + "\n"

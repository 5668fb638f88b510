"""Runs `jevcompat`, the conformance suite of servers in the System One format, against a running `roc serve`.

pip install jevcompat==0.1.1
roc serve --checkpoint checkpoints/mine --port 8000
python scripts/check_decisions.py http://127.0.0.1:8000

The suite asks questions of three types about texts. `roc serve` answers one of them, `score`, about an image, and the
suite has no switch for that. So each of its requests gets an image beside the text, and where a requirement is not
about the type of a question, score questions stand in for yes/no questions and choices. The cases about those two types
are left out and their requirements reported as not offered. The official client, which the suite tests with all three
types, is tested with score questions and an image. Imports nothing of roc.

Exit status: 0 if every requirement that applies is met, 1 if one is not, 2 if the server could not be tested, 3 if a
case got no answer in time.
"""

import argparse
import base64
import json
import struct
import sys
import zlib
from pathlib import Path

try:
    from jevcompat import __version__, checks, runner
    from jevcompat.client import Client, TransportError
    from jevcompat.validate import Violation, validate_error_shape
except ImportError as error:
    print(f"check_decisions.py needs the suite ({error}): pip install jevcompat==0.1.1", file=sys.stderr)
    raise SystemExit(2) from error

NAME = "<image:photo>"
"""Name of the image, in the form that the official client gives to images."""

STAND_INS = {
    "NOUL": {"type": "score", "instructions": "How sharp is it?", "criteria": ["blurred", "sharp"]},
    "CHOICE": {"type": "score", "instructions": "How bright is it?", "criteria": ["dark", "middling", "bright"]},
}
"""What is asked in place of the suite's yes/no question and its choice."""

MORE = {
    "colour": {"type": "score", "instructions": "How colourful is it?", "criteria": ["grey", "plain", "rich", "loud"]},
    "light": {"type": "score", "criteria": [f"level {i}" for i in range(10)]},
}
"""Further questions of the same request, which must not change the answers to the others."""

WITH_STAND_INS = {"multi-question", "semantics-question-id", "semantics-batching", "semantics-question-order"}
REPLACED = {"unicode", "sdk-python", "choice-ambiguous"}
"""Cases that ask a choice of their own; the first two are asked here with scores, the third tests what others do."""

NOT_OFFERED = {"noul.criteria", "noul.no-instructions", "noul.answer", "choice.null-description", "choice.options"}
NOT_OFFERED |= {f"choice.{name}" for name in ("answer", "probability-keys", "distribution", "argmax")}
LEFT_OUT = {"noul-criteria", "noul-no-instructions", "choice-basic", "choice-null-description", "choice-options"}


def picture(width=40, height=30):
    """Draws a small PNG file."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = [b"\0" + b"".join(bytes((6 * x, 8 * y, 90)) for x in range(width)) for y in range(height)]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    content = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + header + content + chunk(b"IEND", b"")


class Context(checks.Ctx):
    """A run of the suite whose requests hold an image."""

    def payload(self, questions, state=checks.TICKET, **extra):
        """Builds a request and names the image in its state, whatever form that has."""
        if isinstance(state, str):
            state = f"{state} {NAME}"
        else:
            state = {**state, "photo": NAME} if isinstance(state, dict) else [*state, NAME]
        image = {"type": "image", "format": "png", "data_base64": base64.b64encode(picture()).decode()}
        return super().payload(questions, state, **extra) | {"assets": {NAME: image}}

    def supports(self, case, types, *requirements):
        """Says whether the types of a case are offered; stand-ins are scores."""
        return super().supports(case, ("score",) if case in WITH_STAND_INS else types, *requirements)


def ask_in_unicode(context):
    """Asks with Hangul and emoji everywhere; the levels must come back as they were."""
    levels = ["나쁨", "보통", "좋음 🙂"]
    question = {"type": "score", "instructions": "이 사진은 얼마나 좋은가요?", "criteria": levels}
    body = context.payload({"질문 🎯": question}, state="사진")
    answer = context.expect_answer("unicode", body, "request.unicode")
    legend = answer and answer.data["answers"].get("질문 🎯", {}).get("legend")
    if legend and list(legend.values()) != levels:
        context.violate("unicode", None, [Violation("request.unicode", f"the legend came back as {legend}")])


def ask_in_another_form(context):
    """Sends text in place of JSON, which is no invalid body but another media type."""
    context.exercise("media-type", "errors.shape")
    answer = context.client.request("POST", "/v1/systemone", b"hello", headers={"Content-Type": "text/plain"})
    context.violate("media-type", None, validate_error_shape(answer))


def ask_by_client(context):
    """Asks by the official client with an image, and has it list the models."""
    from typesafe_sdk import Image, Score, TypeSafeClient

    image = Image(picture())
    context.exercise("sdk-python", "dropin.sdk-python")
    try:
        with TypeSafeClient(
            api_key=context.client.key or "none", base_url=context.client.base_url, timeout=context.client.timeout
        ) as client:
            asked = {"quality": Score(instructions="How good is it?", criteria=["poor", "fair", "good"])}
            got = client.system_one(state=["Rate this:", image], questions=asked, model=context.client.model)
            levels = list(got.scores["quality"].legend.values())
            listed = client.models.list().models
    except Exception as error:
        context.violate("sdk-python", None, [Violation("dropin.sdk-python", f"{type(error).__name__}: {error}")])
        return
    if levels != ["poor", "fair", "good"] or not listed:
        context.violate("sdk-python", None, [Violation("dropin.sdk-python", f"it read {levels} and {listed}")])


def run(url, key=None, timeout=120.0):
    """Runs the suite.

    Returns:
        (result of each requirement, what went wrong beside them)
    """
    for name, question in STAND_INS.items():
        setattr(checks, name, question)
    checks.SEM_QUESTIONS = {"refund": STAND_INS["NOUL"], "team": STAND_INS["CHOICE"], "anger": checks.SCORE}
    checks.EXTRA_QUESTIONS = MORE
    context = Context(Client(url, key=key, timeout=timeout), key_given=key is not None, sdk=False)
    troubles = []
    try:
        checks.preflight(context)
    except (checks.Abort, TransportError) as error:
        raise SystemExit(f"check_decisions.py: {url} could not be tested: {error}") from None
    context.info["types_ok"] = {"score"}
    own = {"unicode": ask_in_unicode, "sdk-python": ask_by_client}
    for case in checks.CASES:
        if case.name in LEFT_OUT:
            continue
        try:
            if case.name in own:
                own[case.name](context)
            elif case.name not in REPLACED:
                case.fn(context, case.name)
        except TransportError as error:
            troubles.append(f"{case.name}: {error}")
    ask_in_another_form(context)
    return runner.fold(context, None), troubles + context.inconclusive


def main():
    """Prints one line for each requirement, then what broke those that are not met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="address of the server, such as http://127.0.0.1:8000")
    parser.add_argument("--key", help="API key; with one, wrong and missing keys are tried too")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds per request")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    asked = parser.parse_args()
    results, troubles = run(asked.url, asked.key, asked.timeout)
    states = {"pass": "met", "fail": "NOT MET", "skip": "not tested"}
    rows = [
        {
            "requirement": one.id,
            "level": one.level,
            "title": one.title,
            "outcome": "not offered" if one.id in NOT_OFFERED else states[one.status],
            "reason": "; ".join(f"{finding.case}: {finding.message}" for finding in one.findings) or one.reason,
        }
        for one in results
    ]
    for row in rows:
        print(f"{row['outcome']:<11} {row['level']:<6} {row['requirement']:<26} {row['title']}")
    for row in rows:
        if row["outcome"] in ("NOT MET", "not tested"):
            print(f"\n{row['requirement']}: {row['reason']}")
    counts = {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in ("not offered", *states.values())}
    print(f"\njevcompat {__version__}: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    print(*troubles, sep="\n", end="" if not troubles else "\n")
    if asked.json:
        Path(asked.json).write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if counts["NOT MET"] else 3 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())

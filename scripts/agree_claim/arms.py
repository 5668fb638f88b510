"""What is compared: the nine rows of the published ablation, each a set of switches, and the numbers of the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

REFERENCE = "none"
"""The plain scorer, which the others are compared with."""

SWITCHES = {"D": "decoupling", "F": "fusion", "W": "routing", "E": "error_aware"}
"""Letter of the published table -> setting of `roc agree train`."""


@dataclass(frozen=True)
class Arm:
    """One row.

    Attributes:
        name: Its letters; "none" for the plain scorer.
        paper: SRCC, PLCC, MAE and RMSE of EAMB-Net on AVA.
    """

    name: str
    paper: tuple[float, float, float, float]

    def has(self, letter: str) -> bool:
        """Tells whether a switch is on."""
        return self.name != REFERENCE and letter in self.name

    def settings(self, sensitivity: str, anchors: str) -> dict[str, Any]:
        """Gives the settings of `roc agree train` that make the row.

        Args:
            sensitivity: Table of sensitivities.
            anchors: File of anchors.
        """
        found: dict[str, Any] = {setting: self.has(letter) for letter, setting in SWITCHES.items()}
        if self.has("W"):
            found["sensitivity"] = sensitivity
        if self.has("F"):
            found["anchors"] = anchors
        return found


ARMS = {
    arm.name: arm
    for arm in (
        Arm("none", (0.702, 0.707, 0.420, 0.540)),
        Arm("D", (0.715, 0.719, 0.411, 0.527)),
        Arm("DE", (0.718, 0.721, 0.419, 0.529)),
        Arm("DF", (0.720, 0.726, 0.422, 0.521)),
        Arm("DFE", (0.724, 0.727, 0.394, 0.510)),
        Arm("DW", (0.725, 0.730, 0.395, 0.513)),
        Arm("DWE", (0.728, 0.735, 0.402, 0.504)),
        Arm("DFW", (0.730, 0.737, 0.393, 0.506)),
        Arm("DFWE", (0.732, 0.740, 0.387, 0.505)),
    )
}

PAIRS = {
    letter: tuple(
        (name, name.replace(letter, "") or REFERENCE)
        for name in ARMS
        if letter in name and (name.replace(letter, "") or REFERENCE) in ARMS
    )
    for letter in SWITCHES
}
"""Switch -> the pairs of rows that differ in it alone, with it first."""

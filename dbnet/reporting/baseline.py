"""An earlier profile, to compare with. PyTorch is not imported."""

import json
from pathlib import Path
from typing import Any

from dbnet.errors import InputError


def read_profile(path: Path) -> dict[str, Any]:
    """A profile.json of this or an earlier version, with today's keys.

    Raises:
        InputError: the file cannot be read, or is not a profile.
    """
    try:
        profile = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a profile ({error})") from None
    if not isinstance(profile, dict) or not {"stages", "compared", "config"} <= profile.keys():
        raise InputError(f"{path}: not a profile.json of profile_val.py")
    # Earlier versions ran on one rank only, and did not compare the kind of drawn receipts.
    compared = {
        "ranks": 1,
        "scoring_workers": 0,
        "data.drawn_level": profile["config"]["data"].get("drawn_level", "words"),
        "data.drawn_style": "plain",
    }
    reference = profile.pop("naive", None)  # the earlier name
    return {"reference": reference} | profile | {"compared": compared | profile["compared"]}

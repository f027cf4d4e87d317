"""Print pip constraints that pin every dependency of pyproject.toml to its lowest version."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
groups = [project["dependencies"], *project["optional-dependencies"].values()]
for requirement in sorted({line for group in groups for line in group}):
    if lowest := re.fullmatch(r"([\w-]+)>=([\w.]+)", requirement):
        print(f"{lowest[1]}=={lowest[2]}")

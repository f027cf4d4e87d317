"""The header of a checkpoint: its settings, readable without PyTorch.

A checkpoint is a zip archive of tensors and a pickle. The header is a further member of the archive
and holds the values that are not tensors, as JSON. Programs read their settings from it, and answer
`--help`, before they import PyTorch.
"""

import json
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from dbnet.errors import InputError
from dbnet.runtime.run_files import BEST

_MEMBER = "archive/header.json"  # torch.load() asks for one folder
_LARGEST = 10**6  # bytes


class Header(NamedTuple):
    """The plain values of a checkpoint."""

    model_args: dict[str, Any]  # of DBNet
    config: dict[str, Any]  # settings, as `to_dict` gives them; some sections only, if released
    epoch: int  # epochs done
    best: float | None  # best CLEval hmean of the run so far; None where it is not known


def read_header(path: Path) -> Header | None:
    """The header; None for a file of an earlier version, or without settings.

    Raises:
        InputError: the file is missing or not a checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if _MEMBER not in archive.namelist():
                return None
            member = archive.getinfo(_MEMBER)
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > _LARGEST:
                raise InputError(f"{path}: its header was not written by this project; use another")
            return Header(**json.loads(archive.read(member)))
    except FileNotFoundError:
        raise InputError(f"{path}: no such checkpoint") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; give a file, such as {path / BEST}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, NotImplementedError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: damaged or not a checkpoint ({error}); use another") from None


def append_header(file: BinaryIO, header: Header) -> None:
    """Add the header to a checkpoint that `torch.save` has just written to `file`."""
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(_MEMBER, json.dumps(header._asdict()))

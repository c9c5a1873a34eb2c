"""A reading into a file: PNG or HTML, by the file's suffix; a file is there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Final

from aaos.adapters.charts import look
from aaos.adapters.charts.description import describe
from aaos.adapters.charts.look import Spec
from aaos.adapters.charts.page import page_of
from aaos.adapters.charts.reading import Reading
from aaos.errors import InputError, StartupError

SUFFIXES: Final = (".html", ".png")
# `vegaEmbed` is what our page calls.
_SNIPPET: Final = "window.vegaEmbed = vegaEmbed;"


def check_output(path: Path) -> None:
    """None, when a chart can be written there.

    Raises:
        InputError: the suffix is not one of ours, the directory is missing, or a directory has that name.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a chart is written as {' or '.join(SUFFIXES)}; name the file so")
    # Not Path.is_dir: that raises on a name too long for the disk, which writing will refuse by name.
    if os.path.isdir(path):
        raise InputError(f"{path} is a directory: name a file in it")
    target = _target(path)
    if not os.path.isdir(target.parent):
        link = f" (the link leads to {target})" if path.is_symlink() else ""
        raise InputError(f"{path}: there is no directory {target.parent}{link}; create it, or name another file")


def write_chart(reading: Reading, path: Path) -> Path:
    """Draws the reading and writes it; returns the file's path from the root.

    Raises:
        InputError: as `check_output`, or the file cannot be written; what stood there before still does.
        StartupError: the drawing library is not installed.
    """
    check_output(path)
    target = _target(path)
    content = chart_png(reading) if path.suffix.lower() == ".png" else chart_html(reading).encode()
    try:
        _replace(target, content)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}): check the directory's permissions and free space,"
            " or name another file with --output"
        ) from None
    return target


def chart_png(reading: Reading) -> bytes:
    """The chart as an image, `look.IMAGE_SCALE` device pixels per pixel."""
    return png_of(describe(reading))


def png_of(description: Spec) -> bytes:
    """The image of a description, which may name no address: one that does is refused, and nothing is fetched."""
    # No addresses: a description holds all its data, and an image must not make a program call anywhere.
    image: bytes = _library().vega_to_png(description, scale=look.IMAGE_SCALE, allowed_base_urls=[])
    return image


def chart_html(reading: Reading) -> str:
    """The chart as a page that needs no network."""
    script: str = _library().javascript_bundle(_SNIPPET)
    return page_of(reading, describe(reading), script)


def image_size(description: Spec) -> tuple[int, int]:
    """Width and height, in device pixels, of that description's image."""
    padding = description["padding"]
    width = description["width"] + padding["left"] + padding["right"]
    height = description["height"] + padding["top"] + padding["bottom"]
    return round(width * look.IMAGE_SCALE), round(height * look.IMAGE_SCALE)


def _library() -> ModuleType:
    """The drawing library, loaded only by the process that draws: it holds a JavaScript engine."""
    try:
        import vl_convert
    except ImportError as error:
        raise StartupError(
            f"charts are drawn with vl-convert-python, which cannot be loaded here ({error}): ./run up installs it"
        ) from None
    return vl_convert


def _target(path: Path) -> Path:
    """The file itself: a link stays one, and what it points at is replaced."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # RuntimeError: what resolving a loop raises
        raise InputError(f"{path}: its links lead back to themselves; remove them, or name another file") from None
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{path!r} cannot be written ({error}): name another file") from None


def _replace(target: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp keeps others out; a chart is a file like any other.
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise

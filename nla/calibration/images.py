"""A folder of images; sub-folders, where there are any, are the classes."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration import labels
from nla.calibration.columns import Rows
from nla.calibration.files import blaming, open_regular
from nla.calibration.options import CalibrationOptions
from nla.calibration.shapes import describe, wanted
from nla.calibration.source import Request, Source
from nla.errors import DataError, MissingExtraError, printable
from nla.site import Input

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_LARGEST_PIXELS = 100_000_000
_MOST_FILES = 10_000_000
_OPENING = threading.Lock()


@dataclass(frozen=True)
class Geometry:
    """What every image becomes."""

    height: int
    width: int
    channels: str
    """rgb, bgr or gray."""
    channels_first: bool
    resample: str
    resized: bool
    """False: every image must have this size already."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """[channels, height, width] or [height, width, channels]."""
        depth = 1 if self.channels == "gray" else 3
        size = (self.height, self.width)
        return (depth, *size) if self.channels_first else (*size, depth)


@dataclass(frozen=True)
class ImageColumn:
    """uint8 images, decoded as they are read."""

    files: Sequence[Path]
    geometry: Geometry

    @property
    def dtype(self) -> np.dtype[Any]:
        """As in Column."""
        return np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """As in Column."""
        return (len(self.files), *self.geometry.shape)

    def read(self, rows: Rows) -> NDArray[Any]:
        """As in Column; DataError that names the image which cannot be decoded or has another size."""
        out = np.empty((len(rows), *self.geometry.shape), np.uint8)
        for at, row in enumerate(rows.tolist()):
            out[at] = decode(self.files[row], self.geometry)
        return out


def decode(file: Path, geometry: Geometry) -> NDArray[np.uint8]:
    """uint8 pixels of one image, of shape `geometry.shape`; an orientation in its EXIF is not applied."""
    from PIL import Image

    with blaming(f"{printable(file)}: cannot be decoded"), _opened(file) as image:
        converted = image.convert("L" if geometry.channels == "gray" else "RGB")
        size = (geometry.width, geometry.height)
        if converted.size != size:
            if not geometry.resized:
                told = f"{geometry.height} x {geometry.width}"
                raise DataError(f"{printable(file)}: not {told} (height x width) as the first: give --resize")
            converted = converted.resize(size, Image.Resampling[geometry.resample.upper()])
        pixels = np.asarray(converted, np.uint8)
    pixels = pixels.reshape(geometry.height, geometry.width, -1)
    if geometry.channels == "bgr":
        pixels = pixels[:, :, ::-1]
    return pixels.transpose(2, 0, 1) if geometry.channels_first else pixels


def _opened(file: Path) -> Any:
    """The image with only its header read; DataError for anything but a regular file of a sensible size."""
    from PIL import Image

    open_regular(file)
    # Pillow warns of a bomb; ours is the same limit for every file, and an error. The lock: filters are
    # global.
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(file, formats=_FORMATS)
    if image.width * image.height > _LARGEST_PIXELS:
        image.close()
        raise DataError(
            f"{printable(file)}: {image.width} x {image.height} pixels; at most {_LARGEST_PIXELS}"
        )
    return image


class Images:
    """JPEG, PNG, BMP, GIF, WebP, TIFF, PPM through Pillow."""

    kind = "images"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Any folder, or a single image."""
        return not head or path.suffix.lower() in SUFFIXES

    def open(self, path: Path, request: Request) -> Source:
        """One array of uint8 images for the model's image input; decoded batch by batch."""
        try:
            import PIL  # noqa: F401
        except ImportError:
            raise MissingExtraError("reading images", "images") from None
        files, ignored = _listing(path)
        declared = _image_input(request.inputs)
        geometry, notes = plan(declared, request.options, files[0])
        if ignored:
            notes.append(f"not used: {ignored} files in {printable(path)} that are no images")
        column = ImageColumn(files, geometry)
        return Source(
            self.kind,
            {"images": column},
            anonymous=True,
            feeds={declared.name: "images"} if declared else {},
            labels=_folder_labels(path, files),
            account=tuple(notes),
            fingerprint=_fingerprint(path, column),
        )


def _listing(path: Path) -> tuple[list[Path], int]:
    """The images under a folder in the order of their names, and how many other files there are."""
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        return [path], 0
    images: list[Path] = []
    others = 0
    for folder, subfolders, names in os.walk(path, onerror=_refuse):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found = [Path(folder, name) for name in sorted(names) if Path(name).suffix.lower() in SUFFIXES]
        images += found
        others += sum(name != "nla.toml" and not name.startswith(".") for name in names) - len(found)
        if len(images) > _MOST_FILES:
            raise DataError(f"{printable(path)}: more than {_MOST_FILES} images")
    if not images:
        raise DataError(
            f"{printable(path)}: holds no image ({', '.join(SUFFIXES)}) and no test_data_set_* folder"
        )
    return sorted(images, key=lambda file: file.parts), others


def _refuse(error: OSError) -> None:
    raise DataError(f"{printable(error.filename)}: cannot be listed: {error.strerror}")


def _folder_labels(path: Path, files: Sequence[Path]) -> labels.Labels | None:
    """The first folder below `path` names the class; None where images lie in `path` itself."""
    if len(files) == 1 and files[0] == path:
        return None
    parts = [file.relative_to(path).parts for file in files]
    return labels.from_names([p[0] for p in parts]) if all(len(p) > 1 for p in parts) else None


def _image_input(inputs: Sequence[Input]) -> Input | None:
    """The only input, or the only one of four axes."""
    if len(inputs) == 1:
        return inputs[0]
    flat = [i for i in inputs if i.shape is not None and len(i.shape) == 4]
    return flat[0] if len(flat) == 1 else None


def plan(declared: Input | None, options: CalibrationOptions, first: Path) -> tuple[Geometry, list[str]]:
    """Size, channels and layout by the options, else the model's input, else the first image; sentences."""
    sample = None if declared is None else wanted(declared).sample
    axes = sample if sample is not None and len(sample) == 3 else None
    channels_first = _is_channels_first(axes, options, declared)
    depth, height, width = (None, None, None) if axes is None else axes
    if axes is not None and not channels_first:
        height, width, depth = axes
    size = options.resize or ((height, width) if height and width else None)
    notes = []
    if size is None:
        with blaming(f"{printable(first)}: cannot be decoded"), _opened(first) as image:
            size = (image.height, image.width)
    elif options.resize is None:
        notes.append(
            f"each image is resized to {height} x {width} (height x width), the size of the model's input"
        )
    channels = options.channels or ("gray" if depth == 1 else "rgb")
    resample = options.resample or "bilinear"
    layout = "channels first" if channels_first else "channels last"
    notes.append(
        f"images are read as {channels}, {layout}, resized with the {resample} filter where they differ"
    )
    fixed = options.resize is not None or bool(height and width)
    return Geometry(size[0], size[1], channels, channels_first, resample, fixed), notes


def _is_channels_first(
    axes: tuple[int | None, ...] | None, options: CalibrationOptions, declared: Input | None
) -> bool:
    if options.layout is not None:
        return options.layout == "nchw"
    if axes is None:
        return True
    first, last = axes[0] in (1, 3), axes[2] in (1, 3)
    if first == last:
        shown = describe(declared.shape if declared else None)
        raise DataError(
            f"the model's input {shown} does not tell where its channels are: give --layout nchw or nhwc"
        )
    return first


def _fingerprint(path: Path, column: ImageColumn) -> Callable[[Callable[[bytes], None], int], None]:
    def fingerprint(update: Callable[[bytes], None], samples: int) -> None:
        update(f"images {column.geometry}".encode())
        for file in column.files[:samples]:
            handle = open_regular(file)
            name = file.name if file == path else str(file.relative_to(path))
            update(f"\0{name}\0{handle.size}\0".encode("utf-8", "surrogateescape"))
            for offset in range(0, handle.size, 1 << 20):
                update(handle.read(1 << 20, offset))

    return fingerprint

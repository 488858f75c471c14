"""What a file that is no ONNX model looks like, from its first bytes."""

from __future__ import annotations

_STARTS = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras .h5?); export the model to ONNX, with tf2onnx for example"),
    (b"\x80\x02", "a Python pickle (an old PyTorch .pt?), which nla never loads; export the model to ONNX"),
    (b"\x80\x03", "a Python pickle, which nla never loads; export the model to ONNX"),
    (b"\x80\x04", "a Python pickle, which nla never loads; export the model to ONNX"),
    (b"\x80\x05", "a Python pickle, which nla never loads; export the model to ONNX"),
    (b"PK\x03\x04", "a zip archive (PyTorch .pt or Keras .keras?); export the model to ONNX"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\xfd7zXZ\x00", "an xz archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
    (b"\x93NUMPY", "a NumPy array, not a model"),
    (b"GGUF", "a GGUF file, which holds no ONNX graph"),
    (b"\x89PNG", "a PNG image, not a model"),
    (b"\xff\xd8\xff", "a JPEG image, not a model"),
    (b"\x7fELF", "a program, not a model"),
    (b"<!doctype", "an HTML page (a failed download?); download the file itself"),
    (b"<html", "an HTML page (a failed download?); download the file itself"),
    (b"<?xml", "an XML file (OpenVINO?); nla reads ONNX"),
)
_AT_FOUR = (
    (b"TFL3", "a TensorFlow Lite model; convert it to ONNX, with tf2onnx for example"),
    (b"ORTM", "a model in onnxruntime's own ORT format; nla needs the .onnx file it was made from"),
)


def looks_like(head: bytes) -> str | None:
    """What the first bytes (64 or more) show a file to be; None where they do not speak against ONNX.

    >>> looks_like(b"GGUF" + bytes(60))
    'a GGUF file, which holds no ONNX graph'
    >>> looks_like(bytes([8, 8, 18, 7]) + b"pytorch")
    """
    if not head:
        return "an empty file"
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a git-LFS pointer, not the model itself; run `git lfs pull`"
    lowered = head.lstrip().lower()
    for start, what in _STARTS:
        if head.startswith(start) or (start[:1] == b"<" and lowered.startswith(start)):
            return what
    for mark, what in _AT_FOUR:
        if head[4:8] == mark:
            return what
    if _is_safetensors(head):
        return "a safetensors file; give it a name that ends in .safetensors"
    return _text(head)


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes of little-endian header length, then a JSON object."""
    return head[8:10] in (b'{"', b"{ ", b"{}") and int.from_bytes(head[:8], "little") < 2**27


def _text(head: bytes) -> str | None:
    """A protobuf starts with small tag bytes; twenty printable characters in a row are no such thing."""
    start = head.lstrip()[:20]
    if len(start) == 20 and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        return "a text file, not a model in ONNX's binary form"
    return None

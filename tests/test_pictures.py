"""One picture file is what a viewer shows, or one line that names it; folders tell what they leave out."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contrastbench.datasets.found import find_files
from contrastbench.datasets.pictures import find_pictures, read_folders, read_picture
from contrastbench.errors import UserError

SIZE = 4
RAMP = np.linspace(0, 1, SIZE * SIZE).reshape(SIZE, SIZE)  # black to white
GREY = np.round(RAMP * 255).astype(np.uint8)
RED, WHITE = [255, 0, 0], [255, 255, 255]


def saved(picture: Image.Image | np.ndarray, form: str = "PNG", **options) -> io.BytesIO:
    stream = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(stream, form, **options)
    stream.seek(0)
    return stream


def tiff(values: np.ndarray, bits: int, *, signed: bool = False, white_is_zero: bool = False) -> io.BytesIO:
    """A TIFF of one strip, from the specification: what Pillow cannot write."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    data = values.tobytes()
    tags = {256: SIZE, 257: SIZE, 258: bits, 259: 1, 262: int(not white_is_zero), 273: 8, 277: 1, 278: SIZE}
    tags |= {279: len(data), 339: 2 if signed else 1}
    entries = b"".join(struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    mark = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(order + "H", len(tags)) + entries + bytes(4)
    return io.BytesIO(mark + struct.pack(order + "I", 8 + len(data)) + data + directory)


def png(depth: int, colour: int, rows: bytes, size: tuple[int, int] = (SIZE, SIZE), **chunks: bytes) -> io.BytesIO:
    """A PNG, from the specification: what Pillow does not write. ``rows`` are the bytes of SIZE rows."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    lines = [b"\0" + rows[start : start + len(rows) // SIZE] for start in range(0, len(rows), len(rows) // SIZE)]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    notes = b"".join(chunk(name.encode(), content) for name, content in chunks.items())
    body = chunk(b"IDAT", zlib.compress(b"".join(lines))) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + head + notes + body)


def deep_pictures() -> dict[str, io.BytesIO]:
    sixteen = np.round(RAMP * 65535).astype(np.uint16)
    twelve = np.round(RAMP * 4095).astype(int)
    packed = b"".join((a << 12 | b).to_bytes(3, "big") for a, b in twelve.reshape(-1, 2).tolist())
    colour = np.repeat(sixteen.astype(">u2")[..., None], 3, axis=2)
    return {
        "png": saved(sixteen),
        "tiff": saved(sixteen, "TIFF"),
        "tiff, other end first": tiff(sixteen.astype(">u2"), 16),
        "tiff, 0 is white": tiff(65535 - sixteen, 16, white_is_zero=True),
        "tiff of 12 bits": tiff(np.frombuffer(packed, np.uint8), 12),
        "jpeg 2000": saved(sixteen, "JPEG2000", irreversible=False),
        "pgm": io.BytesIO(b"P5 4 4 65535 " + sixteen.astype(">u2").tobytes()),
        "pgm of 10 bits": io.BytesIO(b"P5 4 4 1023 " + np.round(RAMP * 1023).astype(">u2").tobytes()),
        "png in colour": png(16, 2, colour.tobytes()),
        "float": saved(RAMP.astype(np.float32), "TIFF"),
    }


@pytest.mark.parametrize("kind", deep_pictures())
def test_more_than_8_bits_are_scaled_by_their_depth(kind):
    """Pillow's own conversion turns nearly all of such pictures white, and those of floating point black."""
    x = read_picture(deep_pictures()[kind], SIZE, "picture")
    tolerance = 1 if kind in ("png in colour", "pgm of 10 bits") else 0  # there Pillow drops the lower bits
    assert np.abs(x.astype(int) - GREY[..., None]).max() <= tolerance


@pytest.mark.parametrize(
    "content, reason",
    [
        (saved(RAMP.astype(np.float32) * 255, "TIFF"), r"floating-point values beyond \[0, 1\]"),
        (saved(np.where(RAMP > 0.5, np.nan, RAMP).astype(np.float32), "TIFF"), "floating-point values beyond"),
        (saved(np.round(RAMP * 60000).astype(np.int32), "TIFF"), "integers of 32 bits or with a sign"),
        (tiff(np.zeros((SIZE, SIZE), "<i2"), 16, signed=True), "integers of 32 bits or with a sign"),
        (io.BytesIO(b""), "it is none, is damaged, or of a kind that Pillow does not know"),
        (io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n"), "it is none, is damaged"),
        (io.BytesIO(saved(Image.effect_noise((64, 64), 90), "JPEG").getvalue()[:700]), "truncated"),
        (png(8, 0, GREY.tobytes(), zTXt=b"a\0\0" + zlib.compress(bytes(1 << 21))), "too large"),
        (png(8, 0, GREY.tobytes(), size=(15_000, 13_000)), "more than 89,478,485 pixels"),
        (png(8, 0, GREY.tobytes(), size=(10_000, 9_000)), "more than 89,478,485 pixels"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_no_picture_is_one_line_with_its_name(content, reason):
    with pytest.raises(UserError, match=f"^scans/a: cannot be read as a picture: .*{reason}") as caught:
        read_picture(content, SIZE, "scans/a")
    assert "\n" not in str(caught.value)


def test_whatever_a_decoder_raises_is_one_line(monkeypatch):
    for error in (MemoryError(), ValueError("a\nb"), struct.error("c"), SyntaxError("d"), OSError(2, "No such file")):
        monkeypatch.setattr(Image, "open", lambda *_, error=error, **__: (_ for _ in ()).throw(error))
        with pytest.raises(UserError, match=r"^x: cannot be read as a picture: (MemoryError|a|c|d|No such file)$"):
            read_picture(io.BytesIO(), SIZE, "x")


def with_orientation(orientation: int, form: str) -> io.BytesIO:
    """GREY as a camera stores it that notes this orientation: from EXIF's table of what the 0th row and column are."""
    undo = {
        1: GREY,
        2: GREY[:, ::-1],
        3: GREY[::-1, ::-1],
        4: GREY[::-1],
        5: GREY.T,
        6: np.rot90(GREY),
        7: GREY[::-1, ::-1].T,
        8: np.rot90(GREY, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(np.ascontiguousarray(undo[orientation]), form, exif=exif, quality=100)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_upright(orientation, form):
    x = read_picture(with_orientation(orientation, form), SIZE, "picture", channels=1)
    np.testing.assert_allclose(x[..., 0], GREY, atol=3 if form == "JPEG" else 0)


def test_damaged_notes_leave_the_picture_as_it_lies():
    x = read_picture(saved(GREY, exif=b"Exif\0\0no notes at all"), SIZE, "picture", channels=1)
    np.testing.assert_array_equal(x[..., 0], GREY)


def transparent_pictures() -> dict[str, io.BytesIO]:
    """Pictures whose left half is transparent, with red or black hidden in it, and whose right half is red or black."""
    rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
    rgba[..., 0], rgba[:, 2:, 3] = 255, 255
    palette = Image.new("P", (SIZE, SIZE))
    palette.putpalette([255, 0, 0, 255, 0, 0])
    palette.paste(1, (2, 0, SIZE, SIZE))
    pixels = bytes((255, 0, 0) * 2 + (254, 0, 0) * 2) * SIZE
    pixels16 = (0xFF01, 0, 0) * 2 + (0xFE01, 0, 0) * 2
    return {
        "alpha": saved(rgba),
        "alpha, webp": saved(rgba, "WEBP", lossless=True, exact=True),
        "palette": saved(palette, transparency=0),
        "gif": saved(palette, "GIF", transparency=0),
        "palette with alphas": saved(palette, transparency=b"\0\xff"),
        "colour": png(8, 2, pixels, tRNS=struct.pack(">HHH", 255, 0, 0)),
        "colour of 16 bits": png(16, 2, struct.pack(">12H", *pixels16) * SIZE, tRNS=struct.pack(">HHH", *pixels16[:3])),
    }


@pytest.mark.parametrize("kind", transparent_pictures())
def test_what_is_transparent_is_white(kind):
    x = read_picture(transparent_pictures()[kind], SIZE, "picture")
    assert (x[:, :2] == WHITE).all()
    np.testing.assert_allclose(x[:, 2:], np.broadcast_to(RED, (SIZE, 2, 3)), atol=2)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_white_at_every_depth(depth):
    """The left half is black, which stands for nothing; beside it are the brightest grey but white and black's next."""
    top = 2**depth - 1
    row = [1, 1, 0, 0] if depth == 1 else [1, 1, 0, top]  # 1 is the transparent one
    bits = "".join(f"{value:0{depth}b}" for value in row).ljust(8, "0")
    rows = int(bits, 2).to_bytes(len(bits) // 8, "big") * SIZE
    x = read_picture(png(depth, 0, rows, tRNS=b"\0\1"), SIZE, "picture", channels=1)[..., 0]
    assert (x[:, :2] == 255).all() and (x[:, 2] == 0).all()


def test_half_transparent_is_half_white():
    x = read_picture(saved(np.full((SIZE, SIZE, 2), (0, 128), np.uint8)), SIZE, "picture")
    assert (x == 127).all()


def test_the_first_frame_stands_for_an_animation():
    frames = [Image.new("RGB", (SIZE, SIZE), colour) for colour in ("red", "blue")]
    for form in ("GIF", "PNG", "TIFF"):
        x = read_picture(saved(frames[0], form, save_all=True, append_images=frames[1:]), SIZE, "picture")
        assert (x == RED).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "LAB"])
def test_plain_pictures_are_as_pillow_has_them(mode):
    """The centre square, scaled; the prepared hashes of published sets rest on it."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).convert("RGB")
    stored = saved(colours.convert(mode), "TIFF" if mode in ("CMYK", "LAB") else "PNG")
    with Image.open(stored) as image:
        expected = image.convert("RGB")
    stored.seek(0)
    square = np.asarray(expected.resize((8, 8), Image.Resampling.BILINEAR, box=(5, 0, 25, 20)))
    np.testing.assert_array_equal(read_picture(stored, 8, "picture"), square)
    stored.seek(0)
    grey = np.asarray(Image.fromarray(square).convert("L"))
    np.testing.assert_array_equal(read_picture(stored, 8, "picture", channels=1), grey[..., None])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.PNG", "a.jpg", ".hidden.png"):
        Image.new("L", (SIZE, SIZE)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "more").mkdir()
    return tmp_path


def test_a_folder_tells_what_is_no_picture(folder):
    paths, others = find_pictures(folder)
    assert [path.name for path in paths] == ["a.jpg", "b.PNG"]
    assert others == [
        f"{folder}/gone.png: a link that leads nowhere",
        f"{folder}/more: a folder; files are looked for beside it, not in it",
        f"{folder}/notes.txt: its suffix '.txt' is not that of a picture",
    ]
    with pytest.raises(UserError, match="nowhere: cannot be read: No such file or directory"):
        find_files(folder / "nowhere", {".png"}, "a picture")


@pytest.mark.parametrize(
    "files, told",
    [
        ([], "no picture in it$"),
        (["a.heic", "b.heic"], r"no picture in it, but 2 other entries; .*a\.heic: its suffix"),
    ],
)
def test_a_class_without_a_picture_says_what_there_is(files, told, tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    for name in files:
        (tmp_path / "train" / "cat" / name).touch()
    with pytest.raises(UserError, match=told):
        read_folders(tmp_path, ("cat",), SIZE)


def test_what_a_class_folder_leaves_out_is_named_with_its_split(folder, tmp_path_factory):
    raw = tmp_path_factory.mktemp("raw")
    for split in ("train", "test"):
        (raw / split).mkdir()
        (raw / split / "cat").symlink_to(folder)
    splits = read_folders(raw, ("cat",), SIZE)
    assert [len(split.x) for split in splits.values()] == [2, 2]
    assert [told.split("/")[-1].split(":")[0] for told in splits["train"].skipped] == ["gone.png", "more", "notes.txt"]

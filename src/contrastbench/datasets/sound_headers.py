"""WAV and Ogg files whose writer could not go back to finish them, as libsndfile reads them to their end."""

import zlib

UNTOLD = 0xFFFFFFFF  # a size that libsndfile takes for: to the end of the file
END_OF_STREAM = 4  # a flag of a page
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def finished_wav(content: bytes) -> bytes:
    """A WAV with the size of its samples where its writer left 0, or where RF64 keeps it elsewhere (in ``ds64``)."""
    position, long = 12, 0
    while (name := content[position : position + 4]) != b"data":
        if not _is_name(name):
            return content
        if name == b"ds64":
            long = int.from_bytes(content[position + 16 : position + 24], "little")
        size = _size(content, position)
        position += 8 + size + size % 2
    size = long if content[:4] == b"RF64" else _size(content, position)
    if content[:4] == b"RIFF" and size:
        return content
    samples = content[position + 8 :]
    if size == 0 and not _is_chunk(samples):
        size = UNTOLD
    told = min(size, UNTOLD).to_bytes(4, "little")
    return b"".join((b"RIFF", content[4 : position + 4], told, samples))


def _size(content: bytes, position: int) -> int:
    return int.from_bytes(content[position + 4 : position + 8], "little")


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and name.isascii() and name.decode().isprintable()


def _is_chunk(content: bytes) -> bool:
    """Whether ``content`` is empty or another chunk that fits: then there are no samples indeed."""
    return not content or (_is_name(content[:4]) and 8 + _size(content, 0) <= len(content))


def finished_ogg(content: bytes) -> bytes | None:
    """An Ogg whose last page is marked as the stream's end (RFC 3533); None where it ends within a page."""
    start = content.rfind(b"OggS")
    count = content[start + 26] if start + 26 < len(content) else UNTOLD
    body = start + 27 + count
    end = body + sum(content[start + 27 : body])
    if end > len(content):
        return None
    page = bytearray(content[start:end])
    if page[5] & END_OF_STREAM:
        return content
    page[5] |= END_OF_STREAM
    page[22:26] = bytes(4)
    page[22:26] = _checksum(bytes(page)).to_bytes(4, "little")
    return content[:start] + bytes(page)


def _checksum(page: bytes) -> int:
    """Ogg's CRC-32, which takes bits the other way round than zlib's and inverts nothing."""
    mirrored = zlib.crc32(page.translate(MIRRORED), UNTOLD) ^ UNTOLD
    return int(f"{mirrored:032b}"[::-1], 2)

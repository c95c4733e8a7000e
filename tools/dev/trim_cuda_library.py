"""Leaves a CUDA library the machine code of one kind of GPU, so that it compresses to a fraction and
can travel to a machine that has an older one.

  trim_cuda_library.py libnccl.so.2 OUT --arch=90       (344 MB of NCCL 2.32: 16 MB as tar.xz)

All else that is for GPUs, PTX too, and what is for debuggers becomes zeros of the same length, so
that nothing moves. Machine code lies in containers: a header of 16 bytes (magic number, version,
length of the header, length of what follows), then entries, each a header (kind, version, its own
length, length of its payload, …, at byte 28 the architecture) and the payload. Headers stay, since
the program points at containers and walks through their entries. NVIDIA does not document this; it
was read from the library with `cuobjdump -lelf` beside it."""
import argparse
import struct

MAGIC = 0xBA55ED50
MACHINE_CODE = 2  # kind of an entry; 1 is PTX
LINKED, PRELINKED = ".nv_fatbin", "__nv_relfatbin"


def sections(image):
    """Name of each ELF section: offset and size in the file."""
    table, = struct.unpack_from("<Q", image, 0x28)
    entry_size, count, names_index = struct.unpack_from("<HHH", image, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", image, table + i * entry_size) for i in range(count)]
    names = headers[names_index][4]

    def name(header):
        start = names + header[0]
        return image[start : image.index(b"\0", start)].decode()

    return {name(header): header[4:6] for header in headers}


def trim_containers(image, start, size, is_kept):
    """Zeros payloads of a section's entries; bytes that were kept."""
    at, end, kept = start, start + size, 0
    while at < end:
        magic, _, header, length = struct.unpack_from("<IHHQ", image, at)
        if magic != MAGIC:
            assert not any(image[at : at + 8]), f"no container at byte {at}"
            at += 8
            continue
        entry, at = at + header, at + header + length
        while entry < at:
            kind, _, header, length = struct.unpack_from("<HHIQ", image, entry)
            arch, = struct.unpack_from("<I", image, entry + 28)
            if is_kept(kind, arch):
                kept += length
            else:
                image[entry + header : entry + header + length] = bytes(length)
            entry += header + length
        assert entry == at, f"entries end at byte {entry}, their container at {at}"
    return kept


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("out")
    parser.add_argument("--arch", type=int, default=90, help="compute capability, times ten")
    args = parser.parse_args()
    with open(args.library, "rb") as file:
        image = bytearray(file.read())
    found = sections(image)
    for name, (start, size) in found.items():
        if name.startswith(".debug"):
            image[start : start + size] = bytes(size)
    kept = trim_containers(image, *found[LINKED],
                           lambda kind, arch: kind == MACHINE_CODE and arch == args.arch)
    assert kept, f"no machine code for {args.arch} in {args.library}"
    if PRELINKED in found:
        trim_containers(image, *found[PRELINKED], lambda *_: False)
    with open(args.out, "wb") as file:
        file.write(image)
    print(f"{args.out}: {kept} of {found[LINKED][1]} bytes for GPUs kept")


if __name__ == "__main__":
    main()

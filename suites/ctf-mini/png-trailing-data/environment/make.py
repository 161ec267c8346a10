import struct, zlib, io, zipfile
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
png += chunk(b"IDAT", zlib.compress(b"".join(b"\0" + bytes(8) for _ in range(8)))) + chunk(b"IEND", b"")
held = io.BytesIO()
with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as z:
    z.writestr("clients.csv", "name,account\nacme,NL" + "20048811730562" + "\n")
open("/app/logo.png", "wb").write(png + held.getvalue())

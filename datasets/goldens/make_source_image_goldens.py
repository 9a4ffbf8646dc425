"""Writes source_images.json: small pictures of every format and variant with what they must decode to, for
tests/source_image_test.cpp. The expected pixels come from Pillow 13.0: decoded, EXIF orientation applied, alpha composited on
white and 16 bits rounded to 8 in whole numbers here. Files that Pillow cannot write come from OpenCV.

Run it as: python datasets/goldens/make_source_image_goldens.py (needs Pillow 13.0, numpy, opencv-python-headless).
"""
import base64
import io
import json
import pathlib
import struct

import cv2
import numpy
from PIL import Image, ImageOps

WIDTH, HEIGHT = 21, 13


def on_white(image):
    pixels = numpy.asarray(image.convert("RGBA")).astype(numpy.int64)
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    return ((colour * alpha + 255 * (255 - alpha)) * 2 + 255) // 510


def to_8_bits(samples):
    return (samples.astype(numpy.int64) * 510 + 65535) // (2 * 65535)


def encoded(image, file_format, **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def bmp_with_meaningless_fourth_byte(rgb):
    """32 bits a pixel, BI_RGB, fourth byte 0: a reader that takes it for alpha sees nothing but white."""
    pixels = numpy.dstack([rgb[::-1, :, ::-1], numpy.zeros(rgb.shape[:2], numpy.uint8)]).tobytes()
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 32, 0, len(pixels), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + info + pixels


def main():
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH]
    rgb = numpy.stack([x * 12, y * 19, (x + y) * 7], -1).astype(numpy.uint8)
    rgb[3:6, 4:9] = [250, 10, 30]
    alpha = ((x * 37 + y * 11) % 256).astype(numpy.uint8)
    colour = Image.fromarray(rgb)
    transparent = Image.fromarray(numpy.dstack([rgb, alpha]))
    grey = colour.convert("L")
    grey_alpha = Image.merge("LA", (grey, Image.fromarray(alpha)))
    grey16 = (x * 3001 + y * 331).astype(numpy.uint16)
    black_and_white = colour.convert("1")
    cases = {}

    def add(name, data, pixels=None, tolerance=0):
        if pixels is None:
            pixels = on_white(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
        cases[name] = {"width": pixels.shape[1], "height": pixels.shape[0],
                       "rgb": base64.b64encode(pixels.astype(numpy.uint8).tobytes()).decode(),
                       "tolerance": tolerance, "file": base64.b64encode(data).decode()}

    exact = {"PNG": {}, "TIFF": {}, "BMP": {}, "WEBP": {"lossless": True, "exact": True}, "JPEG": {"quality": 95}}
    for file_format, options in exact.items():
        add(f"rgb.{file_format}", encoded(colour, file_format, **options))
        add(f"grey.{file_format}", encoded(grey, file_format, **options))
        if file_format != "BMP":
            for orientation in range(1, 9):
                exif = Image.Exif()
                exif[274] = orientation
                add(f"orientation {orientation}.{file_format}", encoded(colour, file_format, exif=exif, **options))
        if file_format in ("PNG", "TIFF", "WEBP", "BMP"):
            add(f"alpha.{file_format}", encoded(transparent, file_format, **options))
        if file_format in ("PNG", "TIFF", "BMP"):
            add(f"palette.{file_format}", encoded(colour.quantize(60), file_format))
            add(f"one bit.{file_format}", encoded(black_and_white, file_format))
    add("lossy.WEBP", encoded(colour, "WEBP", quality=80), tolerance=1)
    add("progressive.JPEG", encoded(colour, "JPEG", quality=90, progressive=True))
    add("cmyk.JPEG", encoded(colour.convert("CMYK"), "JPEG", quality=95), tolerance=1)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        add(f"{compression}.TIFF", encoded(colour, "TIFF", compression=compression), tolerance=int(compression == "jpeg"))
    add("group4.TIFF", encoded(black_and_white, "TIFF", compression="group4"))
    add("cmyk.TIFF", encoded(colour.convert("CMYK"), "TIFF"))

    add("grey and alpha.PNG", encoded(grey_alpha, "PNG"))
    add("palette of 2, one transparent.PNG", encoded(colour.quantize(2), "PNG", transparency=1))
    add("palette of 6 with alpha.PNG", encoded(colour.quantize(6), "PNG", transparency=bytes([0, 50, 100, 150, 200, 255])))
    add("transparent colour.PNG", encoded(colour, "PNG", transparency=(250, 10, 30)))
    add("transparent grey.PNG", encoded(grey, "PNG", transparency=int(numpy.asarray(grey)[7, 8])))
    grey16_pixels = numpy.repeat(to_8_bits(grey16)[..., None], 3, -1)
    add("grey 16 bits.PNG", encoded(Image.fromarray(grey16), "PNG"), grey16_pixels)
    add("grey 16 bits.TIFF", encoded(Image.fromarray(grey16), "TIFF"), grey16_pixels)
    colour16 = numpy.stack([grey16, 65535 - grey16, (grey16 >> 1) + 77], -1)
    for extension, name in ((".png", "PNG"), (".tiff", "TIFF")):
        add(f"rgb 16 bits.{name}", cv2.imencode(extension, colour16[..., ::-1])[1].tobytes(), to_8_bits(colour16))
        alpha16 = (alpha.astype(numpy.int64) * 251 + 13)[..., None]
        over = (colour16 * alpha16 + 65535 * (65535 - alpha16)) * 255
        pixels = (over * 2 + 65535**2) // (2 * 65535**2)
        bgra = numpy.dstack([colour16[..., ::-1], alpha16.astype(numpy.uint16)])
        add(f"alpha 16 bits.{name}", cv2.imencode(extension, bgra)[1].tobytes(), pixels)
    add("fourth byte without meaning.BMP", bmp_with_meaningless_fourth_byte(rgb), rgb)

    text = "{\n" + ",\n".join(f" {json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items()) + "\n}\n"
    pathlib.Path(__file__).with_name("source_images.json").write_text(text)
    print(f"{len(cases)} pictures, {len(text)} bytes")


if __name__ == "__main__":
    main()

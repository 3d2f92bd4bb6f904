"""Series that are mixed, uneven or of an odd size."""

from collections.abc import Callable, Iterator

from pydicom.dataset import FileDataset
from pydicom.uid import MRImageStorage

from tests.bad_input.case import Case, End, Images, changed, encoded, one_changed

THIN = 2_000


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _mixed()
    yield from _places()
    yield from _numbers()


def _mixed() -> Iterator[Case]:
    def from_half(change: Callable[[FileDataset], object]) -> Callable[[Images], list[bytes]]:
        return changed(lambda image, index: change(image) if index >= 6 else None)

    def resized(image: FileDataset) -> None:
        image.Rows, image.Columns = 32, 32
        image.PixelData = image.PixelData[: 32 * 32 * 2]

    def turned(image: FileDataset) -> None:
        image.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    def magnetic(image: FileDataset) -> None:
        image.Modality, image.SOPClassUID = "MR", MRImageStorage

    yield Case(
        "mixed-modality", "Half of the images are MR", from_half(magnetic), End.SKIPPED, "not-ct"
    )
    yield Case(
        "mixed-size",
        "Half of the images are of another size",
        from_half(resized),
        End.SKIPPED,
        "too-few-slices",
    )
    yield Case(
        "mixed-one-size",
        "One image is of another size",
        one_changed(resized),
        End.WARNED,
        "left out",
    )
    yield Case(
        "mixed-orientation",
        "Half of the images are coronal",
        from_half(turned),
        End.SKIPPED,
        "too-few-slices",
    )
    yield Case(
        "mixed-patients",
        "Two patients in one series",
        from_half(lambda image: image.update({"PatientID": "other", "PatientName": "Other^One"})),
        End.SKIPPED,
        "mixed",
    )
    yield Case(
        "mixed-studies",
        "Two studies with one SeriesInstanceUID: two series",
        from_half(lambda image: image.update({"StudyInstanceUID": "1.2.3"})),
        End.SKIPPED,
        "too-few-slices",
    )
    yield Case(
        "mixed-localizer",
        "A localizer among the slices",
        one_changed(lambda i: i.update({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})),
        End.WARNED,
        "left out: a localizer",
    )
    yield Case(
        "same-twice",
        "Every image twice",
        lambda images: encoded(images) * 2,
        End.WARNED,
        "copies of images passed over",
    )


def _places() -> Iterator[Case]:
    def at(z_mm: Callable[[int], object]) -> Callable[[Images], list[bytes]]:
        def change(image: FileDataset, index: int) -> None:
            x, y, _ = image.ImagePositionPatient
            image["ImagePositionPatient"].value = [x, y, z_mm(index)]

        return changed(change)

    def one_at(z_mm: object) -> Callable[[Images], list[bytes]]:
        def change(image: FileDataset) -> None:
            x, y, _ = image.ImagePositionPatient
            image["ImagePositionPatient"].value = [x, y, z_mm]

        return one_changed(change)

    yield Case(
        "place-same", "All images in one place", at(lambda _: 0), End.WARNED, "share a position"
    )
    yield Case(
        "place-pairs",
        "Images in pairs in one place",
        at(lambda index: index // 2 * 5),
        End.WARNED,
        "share a position",
    )
    for name, value in [("nan", "nan"), ("infinite", "inf")]:
        yield Case(
            f"place-{name}",
            f"All positions {value}",
            at(lambda _, v=value: v),
            End.SKIPPED,
            "geometry",
        )
        yield Case(
            f"place-one-{name}",
            f"One position {value}",
            one_at(value),
            End.WARNED,
            "no usable image position",
        )
    yield Case(
        "place-far",
        "Positions of 1e308 mm",
        at(lambda index: f"{index % 2 * 2 - 1}e308"),
        End.WARNED,
        "",
    )
    yield Case(
        "place-gap",
        "A gap of 40 mm",
        at(lambda index: index * 5 + 40 * (index > 5)),
        End.WARNED,
        "uneven steps",
    )
    yield Case(
        "place-tiny",
        "Steps of a thousandth of a mm",
        at(lambda index: index / 1000),
        End.WARNED,
        "share a position",
    )
    yield Case("place-down", "From head to foot", at(lambda index: -5 * index), End.ANALYZED)
    yield Case(
        "place-missing",
        "One image without position",
        one_changed(_unplaced),
        End.WARNED,
        "no usable image position",
    )
    for name, spacing in [
        ("zero", [0, 0]),
        ("negative", [-1, -1]),
        ("nan", ["nan", "nan"]),
        ("infinite", ["inf", "inf"]),
        ("huge", [1e9, 1e9]),
        ("tiny", ["1e-9", "1e-9"]),
    ]:
        yield Case(
            f"spacing-{name}",
            f"Pixel spacing {spacing}",
            changed(lambda image, _, s=spacing: image.update({"PixelSpacing": s})),
            End.ANALYZED,
        )


def _unplaced(image: FileDataset) -> None:
    del image.ImagePositionPatient


def _numbers() -> Iterator[Case]:
    def first(count: int) -> Callable[[Images], list[bytes]]:
        return lambda images: encoded(images[:count])

    def thin(images: Images) -> list[bytes]:
        image = images[0]
        image.SOPInstanceUID = "1.2.826.0.1.0000"
        image.ImagePositionPatient = ["-100", "-100", "0000.000"]
        (content,) = encoded([image])
        return [
            content.replace(b"1.2.826.0.1.0000", b"1.2.826.0.1.%04d" % (1000 + number)).replace(
                b"0000.000", b"%08.3f" % (number * 0.07)
            )
            for number in range(THIN)
        ]

    yield Case("one-slice", "One slice", first(1), End.SKIPPED, "too-few-slices")
    yield Case("few-slices", "Nine slices", first(9), End.SKIPPED, "too-few-slices")
    yield Case(
        "thin",
        "2,000 slices, 0.07 mm apart (put in order and decoded; the model is left out)",
        thin,
        End.ANALYZED,
        is_judged=False,
    )
    yield Case("no-files", "A folder without files", first(0), End.UNREADABLE)
    yield Case(
        "not-dicom",
        "Files that are something else",
        lambda _: [b"%PDF-1.7", b"", b"\0" * 999, b"PK\3\4"],
        End.UNREADABLE,
        refused=4,
    )

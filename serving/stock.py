"""The files that come with the product: found in a checkout and in an installed wheel alike."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the checkout, or what the wheel was installed into


def stock_file(name: str) -> Path:
    """Return the path of a file or folder of ours; `name` is its path in the checkout.

    A wheel keeps these paths, but its files of the checkout's top level are in `serving/stock_files`, as
    site-packages belongs to every package (pyproject.toml, `force-include`).
    """
    installed = ROOT / "serving" / "stock_files" / name
    return installed if installed.exists() else ROOT / name

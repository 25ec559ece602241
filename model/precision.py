"""In what numbers a bundle's network computes, and what a processor needs for that.

    f32   what training gives: exact, on any engine
    bf16  16 bits of float; the same weights, rounded. Processors without such instructions only imitate
          them, more slowly than float32
    int8  8 bits, of a graph made by `flyobj quantize`; any processor can, those with VNNI twice as fast

bf16 and int8 are bundles of their own, whose answers, golden ones too, come from the graph that they
hold: OpenVINO's, since PyTorch has no such network.
"""

from pathlib import Path

from model.errors import FlyobjError

F32, BF16, INT8 = PRECISIONS = ("f32", "bf16", "int8")
NEEDED = {BF16: ("avx512_bf16", "amx_bf16")}  # one of these, as Linux names them
_CPU_INFO = Path("/proc/cpuinfo")


def require_cpu(precision: str) -> None:
    """Raise a `FlyobjError` unless this processor computes in `precision`."""
    if (needed := NEEDED.get(precision)) and not cpu_flags() & set(needed):
        raise FlyobjError(
            f"this processor doesn't compute in {precision} (it has none of {', '.join(needed)}) and "
            "would only imitate it, more slowly than float32; use the float32 model, or int8, here"
        )


def cpu_flags() -> set[str]:
    """Name the instructions that Linux says this processor has; none on other systems."""
    if not _CPU_INFO.is_file():
        return set()
    lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
    return set(next((line for line in lines if line.startswith("flags")), "").split())

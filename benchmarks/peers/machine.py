"""The machine that measures, as the tables tell of it."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path


def available_bytes() -> int | None:
    """Memory that can be had; None where the system does not tell."""
    return _memory("MemAvailable:")


def _memory(entry: str) -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(entry)), None)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def facts() -> dict[str, str]:
    """Date, processor, memory, and how busy it was."""
    free, whole = available_bytes(), _memory("MemTotal:")
    found = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
    }
    if free is not None and whole is not None:
        found["memory"] = f"{whole / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free"
    if hasattr(os, "getloadavg"):
        found["load when started"] = f"{os.getloadavg()[0]:.2f}"
    return found

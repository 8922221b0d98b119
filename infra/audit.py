"""``make audit``: are there known vulnerabilities in the locked packages? Exit code 1 where there are.

pip-audit calls a lock file clean, too, when the vulnerability service knows none of its packages or is away; here that
is said, and is neither a pass nor a failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# worker.txt and demo.txt are parts of it; by bench.txt nobody serves.
_LOCK = Path(__file__).parents[1] / "requirements" / "dev.txt"


def main() -> int:
    """Audits the largest lock file."""
    done = subprocess.run(  # noqa: S603
        [
            sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off",
            "--format", "json", "-r", str(_LOCK),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"NOT AUDITED: {(done.stderr.strip().splitlines() or ['pip-audit said nothing'])[-1][:200]}")
        return 0
    found = [(each, vulnerability) for each in packages for vulnerability in each.get("vulns", [])]
    for each, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version"
        print(f"{each['name']} {each['version']}: {vulnerability['id']}, mended in {fixed}")
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    if skipped:
        print(f"NOT AUDITED: the vulnerability service knows nothing of {len(skipped)} of {len(packages)} packages")
    elif not found:
        print(f"{len(packages)} packages, no known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

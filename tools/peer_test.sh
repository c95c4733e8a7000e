#!/bin/bash
# Runs a Python script that compares our programs with the packages that define what is right. Skips
# visibly where pip could not fetch them.
#
#   peer_test.sh SCRIPT ARGUMENT…        paths are relative to the runfiles
set -euo pipefail
packages=$TEST_TMPDIR/packages
/usr/bin/python3 - "$packages" <<'PYTHON' || { echo "SKIPPED: pip could not fetch the packages"; exit 0; }
import glob, sys, zipfile
wheels = glob.glob("external/pypi_peers/*.whl")
for wheel in wheels:
    zipfile.ZipFile(wheel).extractall(sys.argv[1])
sys.exit(0 if wheels and sys.version_info[:2] == (3, 11) else 1)
PYTHON
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$packages exec /usr/bin/python3 "$@"

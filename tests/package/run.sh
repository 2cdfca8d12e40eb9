#!/usr/bin/env bash
# The package as its users get it: tests/package/run.sh
# Builds the sdist and, of it, the wheel. Installs the wheel in a bare environment; then, in an empty folder and with
# an empty environment: configs, init, train, figures that need no data, report. Takes some two minutes, most of
# them for pip and the figures. ADMMCTL_PYTHON names another Python than that of .venv.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${ADMMCTL_PYTHON:-.venv/bin/python}
[ -x "$PYTHON" ] || make .venv/.ready
PYTHON=$(cd "$(dirname "$PYTHON")" && pwd)/$(basename "$PYTHON")

work=$(mktemp -d /tmp/admmctl-package.XXXXXX)
trap 'rm -rf "$work"' EXIT
fail() { echo "package: $*" >&2; exit 1; }

# What git knows, as it is now: no leftovers of other builds.
mkdir "$work/source" "$work/empty" "$work/home"
git ls-files -z | tar --null --files-from - -cf - | tar -xf - -C "$work/source"
"$PYTHON" -m pip install --quiet --disable-pip-version-check --target "$work/tools" build
PYTHONPATH=$work/tools "$PYTHON" -m build --outdir "$work/dist" "$work/source" > "$work/build.log" 2>&1 \
    || { cat "$work/build.log"; fail "it cannot be built"; }
wheel=$(echo "$work"/dist/*.whl)
(cd configs && find . -name '*.yaml' | sort) > "$work/wanted"
for archive in "$wheel" "$work"/dist/*.tar.gz; do
    "$PYTHON" - "$archive" > "$work/found" <<'END'
import sys, tarfile, zipfile
archive = sys.argv[1]
names = zipfile.ZipFile(archive).namelist() if archive.endswith(".whl") else tarfile.open(archive).getnames()
inside = [name.partition("admmctl/configs/")[2] for name in names]
print(*sorted(f"./{name}" for name in inside if name.endswith(".yaml")), sep="\n")
assert not [name for name in names if "/tests/" in name or name.startswith(("tests/", "configs/"))], names
END
    diff <(LC_ALL=C sort "$work/wanted") <(LC_ALL=C sort "$work/found") \
        || fail "$archive lacks files of configs, or has others"
done

# From here on the clock runs: what a user waits for.
began=$(date +%s)
"$PYTHON" -m venv "$work/bare"
"$work/bare/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel"
installed=$(($(date +%s) - began))
cd "$work/empty"
bare() { env -i HOME="$work/home" PATH=/usr/bin:/bin "$work/bare/bin/admmctl" "$@"; }
said() { "$work/bare/bin/python" -c "import json, sys; found = json.load(sys.stdin); sys.exit(not ($1))"; }

bare init > /dev/null 2>&1
bare train swissroll --set stop.target=0.97 --json > "$work/train.json" 2> "$work/said" || { cat "$work/said"; fail "train"; }
first=$(($(date +%s) - began))
said 'found["runs"][0]["status"] == "reached"' < "$work/train.json" || fail "the target was not reached"
echo "package: from the wheel to the first result $first s, $installed s of them for venv and pip"

bare --version | grep -Eqx 'admmctl [0-9.]+' || fail "--version says $(bare --version)"
diff -r "$OLDPWD/configs" configs || fail "init wrote other files"
bare init --json 2> /dev/null | said 'all(each["state"] == "same" for each in found["files"])' || fail "a second init changed files"
rm -r configs
bare configs --json | said 'all(each["file"].startswith(sys.prefix) for each in found["configs"])' \
    || fail "configs does not list the files that came with the package"
code=0; bare train swisrol 2> "$work/said" || code=$?
[ $code = 2 ] && grep -q "did you mean 'swissroll'" "$work/said" || fail "a wrong name: $code, $(cat "$work/said")"
# Two ranks, by the MPI that came with the wheel.
bare train swissroll --cores 2 --oversubscribe --set data.rows=2000 --set stop.iterations=3 --json \
    2> "$work/said" | said 'found["runs"][0]["ranks"] == 2' || { cat "$work/said"; fail "no run on two ranks"; }

# Pictures without runs, and the figures of the Swiss roll; those of sequences need no data either, but minutes.
bare figures --list --json > "$work/list.json"
figures=$("$work/bare/bin/python" - "$work/list.json" <<'END'
import json, pathlib, sys
listed = json.loads(pathlib.Path(sys.argv[1]).read_text())["figures"]
print(*[one["name"] for one in listed if (one["data"] or {"name": "swissroll"})["name"] == "swissroll"])
END
)
# shellcheck disable=SC2086  # one word for each name
bare figures $figures --json > "$work/figures.json" 2> "$work/said" || { cat "$work/said"; fail "figures"; }
said 'len(found["figures"]) >= 11 and not found["failed"]' < "$work/figures.json" || fail "figures are missing"
bare report --open no > /dev/null
grep -q "rivals-swissroll" results/report.html || fail "the report lacks a figure"
[ "$(ls)" = results ] || fail "files besides results: $(ls)"
echo "package: built, installed and tried: $(basename "$wheel")"

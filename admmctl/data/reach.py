"""``admmctl fetch NAME --check``: which addresses answer, by their headers alone."""

import re
from http.client import HTTPResponse
from urllib.error import HTTPError

from admmctl.data.catalog import SourceFile, datasets
from admmctl.data.dataset import Dataset
from admmctl.data.download import addresses, check_mirror, is_url
from admmctl.data.source import Say
from admmctl.data.transfer import Lost, Refused, open_address, request, wrong_size
from admmctl.errors import UserError

_NO_HEAD = (405, 501)  # the answers of servers that give headers only with a file


def reach(name: str, mirror: str | None, say: Say) -> list[str]:
    """Ask every address of every file of a dataset, or of a mirror, and say what each answers. Writes nothing.

    Returns the files that no address has.
    """
    if mirror is not None:
        check_mirror(mirror)
        if not is_url(mirror):
            raise UserError(f"--check asks addresses, and --mirror {mirror} is a folder")
    dataset: Dataset = datasets.load(name)()
    if not dataset.card.files:
        say(f"{name}: {dataset.nothing_to_fetch}")
    missing = []
    for file in dataset.card.files:
        found = False
        for address in addresses(file, dataset.folder().name, mirror):
            right, answer = _ask(address, file.behind(address))
            say(f"{'yes' if right else 'no '}  {address}: {answer}")
            found |= right
        if not found:
            missing.append(file.name)
    return missing


def _ask(address: str, file: SourceFile) -> tuple[bool, str]:
    """Whether the headers of an address are those of the file, and what they say."""
    try:
        try:
            with open_address(request(address, "HEAD")) as response:
                return _judge(response, file)
        except HTTPError as error:
            error.close()
            if error.code not in _NO_HEAD:
                raise
        with open_address(request(address, Range="bytes=0-0")) as response:  # none of it is read
            return _judge(response, file)
    except HTTPError as error:
        error.close()
        return False, f"HTTP {error.code} {error.reason}"
    except (Lost, Refused) as error:
        return False, str(error)


def _judge(response: HTTPResponse, file: SourceFile) -> tuple[bool, str]:
    whole = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", "").strip(), re.IGNORECASE)
    stated = response.headers.get("Content-Length", "") if response.status == 200 else whole[1] if whole else ""
    size = int(stated) if stated.isdecimal() else None
    if response.status not in (200, 206):
        return False, f"HTTP {response.status} {response.reason}"
    problem = wrong_size(response, size, file)
    if problem:
        return False, problem
    answer = "it does not say how long it is" if size is None else f"{size:,} bytes"
    if file.holds is not None:
        # What is compressed already hardly shrinks in an archive.
        right = size is None or size > 0.9 * file.holds.bytes
        return right, f"{answer}, {'' if right else 'too few for '}an archive of {file.holds.name}"
    return True, answer if size is None else f"{answer}, as expected"

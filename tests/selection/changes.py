"""What git knows: which files changed since a commit, how many commits there are, whether the tree is clean."""

import subprocess
from pathlib import Path


class Unknown(Exception):
    """Git or the commit is missing: an unpacked archive, or a clone without history."""


def git(root: Path, *words: str) -> str:
    """What a command of git prints. Raises Unknown with git's own reason where it fails."""
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unknown(f"git cannot be asked: {error}") from error
    if done.returncode:
        raise Unknown((done.stderr.strip().splitlines() or ["git failed"])[0])
    return done.stdout


def head(root: Path) -> str:
    """The commit. Raises Unknown also where `root` is inside somebody else's repository, as an unpacked archive is."""
    if Path(git(root, "rev-parse", "--show-toplevel").strip()).resolve() != root.resolve():
        raise Unknown("this folder is no repository of its own")
    return git(root, "rev-parse", "HEAD").strip()


def commits(root: Path) -> int:
    """How many commits lead here. Raises Unknown."""
    head(root)
    return int(git(root, "rev-list", "--count", "HEAD"))


def changed(root: Path, since: str) -> tuple[str, ...]:
    """Files that are not as they were at the commit `since`, also those that are gone, new, or not yet committed;
    of a renamed file both names. Raises Unknown."""
    head(root)
    known = git(root, "diff", "--name-only", "--no-renames", "-z", "--end-of-options", since, "--")
    new = git(root, "ls-files", "--others", "--exclude-standard", "-z")
    return tuple(sorted({name for name in (known + new).split("\0") if name}))


def day(root: Path, commit: str) -> str:
    """The date of a commit, in words for people. Raises Unknown."""
    return git(root, "show", "-s", "--format=%cs", "--end-of-options", commit).strip()


def clean(root: Path) -> bool:
    """Whether every file is as it was committed, and there is no other."""
    try:
        head(root)
        return not git(root, "status", "--porcelain").strip()
    except Unknown:
        return False

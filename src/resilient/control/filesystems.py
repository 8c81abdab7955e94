"""Which kind of file system a path is on: locks and maps of a network's are not to be trusted."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["kind", "remote"]

_MOUNTS = "/proc/self/mountinfo"

_REMOTE = re.compile(
    "9p|afs|beegfs|ceph|cifs|coda|fhgfs|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|pvfs2|smb3|smbfs|"
    r"fuse\.(ceph.*|s3.*|blobfuse2?|gcsfuse|glusterfs|goofys|juicefs|mfs|moosefs|rclone|sshfs)"
)

_OCTAL = re.compile(r"\\([0-7]{3})")


def remote(path: Path) -> str | None:
    """Return the kind of the network file system that a path is on, or None if it is on none, or unknown."""
    found = kind(path)
    return found if found is not None and _REMOTE.fullmatch(found) else None


def kind(path: Path) -> str | None:
    """Return the kind of file system that a real path is on, or None where that cannot be told."""
    try:
        table = Path(_MOUNTS).read_text("utf-8", "surrogateescape")
    except OSError:  # not Linux
        return None
    best: tuple[int, str] | None = None
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields, named = left.split(" "), right.split(" ")
        if len(fields) < 5 or not named[0]:  # noqa: PLR2004 -- the fifth is the mount point
            continue
        point = Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), fields[4]))
        if path.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = len(point.parts), named[0]  # of two on one point the later one hides the other
    return best[1] if best else None

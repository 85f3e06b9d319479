"""What can go wrong with the hub, in sentences that say what to do."""

from __future__ import annotations

import errno

from siglip_ingest.errors import CheckpointError, DownloadError, HubUnavailableError
from siglip_ingest.siglip.checkpoint.names import HubName, did_you_mean

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def explain(name: HubName, error: Exception) -> CheckpointError:
    """Turn what the hub's client, its HTTP library or the disk raised into an error of ours, to be raised `from` it."""
    if isinstance(error, CheckpointError):
        return error
    known = _explain_refusal(name, error) or _explain_disk(name, error)
    return known or DownloadError(
        f"{name} could not be fetched whole: {_first_line(error)}. Try again; what has arrived is kept."
    )


def explain_unreachable(name: HubName, error: Exception) -> CheckpointError:
    """Turn what the first question to the hub raised into an error of ours: no refusal means no network."""
    from huggingface_hub import constants, errors

    if known := _explain_refusal(name, error):
        return known
    if isinstance(error, errors.OfflineModeIsEnabled):
        return HubUnavailableError(
            f"{name} is not in the cache ({constants.HF_HUB_CACHE}), and HF_HUB_OFFLINE forbids fetching it: unset it."
        )
    return HubUnavailableError(
        f"{name} is not in the cache ({constants.HF_HUB_CACHE}), and the hub at {constants.ENDPOINT} can't be used "
        f"({_first_line(error)}). Connect to the network, or copy the checkpoint here and name its folder."
    )


def _explain_refusal(name: HubName, error: Exception) -> DownloadError | None:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return DownloadError(
            f"{name.repository} needs its owner's permission: ask for it on its page, then set HF_TOKEN to a token of "
            "yours."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return DownloadError(
            f"The hub has no model {name.repository}, or it is private: check the spelling, or set HF_TOKEN."
            + did_you_mean(name.repository)
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return DownloadError(
            f"The hub's {name.repository} has no revision {name.revision!r}. Give a branch, a tag or a commit that its "
            "page lists, or none for the newest."
        )
    if getattr(getattr(error, "response", None), "status_code", None) in {401, 403}:
        return DownloadError(
            f"The hub refused {name} ({_first_line(error)}). Set HF_TOKEN to a token that may read it, or unset "
            "one that is no longer valid."
        )
    return None


def _explain_disk(name: HubName, error: Exception) -> DownloadError | None:
    from huggingface_hub import constants

    number = error.errno if isinstance(error, OSError) else None
    if number in _DISK_FULL:
        return DownloadError(
            f"{name} could not be fetched: the disk of {constants.HF_HUB_CACHE} is full. Free some of it, or set "
            "HF_HOME to a folder on another disk, and try again; what has arrived is kept."
        )
    if number in _NOT_WRITABLE:
        return DownloadError(
            f"{name} could not be fetched: {getattr(error, 'filename', None) or constants.HF_HUB_CACHE} can't be "
            "written. Set HF_HOME to a folder that can."
        )
    return None


def format_bytes(count: int) -> str:
    """Say a number of bytes in the unit that fits, as disks and hubs do: 1 GB is 10^9 bytes."""
    if count < 1000:
        return f"{count} bytes"
    value, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {units[0]}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__

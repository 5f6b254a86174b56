"""When to try again: what the provider says, else full jitter.

Retry-After: RFC 9110, section 10.2.3 (seconds, or an HTTP date). RetryInfo: google.rpc,
error_details.proto. Full jitter: Brooker, "Exponential Backoff And Jitter", AWS, 2015.
"""

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

FIRST_SECONDS: Final = 0.5
MOST_SECONDS: Final = 30.0
_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds from a Retry-After header; None where it says nothing usable."""
    if not header:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())


def retry_info(body: Any) -> float | None:
    """Seconds from the RetryInfo of a Google error body; None where there is none."""
    error = body.get("error") if isinstance(body, Mapping) else None
    details = error.get("details") if isinstance(error, Mapping) else None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping) and detail.get("@type") == _RETRY_INFO:
            try:
                seconds = float(str(detail.get("retryDelay", "")).removesuffix("s"))
            except ValueError:
                return None
            return seconds if math.isfinite(seconds) and seconds >= 0 else None
    return None


def pause(failures: int, asked: float | None) -> float:
    """Seconds to wait after so many failures in a row; never less than the provider asked for.

    Those who were asked to wait the same time come back spread over a tenth of it.
    """
    if asked is not None:
        return asked * (1 + random.random() / 10)
    return random.uniform(0, min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** max(0, failures - 1)))

"""The vendor's clock on the wall."""

from datetime import datetime, timedelta, timezone

_SHANGHAI = timezone(timedelta(hours=8))


def vendor_time() -> str:
    """The time now as the vendor writes it: Shanghai's, without a zone."""
    return datetime.now(_SHANGHAI).replace(tzinfo=None).isoformat(timespec="milliseconds")

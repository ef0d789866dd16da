"""Who may train from the app: by default whoever opens it on the machine that it runs on."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

import streamlit as st

SETTING = "FER_TRAINING"
HOSTS = ("SPACE_ID", "STREAMLIT_SHARING_MODE", "RENDER", "DYNO", "K_SERVICE", "KUBERNETES_SERVICE_HOST", "FLY_APP_NAME")
"""Variables that machines of public hosts have."""
FORWARDED = ("X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Real-Ip", "Via", "Cf-Connecting-Ip")
"""Headers that a proxy adds: behind one, every visitor seems to come from its machine."""


@dataclasses.dataclass(frozen=True)
class Access:
    """What a visitor may do on the Train page."""

    train: bool
    """Start and cancel a training."""
    anywhere: bool = False
    """Read any folder of the server, not only those in the data folder."""
    why: str = ""
    """Why there is no training, in words for the visitor."""


def access() -> Access:
    """Return what the visitor of this page may do."""
    return decide(os.environ, st.context.headers, st.context.ip_address)


def decide(environment: Mapping[str, str], headers: Mapping[str, str], address: str | None) -> Access:
    """Return what a visitor may do.

    Args:
        environment: of the server; ``FER_TRAINING`` set to 1 lets every visitor train, 0 nobody.
        headers: of the visitor's request.
        address: the visitor's IP address; None for this machine, as Streamlit gives it.
    """
    setting = environment.get(SETTING, "").strip().lower()
    local = is_local(environment, headers, address)
    if setting in ("1", "true", "yes", "on"):
        return Access(True, anywhere=local)
    if setting:
        return Access(
            False, why=f"Whoever runs this app has switched training off (`{SETTING}={plain_setting(setting)}`)."
        )
    if local:
        return Access(True, anywhere=True)
    return Access(
        False,
        why="Training is off for visitors from elsewhere: a network takes the whole machine for minutes or hours. It is on "
        "for whoever opens the app on the machine that it runs on, at `localhost`. Whoever runs this app can let every "
        f"visitor train with `{SETTING}=1` in its environment, and nobody with `{SETTING}=0`.",
    )


def is_local(environment: Mapping[str, str], headers: Mapping[str, str], address: str | None) -> bool:
    """Tell whether a visitor sits at the machine that the app runs on; in doubt not."""
    if any(environment.get(name) for name in HOSTS) or any(headers.get(name) for name in FORWARDED):
        return False
    if address is not None and not _is_loopback(address):
        return False
    host, origin = headers.get("Host") or "", headers.get("Origin")
    return _is_loopback(urlsplit(f"//{host}").hostname) and (not origin or _is_loopback(urlsplit(origin).hostname))


def plain_setting(value: str) -> str:
    """Return a value of the setting that may be shown as code."""
    return value if value.isalnum() else "..."


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False

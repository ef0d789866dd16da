"""The app's colours as CSS variables: what ``.streamlit/config.toml`` says, under the names that the Live component uses."""

from __future__ import annotations

import tomllib
from pathlib import Path

NAMES = {
    "primaryColor": "--st-primary-color",
    "backgroundColor": "--st-background-color",
    "secondaryBackgroundColor": "--st-secondary-background-color",
    "textColor": "--st-text-color",
    "linkColor": "--st-link-color",
    "borderColor": "--st-border-color",
}
SIGNALS = {
    "--st-green-text-color": ("#177233", "#5CE488"),
    "--st-orange-text-color": ("#9A4B00", "#FFBD45"),
    "--st-red-text-color": ("#B23A3C", "#FF8583"),
    "--st-orange-background-color": ("#FFF4E5", "#3A2E1A"),
    "--st-gray-color": ("#6F6E7C", "#A3A1B1"),
}
"""What Streamlit brings itself, as a light page and as a dark one has it; each is read well on its background."""
FONT = '"Source Sans 3", "Source Sans Pro", "Source Sans", system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'


def variables(config: Path) -> str:
    """Return the CSS rule that gives every variable its light and its dark value.

    Args:
        config: the app's ``config.toml``.
    """
    theme = tomllib.loads(config.read_text(encoding="utf-8"))["theme"]
    pairs = {variable: (theme["light"][name], theme["dark"][name]) for name, variable in NAMES.items()} | SIGNALS
    lines = [f"  {name}: light-dark({light}, {dark});" for name, (light, dark) in pairs.items()]
    lines += [f"  --st-base-radius: {theme['baseRadius']};", f"  --st-button-radius: {theme['baseRadius']};"]
    lines += [f"  --st-font: {FONT};"]
    return ":root {\n" + "\n".join(lines) + "\n}\n"

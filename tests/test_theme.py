"""``.streamlit/config.toml``: options that Streamlit knows, the classes' own colours, and contrast that can be read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fercore.labels import COLOURS, FURTHER_COLOURS, LABELS

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / ".streamlit" / "config.toml"
STYLE = ROOT / "fercore" / "ui" / "style.css"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return tomllib.loads(CONFIG.read_text(encoding="utf-8"))


def contrast(first: str, second: str) -> float:
    """Return WCAG 2's contrast ratio of two ``#RRGGBB`` colours, 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_of_known_pairs() -> None:
    assert contrast("#FFFFFF", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


def test_streamlit_knows_every_option(config: dict[str, Any]) -> None:
    from streamlit.config import get_config_options

    def names(section: dict[str, Any], prefix: str) -> list[str]:
        return [
            name
            for key, value in section.items()
            for name in (names(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"])
        ]

    given = names(config, "")
    assert "theme.light.sidebar.backgroundColor" in given
    assert [name for name in given if name not in get_config_options()] == []


def test_nothing_is_sent_and_nothing_is_asked(config: dict[str, Any]) -> None:
    assert config["browser"]["gatherUsageStats"] is False
    assert config["server"]["showEmailPrompt"] is False


def test_charts_begin_with_the_classes_colours(config: dict[str, Any]) -> None:
    assert config["theme"]["chartCategoricalColors"][: len(LABELS)] == [COLOURS[label] for label in LABELS]


@pytest.mark.parametrize("name", ["light", "dark"])
def test_theme_can_be_read_and_its_accent_is_no_class(config: dict[str, Any], name: str) -> None:
    theme = config["theme"][name]
    backgrounds = [
        section[key] for section in (theme, theme["sidebar"]) for key in ("backgroundColor", "secondaryBackgroundColor")
    ]
    accent = theme["primaryColor"]
    assert min(contrast(theme["textColor"], background) for background in backgrounds) > 7
    assert contrast(theme["linkColor"], theme["backgroundColor"]) > 4.5
    assert contrast(accent, "#FFFFFF") > 4.5, "white text on a button"
    assert min(contrast(accent, background) for background in backgrounds) > 3, "the accent on what lies behind it"
    assert accent not in {*COLOURS.values(), *FURTHER_COLOURS}
    assert len(theme["chartSequentialColors"]) == 10, "Streamlit ignores any other number"


def blended(colour: str, background: str, opacity: float) -> str:
    """Return the ``#RRGGBB`` colour of something that lets its background through."""
    pairs = [(int(colour[at : at + 2], 16), int(background[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(opacity * front + (1 - opacity) * back):02X}" for front, back in pairs)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_captions_are_quiet_but_can_be_read(config: dict[str, Any], name: str) -> None:
    (found,) = re.findall(r'\[data-testid="stCaptionContainer"\] \{ opacity: ([\d.]+); \}', STYLE.read_text("utf-8"))
    theme, opacity = config["theme"][name], float(found)
    backgrounds = {
        section[key] for section in (theme, theme["sidebar"]) for key in ("backgroundColor", "secondaryBackgroundColor")
    }
    for background in backgrounds:
        faint, quiet = (contrast(blended(theme["textColor"], background, each), background) for each in (0.6, opacity))
        assert quiet > 4.5, background
        assert quiet > faint
    assert opacity < 0.9, "a caption is quieter than the text"

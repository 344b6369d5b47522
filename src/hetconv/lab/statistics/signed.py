"""How a difference is written."""


def signed(value: float, decimals: int = 2) -> str:
    """+0.44, −1.61 with a minus sign, and 0.00 without any."""
    text = f"{value:+.{decimals}f}"
    return f"{0:.{decimals}f}" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")

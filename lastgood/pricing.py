"""What a model call costs, by the prices in the bundle's model part."""

from lastgood.bundle import Bundle
from lastgood.errors import InvalidBundle

_MILLION = 1_000_000


def price_usd(bundle: Bundle, model: str, tokens_in: int, tokens_out: int) -> float | None:
    """US dollars of one call; None where the model part names no price (unknown is not zero).

    The model part holds `prices: {MODEL: {input_usd_per_mtok: 2.5, output_usd_per_mtok: 10}}`.
    """
    try:
        data = bundle.model.data
    except InvalidBundle:  # several files, or text: it holds no prices
        return None
    prices = data.get("prices") if isinstance(data, dict) else None
    price = prices.get(model) if isinstance(prices, dict) else None
    if not isinstance(price, dict):
        return None
    try:
        spent = tokens_in * price["input_usd_per_mtok"] + tokens_out * price["output_usd_per_mtok"]
        return float(spent) / _MILLION
    except (KeyError, TypeError) as error:
        msg = (
            f"the price of {model} in the model part of {bundle.short} can't be read ({error!r}); "
            "write input_usd_per_mtok and output_usd_per_mtok as numbers"
        )
        raise InvalidBundle(msg) from error

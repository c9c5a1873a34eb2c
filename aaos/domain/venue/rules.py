"""Section `paper` of the configuration: what the paper venue is like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, ClassVar, Final

from annotated_types import Ge, Gt, Le, Lt

from aaos.domain.order_book import Instrument
from aaos.errors import ConfigError

# A quarter of the shortest candle (one minute): where the price path turns. Books lie on a grid that meets it.
TURNING_MS: Final = 15_000
# What a quantity step of a symbol without an entry is worth, at most, in quote currency.
STEP_WORTH: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class InstrumentRules:
    """One entry of `paper.instruments`: the grid of a symbol."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    price_step: Annotated[Decimal, Gt(0)]
    quantity_step: Annotated[Decimal, Gt(0)]
    min_quantity: Annotated[Decimal, Gt(0)]


@dataclass(frozen=True, slots=True)
class PaperRules:
    """See config/paper.yaml."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    initial_deposit: Annotated[Decimal, Ge(0), Le(10**12)] = Decimal(100_000)
    deposits: Mapping[str, Annotated[Decimal, Ge(0), Le(10**12)]] = field(default_factory=dict)
    seed: Annotated[int, Ge(0), Le(2**63 - 1)] = 1
    spread_bps: Annotated[Decimal, Gt(0), Le(1_000)] = Decimal(2)
    level_step_bps: Annotated[Decimal, Gt(0), Le(100)] = Decimal(1)
    levels: Annotated[int, Ge(1), Le(90)] = 25
    level_notional: Annotated[Decimal, Gt(0), Le(10**9)] = Decimal(10_000)
    book_every_ms: Annotated[int, Ge(1), Le(TURNING_MS)] = 100
    maker_fee: Annotated[Decimal, Ge(0), Lt(Decimal("0.1"))] = Decimal("0.0002")
    taker_fee: Annotated[Decimal, Ge(0), Lt(Decimal("0.1"))] = Decimal("0.0006")
    maintenance_margin: Annotated[Decimal, Gt(0), Lt(Decimal("0.5"))] = Decimal("0.005")
    liquidation_fee: Annotated[Decimal, Ge(0), Lt(Decimal("0.1"))] = Decimal("0.005")
    max_leverage: Annotated[Decimal, Ge(1), Le(125)] = Decimal(100)
    funding_rate: Annotated[Decimal, Gt(-1), Lt(1)] = Decimal("0.0001")
    funding_interval_s: Annotated[int, Ge(60), Le(7 * 86_400)] = 28_800
    price_band: Annotated[Decimal, Gt(0), Lt(1)] = Decimal("0.05")
    min_notional: Annotated[Decimal, Ge(0), Le(10**6)] = Decimal(5)
    significant_digits: Annotated[int, Ge(2), Le(9)] = 6
    max_open_orders: Annotated[int, Ge(1), Le(100_000)] = 5_000
    keep_requests: Annotated[int, Ge(100), Le(10**8)] = 200_000
    instruments: Mapping[str, InstrumentRules] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if TURNING_MS % self.book_every_ms:
            raise ConfigError(f"paper.book_every_ms is {self.book_every_ms}: it must divide {TURNING_MS}, as 100 does")
        if self.maintenance_margin * self.max_leverage >= 1:
            raise ConfigError(
                f"paper.maintenance_margin is {self.maintenance_margin}: below 1 / max_leverage "
                f"({self.max_leverage}) it must be, or a position would be liquidated as it is opened"
            )

    def deposit_of(self, account: str) -> Decimal:
        """Returns what an account is opened with, in quote currency."""
        return self.deposits.get(account, self.initial_deposit)

    def grid(self, symbol: str, price: Decimal) -> InstrumentRules:
        """Returns the symbol's grid: as configured, else one that suits the price."""
        return self.instruments.get(symbol) or _grid_for(price, self.significant_digits)

    def on_grid(self, symbol: str, grid: InstrumentRules) -> Instrument:
        """Returns the symbol's instrument on that grid, unless another one is configured."""
        grid = self.instruments.get(symbol, grid)
        return Instrument(
            symbol, grid.price_step, grid.quantity_step, grid.min_quantity, self.min_notional, self.max_leverage,
            self.maker_fee, self.taker_fee, self.maintenance_margin,
        )  # fmt: skip


def _grid_for(price: Decimal, digits: int) -> InstrumentRules:
    """Steps are powers of ten: so many significant digits of the price, and a quantity worth at most STEP_WORTH."""
    price_step = Decimal(1).scaleb(price.adjusted() - digits + 1)
    quantity_step = Decimal(1).scaleb((STEP_WORTH / price).adjusted())
    return InstrumentRules(price_step, quantity_step, quantity_step)

"""The machine: what the kernel finds when it boots, but for the size of RAM, which the experiment varies."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from mcsim.errors import UserError
from mcsim.model.section import CarriedError, Section, WholeNumber
from mcsim.model.units import format_size, parse_size

# What the kernel image and the boot-time tables leave free is measured on real boots from 24 MB to 96 MB and
# inferred from the kernel's formulas at the other sizes (kernels/linux/memblock.py:m68k_reserved).
MEGABYTE = 1 << 20
MIN_RAM = 17 * MEGABYTE
MAX_RAM = 128 * MEGABYTE
RAM_RULE = f"{format_size(MIN_RAM)} to {format_size(MAX_RAM)}, whole MB (there the state after boot is known)"


def _page_size(value: object) -> int:
    try:
        return parse_size(value)
    except UserError as error:
        raise CarriedError(error) from None


class Machine(Section):
    """A ColdFire board without MMU, as `m5208evb_defconfig` of Linux 6.1 makes it."""

    board: Literal["m5208evb"] = Field(
        default="m5208evb", description="'m5208evb' (kernel image and tables of this board)"
    )
    page_size: Annotated[Literal[8192], BeforeValidator(_page_size), WithJsonSchema({"const": "8K"})] = Field(
        default=8192, description="'8K' (pages of the recordings)", json_schema_extra={"default": "8K"}
    )
    pointer_bits: Annotated[Literal[32, 64], WholeNumber] = Field(
        default=32, description="32 or 64 (decides the slots of a maple node: 32 in a leaf, or 16)"
    )


def check_ram(machine: Machine, size: int) -> None:
    """Refuse a RAM size (bytes) that this machine cannot have."""
    if size % machine.page_size:
        raise UserError(
            f"{format_size(size)} is not a multiple of the page size {format_size(machine.page_size)}",
            valid=f"multiples of {format_size(machine.page_size)}",
        )
    if size % MEGABYTE:
        raise UserError(f"{format_size(size)} is not a whole number of MB", valid=RAM_RULE)
    if not MIN_RAM <= size <= MAX_RAM:
        raise UserError(f"{format_size(size)} of RAM is out of range", valid=RAM_RULE)

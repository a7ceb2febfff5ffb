"""Write the digests anew, or show what is behind those of the configs that are named."""

from __future__ import annotations

import sys

from tests.ledgers.corpus import DIGESTS, LAYOUTS, answer, configs, table


def main() -> None:
    if not sys.argv[1:]:
        DIGESTS.write_text(table())
    known = configs()
    for name in sys.argv[1:]:
        for layout in LAYOUTS:
            sys.stdout.write(f"{name} {layout}\n{answer(known[name], layout)}\n\n")


if __name__ == "__main__":
    main()

"""The protocol of an extension as data: what is on the wire, whether a change breaks old peers, and documents of it.

`contract_of` makes a dict of an `Interface`, which JSON can hold; `read_contract` reads one from a file, and `compare`
says what has changed between two, and who fails by it. Nothing here reads files, imports extensions, or knows of
applications: ``oddwire lock``, ``check`` and ``describe`` do.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.contracts.comparing import (
        compare as compare,
    )
    from oddwire.contracts.contract import (
        FORMAT as FORMAT,
        contract_of as contract_of,
        write_contract as write_contract,
    )
    from oddwire.contracts.interface import (
        Interface as Interface,
        Method as Method,
    )
    from oddwire.contracts.reading import (
        read_contract as read_contract,
    )
    from oddwire.contracts.rules import (
        RULES as RULES,
        Finding as Finding,
        Rule as Rule,
    )
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()

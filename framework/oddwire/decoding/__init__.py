"""What a payload says, byte for byte: `explain`, and the `Lexicon` of messages that there may be. No I/O.

For tools that show messages: ``oddwire decode`` and ``oddwire monitor`` are made of it. What handles messages has
`Registry.decode`, which is faster by far.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.decoding.explaining import (
        explain as explain,
        explain_as as explain_as,
    )
    from oddwire.decoding.explanation import Explanation as Explanation
    from oddwire.decoding.lexicon import (
        Entry as Entry,
        Lexicon as Lexicon,
    )
    from oddwire.decoding.spans import (
        NOTHING as NOTHING,
        Span as Span,
    )
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()

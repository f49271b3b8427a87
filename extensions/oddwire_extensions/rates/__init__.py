"""rates: numbers that change, feerates or prices, published to peers that subscribe.

::

    Topics       35921  0x8c51  msgpack                        a request for  TopicList  35923  0x8c53
    Subscribe    35925  0x8c55  msgpack  topic                 reliable; renewed every six hours
    Unsubscribe  35927  0x8c57  msgpack  topic                 reliable
    Rate         35929  0x8c59  msgpack  topic, value, at      reliable; without a value the topic has ended

Publish, and subscribe to what another publishes::

    oddwire run rates --listen 127.0.0.1:9735 --data-dir feed
    rates-publish eur/btc 83250.50

    oddwire run rates --connect URI --data-dir mine
    rates-subscribe NODE_ID eur/btc
    rates-latest

One value of a topic at a time is on its way to each subscriber. Once that is on the subscriber's disk, the newest
follows: whoever is slow, or away, costs no more, and misses nothing but values that were out of date.
"""

from __future__ import annotations

from oddwire import Extension, Limits
from oddwire_extensions.rates.deliveries import router as delivering
from oddwire_extensions.rates.messages import Rate, Subscribe, Topic, TopicList, Topics, Unsubscribe
from oddwire_extensions.rates.publisher import router as publishing
from oddwire_extensions.rates.subscriber import router as subscribing

__all__ = ["Rate", "Subscribe", "Topic", "TopicList", "Topics", "Unsubscribe", "extension"]

extension = Extension("rates", version="1.0", limits=Limits(requests=4, messages_per_second=50))
extension.include(publishing)
extension.include(delivering)
extension.include(subscribing)

if __name__ == "__main__":
    extension.run()
